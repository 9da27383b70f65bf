"""`make notebook` on a demo's results."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from demo.notebook import EXAMPLES, open_notebooks
from demo.workspace import Workspace
from steam_recsys.errors import UserError


def test_notebooks_before_any_demo_name_the_command_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="The demo has not run yet: run make demo first"):
        open_notebooks(Workspace(tmp_path), None)


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
        address = next(found[0] for line in process.stderr if (found := re.search(r"http://\S+token=\w+", line)))
        server, token = urlsplit(address), address.partition("token=")[2]
        api = httpx.Client(
            base_url=f"http://{server.netloc}/api", headers={"authorization": f"token {token}"}, timeout=60
        )
        shown = {each["name"] for each in api.get("/contents").json()["content"]}
        assert {path.name for path in EXAMPLES.glob("*.ipynb")} <= shown
        environment = Path(f"/proc/{process.pid}/environ")
        if environment.exists():
            given = environment.read_text().split("\0")
            assert f"STORE={workspace.store(url)}" in given
            assert f"DATABASE_URL={url}" in given
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=60)
