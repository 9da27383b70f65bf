import os
import time
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from commands.__main__ import main
from steam_recsys.database.connection import create_schema
from steam_recsys.storage.folder import open_folder


@pytest.fixture
def old(connection: Connection, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store and a folder of local runs with files of 100 days ago."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    create_schema(connection, "recsys")
    for path in (Path(store) / "runs" / "a" / "extract.json", tmp_path / "local" / "logs" / "a.log"):
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(200_000))
        os.utime(path, 2 * (time.time() - 100 * 86_400,))
    return tmp_path / "local"


def test_a_dry_run_shows_what_would_go_with_sizes_and_the_next_run_removes_it(
    old: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["clean", "--store", store, "--local", str(old)]
    main([*arguments, "--dry-run"])
    head, *rows, total = capsys.readouterr().out.splitlines()
    assert head.split() == ["size", "last", "written"]
    assert [row.split()[:3] for row in rows] == [[f"{store}/runs/a", "0.2", "MB"], [f"{old}/logs/a.log", "0.2", "MB"]]
    assert total == "Would remove 2 expired items of 0.4 MB."
    assert open_folder(store).names("") == ["runs/a/extract.json"]
    main(arguments)
    assert capsys.readouterr().out.splitlines()[-1] == "Removed 2 expired items of 0.4 MB."
    assert (open_folder(store).names(""), open_folder(old).names("")) == ([], [])
    main(arguments)
    assert capsys.readouterr().out == "Nothing has expired.\n"


def test_a_number_of_days_overrides_the_default(old: Path, store: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["clean", "--store", store, "--local", str(old), "--journal-days", "101"])
    assert capsys.readouterr().out.splitlines()[-1] == "Removed 1 expired item of 0.2 MB."
    assert open_folder(store).names("") == ["runs/a/extract.json"]


@pytest.mark.parametrize("days", ["1", "-3", "2.5", "x"])
def test_too_few_days_are_refused(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["clean", "--store", "store", f"--journal-days={days}"])
    assert f"--journal-days: {days} is not a whole number of days from 2" in capsys.readouterr().err


@pytest.mark.usefixtures("database")
def test_a_record_that_would_go_before_its_journal_is_one_sentence(store: str) -> None:
    with pytest.raises(
        SystemExit, match="recsys: record_days is 20, but a run's record must be kept longer than its jo"
    ):
        main(["clean", "--store", store, "--record-days", "20"])


@pytest.mark.usefixtures("database")
def test_a_database_without_runs_is_one_sentence(store: str) -> None:
    with pytest.raises(SystemExit, match="no schema recsys: run the inference pipeline first"):
        main(["clean", "--store", store])
