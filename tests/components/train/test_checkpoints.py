import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train.checkpoints import Checkpoints
from steam_recsys.storage.folder import open_folder
from tests.components.train.process import ROOT

ARRAYS = {"losses": np.arange(3.0), "variable_0": np.ones((4, 2), dtype=np.float32), "variable_1": np.int64(7)}


def test_a_checkpoint_is_read_as_it_was_written_last(any_store: str) -> None:
    checkpoints = Checkpoints.for_version(any_store, "v1")
    assert checkpoints.read("final") == {}
    checkpoints.write("final", {"losses": np.zeros(1)})
    checkpoints.write("final", ARRAYS)
    checkpoints.write("scale-2", {"losses": np.zeros(2)})
    read = Checkpoints.for_version(any_store, "v1").read("final")
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)


def test_those_of_one_training_are_removed_and_no_others(any_store: str) -> None:
    for version in ("v1", "v10"):
        for name in ("final", "scale-2"):
            Checkpoints.for_version(any_store, version).write(name, ARRAYS)
    Checkpoints.for_version(any_store, "v1").clear()
    Checkpoints.for_version(any_store, "v1").clear()
    assert open_folder(any_store).names("checkpoints") == ["checkpoints/v10/final.npz", "checkpoints/v10/scale-2.npz"]


def test_the_next_one_is_due_when_the_time_between_two_has_passed(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((159.0, 160.0, 200.0, 259.0, 260.0))
    # Not `time.monotonic` itself, which threads of other tests call too.
    monkeypatch.setattr("components.train.checkpoints.time", SimpleNamespace(monotonic=lambda: next(clock)))
    checkpoints = Checkpoints(open_folder(store), _written=100.0)
    assert [checkpoints.due(), checkpoints.due()] == [False, True]
    checkpoints.write("final", ARRAYS)
    assert [checkpoints.due(), checkpoints.due()] == [False, True]


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b"\x93NUMPY\x01"])
def test_a_file_that_is_no_checkpoint_counts_for_none_and_is_named(
    content: bytes, any_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints.for_version(any_store, "v1")
    checkpoints.folder.write("final.npz", content)
    assert checkpoints.read("final") == {}
    assert f"[train] the checkpoint {any_store}/checkpoints/v1/final.npz cannot be read" in capsys.readouterr().out


@settings(max_examples=200)
@given(damage=st.data())
def test_a_damaged_checkpoint_is_read_as_it_was_or_not_at_all(
    damage: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Cut anywhere, or with any byte another one; names may differ, which whoever goes on from it looks at."""
    checkpoints = Checkpoints.for_version(str(tmp_path_factory.getbasetemp() / "damaged"), "v1")
    checkpoints.write("final", ARRAYS)
    content = bytearray(checkpoints.folder.read("final.npz") or b"")
    place = damage.draw(st.integers(0, len(content) - 1))
    if damage.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= damage.draw(st.integers(1, 255))
    checkpoints.folder.write("final.npz", bytes(content))
    for name, array in checkpoints.read("final").items():
        if name in ARRAYS:
            assert np.array_equal(array, ARRAYS[name])


WRITER = """
import itertools, sys
import numpy as np
from components.train.checkpoints import Checkpoints
checkpoints = Checkpoints.for_version(sys.argv[1], "v1")
for number in itertools.count():
    checkpoints.write("final", {name: np.full(300_000, number) for name in ("losses", "variable_0")})
"""


def test_whenever_the_writer_is_killed_there_is_one_whole_checkpoint(tmp_path: Path) -> None:
    for attempt in range(5):
        checkpoints = Checkpoints.for_version(str(tmp_path / str(attempt)), "v1")
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / str(attempt))], cwd=ROOT)
        while len(checkpoints.folder.names("")) < 2:  # one is there, and the next is being written
            assert writer.poll() is None
            time.sleep(0.001)
        writer.kill()
        writer.wait()
        numbers = np.concatenate(list(checkpoints.read("final").values()))
        assert len(numbers) == 600_000
        assert len(np.unique(numbers)) == 1
        checkpoints.clear()
        assert checkpoints.folder.names("") == []
