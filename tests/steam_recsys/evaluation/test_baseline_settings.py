"""Settings of the baselines in a store: tuned once, and again if the file is of no use."""

from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import scipy

from steam_recsys import code_version
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baseline_settings import TuningKey, stored_or_tuned
from steam_recsys.storage.folder import DiskFolder
from steam_recsys.storage.manifest import seal
from steam_recsys.storage.model_store import BASELINES_FOLDER

KEY = TuningKey("0123456789ab", "2015-10-04", 0.1, "abcdef012345", "implicit 0.7.2")
CHOSEN = {"popularity": {}, "EASE": {"recency": 0.75, "λ": 500.0}}


class Tuner:
    """Counts how often it tunes."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, dict[str, float]]:
        self.calls += 1
        return CHOSEN


def test_the_key_names_the_libraries_that_compute_the_baselines() -> None:
    key = TuningKey.from_split("0123456789ab", "2015-10-04", 0.1)
    assert key.code_version == code_version()
    assert key.libraries == (f"implicit {version('implicit')}, numpy {np.__version__}, scipy {scipy.__version__}")


def test_settings_are_tuned_once(any_store: str) -> None:
    tuner = Tuner()
    assert [stored_or_tuned(any_store, KEY, tuner) for _ in range(3)] == [CHOSEN] * 3
    assert tuner.calls == 1


@pytest.mark.parametrize(
    "other",
    [
        {"snapshot_id": "ba9876543210"},
        {"cutoff": "2015-10-05"},
        {"held_out_share": 0.2},
        {"code_version": "543210fedcba"},
        {"libraries": "implicit 0.7.3"},
    ],
)
def test_another_snapshot_split_or_version_is_tuned_for_itself(other: dict, tmp_path: Path) -> None:
    tuner = Tuner()
    stored_or_tuned(str(tmp_path), KEY, tuner)
    stored_or_tuned(str(tmp_path), replace(KEY, **other), tuner)
    assert tuner.calls == 2
    assert len(list((tmp_path / BASELINES_FOLDER).iterdir())) == 2


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        seal({"chosen": CHOSEN}),
        seal({**asdict(replace(KEY, snapshot_id="")), "chosen": CHOSEN}),
    ],
)
def test_a_damaged_file_is_replaced(content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tuner = Tuner()
    stored_or_tuned(str(tmp_path), KEY, tuner)
    (tmp_path / KEY.file).write_bytes(content)
    assert stored_or_tuned(str(tmp_path), KEY, tuner) == CHOSEN
    assert "the baselines are tuned again" in capsys.readouterr().out
    assert stored_or_tuned(str(tmp_path), KEY, tuner) == CHOSEN
    assert tuner.calls == 2


def test_a_truncated_file_is_replaced(tmp_path: Path) -> None:
    tuner = Tuner()
    stored_or_tuned(str(tmp_path), KEY, tuner)
    file = tmp_path / KEY.file
    file.write_bytes(file.read_bytes()[:-20])
    assert stored_or_tuned(str(tmp_path), KEY, tuner) == CHOSEN
    assert tuner.calls == 2


def test_settings_are_used_even_if_they_cannot_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(folder: DiskFolder, name: str, content: bytes) -> None:
        raise UserError("There is no room left.")

    monkeypatch.setattr(DiskFolder, "write", full)
    assert stored_or_tuned(str(tmp_path), KEY, Tuner()) == CHOSEN
    assert "the next evaluation tunes again: There is no room left." in "".join(capsys.readouterr())
