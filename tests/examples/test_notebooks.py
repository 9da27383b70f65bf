"""The notebooks of `examples/`: executed on the synthetic shop, and compared with the outputs that are committed.

A cell with the tag `varies` depends on the machine, by its clock or by the weights that TensorFlow finds on it. All
other cells must print the same everywhere. With `EXAMPLES=examples`, as in `make examples`, the outputs are replaced.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from steam_recsys.data.snapshot import MANIFESTS_FOLDER, SNAPSHOTS_FOLDER
from tests.examples.shop import Shop, demo_shop

__all__ = ["demo_shop"]

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
PAGE = "docs/notebooks.md"
LARGEST_BYTES = 400_000
VARIES = "varies"


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def text_of(cell: NotebookNode) -> str:
    """The text outputs of a cell."""
    texts = [each.get("text", each.get("data", {}).get("text/plain", "")) for each in cell.outputs]
    return "\n".join("".join(text) for text in texts)


def keep_outputs(notebook: NotebookNode, path: Path) -> None:
    """Write an executed notebook without what differs from one execution to the next."""
    for cell in code_cells(notebook):
        cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]  # warnings of libraries
    nbformat.write(notebook, path)


def execute(path: Path, store: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> NotebookNode:
    """Execute a notebook in a folder, without changing its file."""
    monkeypatch.setenv("STORE", store)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    executed = nbformat.read(path, as_version=4)
    metadata = executed.metadata.copy()
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(executed, timeout=900, kernel_name="python3", record_timing=False, resources=resources).execute()
    executed.metadata = metadata
    return executed


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_on_the_synthetic_shop_and_prints_what_is_committed(
    path: Path, demo_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", demo_shop.url)
    executed = execute(path, demo_shop.store, tmp_path, monkeypatch)
    if folder := os.environ.get("EXAMPLES"):
        keep_outputs(executed, ROOT / folder / path.name)
    committed = nbformat.read(path, as_version=4)
    for before, after in zip(code_cells(committed), code_cells(executed), strict=True):
        if VARIES not in before.metadata.get("tags", ()):
            assert text_of(after) == text_of(before), before.source


@pytest.mark.slow
def test_a_variation_is_compared_on_the_newest_snapshot_if_the_champions_was_removed(
    demo_shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", demo_shop.url)
    store = shutil.copytree(demo_shop.store, tmp_path / "store")
    for path in list((store / SNAPSHOTS_FOLDER / MANIFESTS_FOLDER).glob("*.json")):
        path.rename(path.with_name(f"{path.stem.rpartition('-')[0]}-0123456789ab.json"))
    executed = execute(NOTEBOOKS[2], str(store), tmp_path, monkeypatch)
    texts = list(map(text_of, code_cells(executed)))
    assert any("it was removed, because a store keeps its newest three" in text for text in texts)
    assert any("ndcg_at_10: the variation is " in text for text in texts)


@pytest.mark.slow
def test_the_example_of_the_page_runs(demo_shop: Shop) -> None:
    blocks = re.findall(r"```(\w+)\n(.*?)```", (ROOT / PAGE).read_text(), re.DOTALL)
    ((language, block),) = blocks
    assert language == "python"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STORE": demo_shop.store, "DATABASE_URL": demo_shop.url}
    done = subprocess.run([sys.executable, "-c", block], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Synthetic ") >= 20


def test_there_are_three_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "1_look_at_the_data", "2_why_did_this_user_get_that", "3_train_a_variation",
    ]  # fmt: skip


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_committed_notebook_was_executed_in_order_and_names_no_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    kinds = [each.output_type for cell in cells for each in cell.outputs]
    assert "error" not in kinds
    assert any("image/png" in each.get("data", {}) for cell in cells for each in cell.outputs)
    assert path.stat().st_size < LARGEST_BYTES
    assert not re.search(r"/(tmp|home|root|Users|work|private|var)/", path.read_text())
    assert notebook.metadata.keys() == {"kernelspec", "language_info"}
