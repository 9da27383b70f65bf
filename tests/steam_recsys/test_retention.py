"""What expires, and that nothing else is removed, in stores on disk and in a bucket."""

import fcntl
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection

from steam_recsys import retention as module
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError
from steam_recsys.retention import (
    LOCK,
    MIN_DAYS,
    TEMPORARY_PREFIX,
    Expired,
    Retention,
    clean_after_run,
    clean_local,
    clean_store,
    describe,
    expired,
)
from steam_recsys.storage.folder import DiskFolder, FileInfo, open_folder
from steam_recsys.storage.model_store import champion, move_champion

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def file(days_ago: float, size: int = 1) -> FileInfo:
    return FileInfo(size, NOW - timedelta(days=days_ago))


def test_a_folder_is_as_old_as_its_newest_file_and_as_large_as_all() -> None:
    files = {"a/b/c": file(50, 3), "a/d": file(10, 4), "b": file(11, 5), "c/d": file(9.9)}
    assert expired(files, 9.95, NOW) == {"b": file(11, 5), "a": file(10, 7)}  # type: ignore[arg-type]
    assert expired(files, 10, NOW) == {"b": file(11, 5)}
    assert expired(files, 10, NOW, needed={"b"}) == {}


@given(
    files=st.dictionaries(st.sampled_from(["a/1", "a/2", "b/1", "c", ".d"]), st.floats(-10, 1_000).map(file)),
    days=st.integers(-5, 500),
    needed=st.sets(st.sampled_from("abc")),
)
def test_nothing_young_or_needed_expires(files: dict[str, FileInfo], days: int, needed: set[str]) -> None:
    found = expired(files, days, NOW, needed)
    assert not needed & set(found)
    for name, written in files.items():
        if NOW - written.written_at <= timedelta(days=max(days, MIN_DAYS)):
            assert name.partition("/")[0] not in found
    everything = {name.partition("/")[0] for name in files}
    young = {n.partition("/")[0] for n, f in files.items() if NOW - f.written_at <= timedelta(days=max(days, MIN_DAYS))}
    assert set(found) == everything - young - needed


@pytest.mark.parametrize("name", ["journal_days", "prediction_days", "model_days", "record_days", "local_days"])
def test_a_setting_that_could_reach_a_run_under_way_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 1, but at least 2 days must be kept for runs under way"):
        Retention(**{name: 1})


def test_events_are_kept_for_as_long_as_monitoring_reads_them() -> None:
    with pytest.raises(ValueError, match="event_days is 41, but at least 42 days must be kept for monitoring"):
        Retention(event_days=41)


def test_a_record_is_kept_longer_than_its_journal_as_the_run_would_count_as_lost() -> None:
    assert Retention(journal_days=9, record_days=10).record_days == 10
    with pytest.raises(ValueError, match="record_days is 10, but a run's record must be kept longer than its journal"):
        Retention(journal_days=10, record_days=10)


