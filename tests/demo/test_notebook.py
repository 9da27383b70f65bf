"""`make notebook` on a demo's results."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from demo.notebook import EXAMPLES, _copies, open_notebooks
from demo.workspace import Workspace
from steam_recsys.errors import UserError

NOTEBOOKS = {path.name for path in EXAMPLES.glob("*.ipynb")}


def test_notebooks_before_any_demo_name_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The demo has not run yet: run make demo first"):
        open_notebooks(Workspace(tmp_path), None)


def test_copies_that_a_user_has_changed_stay(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "local")
    folder = _copies(workspace)
    assert {path.name for path in folder.iterdir()} == NOTEBOOKS
    (folder / min(NOTEBOOKS)).write_text("changed")
    (folder / max(NOTEBOOKS)).unlink()
    assert _copies(workspace) == folder
    assert (folder / min(NOTEBOOKS)).read_text() == "changed"
    assert (folder / max(NOTEBOOKS)).read_text() == (EXAMPLES / max(NOTEBOOKS)).read_text()


@pytest.mark.slow
def test_jupyterlab_shows_the_notebooks_and_gives_them_the_store_and_the_database(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, workspace = os.environ["DATABASE_URL"], Workspace(tmp_path / "local")
    workspace.root.mkdir()
    workspace.record_success(url)
    monkeypatch.delenv("DATABASE_URL")
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("BROWSER", "true")  # the command that opens the page
    process = subprocess.Popen(
        [sys.executable, "-m", "demo", "--workspace", str(workspace.root), "notebook"],
        cwd=EXAMPLES.parent,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr is not None
        # A server that never prints its address is stopped, which ends its output.
        watchdog = threading.Timer(600, os.killpg, (process.pid, signal.SIGTERM))
        watchdog.start()
        found = (re.search(r"http://\S+token=\w+", line) for line in process.stderr)
        address = next((each[0] for each in found if each), None)
        watchdog.cancel()
        assert address, "JupyterLab printed no address within ten minutes"
        server, token = urlsplit(address), address.partition("token=")[2]
        api = httpx.Client(
            base_url=f"http://{server.netloc}/api",
            headers={"authorization": f"token {token}"},
            timeout=300,
            transport=httpx.HTTPTransport(retries=9),  # it may print its address a moment before it listens
        )
        shown = {each["name"] for each in api.get("/contents").json()["content"]}
        assert shown == NOTEBOOKS
        kept = api.get(f"/contents/{min(NOTEBOOKS)}").json()
        api.put(f"/contents/{min(NOTEBOOKS)}", json={**kept, "content": {**kept["content"], "cells": []}})
        assert json.loads((workspace.notebooks / min(NOTEBOOKS)).read_text())["cells"] == []
        assert json.loads((EXAMPLES / min(NOTEBOOKS)).read_text())["cells"]
        environment = Path(f"/proc/{process.pid}/environ")
        if environment.exists():
            given = environment.read_text().split("\0")
            assert f"STORE={workspace.store(url)}" in given
            assert f"DATABASE_URL={url}" in given
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=300)
