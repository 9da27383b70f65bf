"""The messages of `make setup`."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_an_unreachable_package_index_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    command = ["make", "-s", "setup", f"PYTHON={sys.executable}", f"VENV={tmp_path / 'environment'}"]
    environment = {**os.environ, "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_RETRIES": "0"}
    environment |= {"PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "TensorFlow, PostgreSQL and the tools, which takes 3 GB and some minutes\n" in done.stdout
    assert (
        "the package index cannot be reached or lacks a package, put PIP_INDEX_URL=URL of another one before"
        in done.stderr
    )
    assert not list((tmp_path / "environment").glob(".installed-*"))
