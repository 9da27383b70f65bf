"""Interrupted local runs: they leave no process, no stack trace and no folder behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from pathlib import Path

import psycopg2
import pytest

from steam_recsys import retention
from steam_recsys.retention import Retention, clean_local
from tests.pipelines.test_local import ROOT
from tests.raw_files import review, write_raw


@pytest.fixture
def started(tmp_path: Path, database: str) -> Iterator[subprocess.Popen[str]]:
    """A run in its own process group, whose task waits in the database for another load to end."""
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann")])
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [sys.executable, str(ROOT / "compile.py"), "--target", "local", "--submit", "ingestion"]
    other = psycopg2.connect(os.environ["DATABASE_URL"])
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('steam-recsys:ingest'))")
        with subprocess.Popen(
            [*command, "--param", f"raw={raw}"],
            cwd=tmp_path,
            env={**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)},  # its tasks run this code too
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as run:
            assert run.stdout is not None
            while run.stdout.readline() != "[ingest] started\n":
                assert run.poll() is None
            yield run
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
    other.close()


class ThreeDaysLater(datetime):
    """A clock that is ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return datetime.now(tz) + timedelta(days=3)


def wait_for_the_last_process_of(group: int) -> None:
    deadline = time.monotonic() + 600
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.killpg(group, 0)
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.mark.slow
def test_ctrl_c_ends_a_run_with_a_message_and_leaves_nothing_behind(
    started: subprocess.Popen[str], tmp_path: Path
) -> None:
    os.killpg(started.pid, signal.SIGINT)
    _, printed = started.communicate(timeout=600)
    assert started.returncode == 130
    assert printed == "compile.py: interrupted; run it again: it starts over, and reuses what is finished\n"
    wait_for_the_last_process_of(started.pid)
    assert list((tmp_path / "temporary").iterdir()) == []
    with psycopg2.connect(os.environ["DATABASE_URL"]) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('recsys.pipeline_runs')")
        assert cursor.fetchone() == (None,)  # as the README says of a run that is interrupted
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_ends_its_task_and_a_later_one_removes_its_temporary_folder(
    started: subprocess.Popen[str], how: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    monkeypatch.setattr(retention, "datetime", ThreeDaysLater)
    clean_local(tmp_path / "local", Retention())
    (folder,) = temporary.iterdir()  # its run lives, however old it is
    assert folder.name.startswith("steam-recsys-run-")
    started.send_signal(how)
    started.wait(timeout=600)
    wait_for_the_last_process_of(started.pid)
    assert list(temporary.iterdir()) == [folder]
    assert [each.name for each in clean_local(tmp_path / "local", Retention())] == [str(folder)]
    assert list(temporary.iterdir()) == []
