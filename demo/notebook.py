"""Copies of the notebooks of `examples/`, on a demo's store and database."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from demo.workspace import Workspace
from steam_recsys.errors import UserError

EXAMPLES = Path(__file__).parents[1] / "examples"


def open_notebooks(workspace: Workspace, data: Path | None) -> None:
    """Replace this process with JupyterLab on copies of the notebooks, which read the store and database of a demo.

    The copies are in the workspace, as JupyterLab saves what they print. Those that are there already stay as they are.

    Args:
        workspace: Folder of the demo.
        data: Folder of the data; None for the last successful run.

    Raises:
        UserError: No such demo has run yet, or JupyterLab is not installed.
    """
    url = workspace.known_database_url(data)
    if find_spec("jupyterlab") is None:
        raise UserError("JupyterLab is not installed: run make setup, or install the extra notebook.")
    settings = {**os.environ, "STORE": str(workspace.store(url)), "DATABASE_URL": url}
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={_copies(workspace)}"]
    if os.getuid() == 0:
        command.append("--allow-root")
    os.execve(sys.executable, command, settings)


def _copies(workspace: Workspace) -> Path:
    """Copy the notebooks that the workspace lacks, and return the folder of the copies."""
    workspace.notebooks.mkdir(parents=True, exist_ok=True)
    for notebook in EXAMPLES.glob("*.ipynb"):
        if not (copy := workspace.notebooks / notebook.name).exists():
            shutil.copyfile(notebook, copy)
    return workspace.notebooks.resolve()