@pytest.fixture
def recorded(connection: Connection) -> Connection:
    """A database in which runs are recorded."""
    create_schema(connection, "recsys")
    return connection


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is 100 days ahead: what is written during the test is that old."""

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(days=100)

    monkeypatch.setattr(module, "datetime", Later)


def names(found: list[Expired], store: str) -> list[str]:
    return [each.name.removeprefix(f"{store}/") for each in found]


def test_old_journals_and_predictions_go_and_other_files_stay(
    recorded: Connection, database: str, any_store: str, later: None
) -> None:
    folder = open_folder(any_store)
    for name in ("runs/a/extract.json", "runs/b/x/y.json", "predictions/v1/plan.json", "predictions/v1/a/b.parquet",
                 "baselines/0123.json", "checkpoints/m/final.npz", "snapshots/parts/x", "last-good-snapshot.json",
                 "monitoring/v1.parquet"):  # fmt: skip
        folder.write(name, b"1234")
    before = folder.names("")
    planned = clean_store(any_store, database, Retention(), dry_run=True)
    assert sorted(names(planned, any_store)) == [
        "baselines/0123.json", "checkpoints/m", "predictions/v1", "runs/a", "runs/b",
    ]  # fmt: skip
    assert describe(planned) == "5 expired items of 0.0 KB"
    assert folder.names("") == before
    assert sorted(names(clean_store(any_store, database, Retention(journal_days=99)), any_store)) == sorted(
        names(planned, any_store)
    )
    assert folder.names("") == ["last-good-snapshot.json", "monitoring/v1.parquet", "snapshots/parts/x"]
    assert clean_store(any_store, database, Retention()) == []


def test_tuned_settings_of_baselines_go_after_30_days_however_long_journals_are_kept(
    recorded: Connection, database: str, any_store: str, later: None
) -> None:
    for name in ("runs/a/extract.json", "baselines/0123.json"):
        open_folder(any_store).write(name, b"{}")
    removed = clean_store(any_store, database, Retention(journal_days=300))
    assert names(removed, any_store) == ["baselines/0123.json"]


def test_what_is_not_old_enough_stays(recorded: Connection, database: str, any_store: str) -> None:
    for name in ("runs/a/extract.json", "predictions/v1/plan.json", "models/m/model.json"):
        open_folder(any_store).write(name, b"{}")
    assert clean_store(any_store, database, Retention()) == []


def test_old_predictions_that_a_run_continues_stay(recorded: Connection, database: str, store: str) -> None:
    folder = open_folder(store)
    for version in ("continued", "abandoned"):
        folder.write(f"predictions/{version}/plan.json", b"{}")
        os.utime(f"{store}/predictions/{version}/plan.json", (0, 0))
    folder.write("runs/now/plan.json", b'{"stage": "plan", "facts": {"version": "continued"}}')
    assert names(clean_store(store, database, Retention()), store) == ["predictions/abandoned"]


def test_an_entry_that_a_run_writes_to_in_the_meantime_stays(
    recorded: Connection, database: str, store: str, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(store)
    folder.write("predictions/v1/plan.json", b"{}")
    decide = expired

    def decide_and_write(*arguments: object, **options: object) -> dict[str, FileInfo]:
        found = decide(*arguments, **options)  # type: ignore[arg-type]
        if "v1" in found:
            folder.write("predictions/v1/histories/shard-00000.parquet", b"new")
        return found

    monkeypatch.setattr(module, "expired", decide_and_write)
    assert clean_store(store, database, Retention()) == []
    assert len(folder.names("predictions")) == 2


def test_the_marker_goes_first_so_that_an_interrupted_removal_leaves_nothing_that_looks_whole(
    recorded: Connection, database: str, store: str, later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = open_folder(store)
    for name in ("catalogue.parquet", "plan.json"):
        folder.write(f"predictions/v1/{name}", b"{}")
    remove, removed = DiskFolder.remove, []

    def interrupted(self: DiskFolder, name: str) -> None:
        removed.append(name)
        if len(removed) == 2:
            raise UserError("The bucket does not answer.")
        remove(self, name)

    monkeypatch.setattr(DiskFolder, "remove", interrupted)
    assert clean_store(store, database, Retention()) == []
    assert folder.names("predictions") == ["predictions/v1/catalogue.parquet"]


def add_models(store: str, *versions: str) -> None:
    for version in versions:
        for name in ("arrays.npz", "manifest.json", "model.json", "evaluation.json"):
            open_folder(store).write(f"models/{version}/{name}", b"{}")


def models(store: str) -> set[str]:
    return {name.split("/")[1] for name in open_folder(store).names("models") if name.count("/") > 1}


def test_models_that_never_were_champion_go_and_all_others_stay(
    recorded: Connection, database: str, any_store: str, later: None
) -> None:
    add_models(any_store, "a", "b", "c", "overtaken")
    open_folder(any_store).write("models/killed/arrays.npz", b"half of a model")
    for version, before in (("a", None), ("b", "a"), ("a", "b"), ("c", "a")):
        move_champion(any_store, version, expected=before)
    with pytest.raises(UserError, match="no longer b"):
        move_champion(any_store, "overtaken", expected="b")
    removed = clean_store(any_store, database, Retention())
    assert sorted(names(removed, any_store)) == ["models/killed", "models/overtaken"]
    assert models(any_store) == {"a", "b", "c"}
    assert champion(any_store).version == "c"


def test_without_a_pointer_no_model_goes(recorded: Connection, database: str, store: str, later: None) -> None:
    add_models(store, "a")
    assert clean_store(store, database, Retention()) == []
    assert models(store) == {"a"}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff"])
def test_a_plan_that_cannot_be_read_keeps_all_predictions_and_the_rest_is_cleaned(
    recorded: Connection, database: str, store: str, later: None, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    add_models(store, "a", "overtaken")
    move_champion(store, "a", expected=None)
    open_folder(store).write("predictions/v1/plan.json", b"{}")
    record = Path(store) / "runs/a/plan.json"
    open_folder(store).write("runs/a/plan.json", content)
    young = datetime.now(UTC).timestamp() + 100 * 86_400
    os.utime(record, (young, young))
    assert names(clean_store(store, database, Retention()), store) == ["models/overtaken"]
    assert f"{store}/runs/a/plan.json cannot be read, so it is unknown which are needed" in capsys.readouterr().out


def add_run(connection: Connection, run: str, pipeline: str, state: str, days_ago: int, model: str | None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, finished_at) "
            "VALUES (%s, %s, %s, now() - make_interval(days => %s))",
            [run, pipeline, state, days_ago],
        )
        cursor.execute(
            "INSERT INTO recsys.monitoring (run_id, measured_at, as_of, model_version, retrain) "
            "VALUES (%s, now() - make_interval(days => %s), now(), %s, false)",
            [run, days_ago, model],
        )


def runs(connection: Connection, table: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT run_id FROM recsys.{table} ORDER BY 1")
        return [run for (run,) in cursor.fetchall()]


def test_old_records_go_except_the_newest_of_each_outcome_and_of_each_model(
    recorded: Connection, database: str, store: str
) -> None:
    for run, pipeline, state, days_ago, model in (
        ("a", "inference", "SUCCEEDED", 900, "m1"),
        ("b", "inference", "SUCCEEDED", 800, "m1"),
        ("c", "inference", "FAILED", 700, "m2"),
        ("d", "training", "SUCCEEDED", 600, None),
        ("e", "inference", "SUCCEEDED", 500, None),
        ("f", "inference", "SUCCEEDED", 399, "m2"),
    ):
        add_run(recorded, run, pipeline, state, days_ago, model)
    planned = clean_store(store, database, Retention(), dry_run=True)
    assert [each.name for each in planned] == ["3 rows of recsys.pipeline_runs", "3 rows of recsys.monitoring"]
    assert all(each.bytes > 0 for each in planned)
    assert len(runs(recorded, "monitoring")) == 6
    assert clean_store(store, database, Retention()) == planned
    assert runs(recorded, "pipeline_runs") == ["c", "d", "f"]
    assert runs(recorded, "monitoring") == ["b", "e", "f"]
    assert clean_store(store, database, Retention()) == []


def test_a_clean_up_that_fails_is_logged_and_fails_nothing(
    store: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hush@127.0.0.1:1/shop")
    clean_after_run(store, "env:DATABASE_URL", Retention())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("[notify] warning: what has expired could not be removed (The database in DATABASE_URL ")
    assert line.endswith("): run recsys clean")
    assert "hush" not in line


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_artifacts_logs_and_temporary_folders_of_killed_runs_go(tmp_path: Path, temporary: Path, later: None) -> None:
    local = tmp_path / "local"
    gone = [
        *(local / name for name in ("artifacts/inference-1/extract/snapshot", "logs/inference-1.log")),
        *(temporary / name / "file" for name in (f"{TEMPORARY_PREFIX}abcd_123", "steam-recsys-abcd1234")),
    ]
    others = [
        *(local / name for name in ("store/shop/models/x", "summary.json", "build/inference.yaml")),
        *(temporary / name for name in ("steam-recsys-explorer-abcd1234/x", "other-abcd1234/x", "steam-recsys-run-1")),
        temporary / f"{TEMPORARY_PREFIX}living00" / "file",
    ]
    for path in [*gone, *others]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"1234")
    os.utime(gone[-1], (0, 0))  # as a downloaded file has the time of its bucket
    (temporary / "steam-recsys-linked00").symlink_to(local)
    with (temporary / f"{TEMPORARY_PREFIX}living00" / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        planned = clean_local(local, Retention(), dry_run=True)
        assert all(path.exists() for path in gone)
        assert clean_local(local, Retention()) == planned
        assert clean_local(local, Retention()) == []
    assert len(planned) == len(gone)
    assert [path for path in gone if path.exists()] == []
    assert all(path.exists() for path in others)


def test_young_local_files_stay_whatever_times_were_set(tmp_path: Path, temporary: Path) -> None:
    local, folder = tmp_path / "local", temporary / "steam-recsys-abcd1234"
    folder.mkdir()
    (folder / "file").write_bytes(b"")
    os.utime(folder / "file", (0, 0))
    assert clean_local(local, Retention()) == []
    assert folder.exists()
