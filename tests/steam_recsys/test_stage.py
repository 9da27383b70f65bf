import errno
import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg2
import pytest

from steam_recsys.errors import UserError
from steam_recsys.secrets import register_secret, resolve_secret
from steam_recsys.stage import READER_VARIABLE, read_journal, stage
from tests.canaries import MALFORMED, leaked


@pytest.fixture
def store(any_store):
    return any_store


def test_the_journal_records_time_memory_and_facts(store):
    with stage("extract", store, "run-1") as record:
        record.facts["rows"] = 3
    (left,) = read_journal(store, "run-1")
    assert (left.stage, left.facts, left.error) == ("extract", {"rows": 3}, None)
    assert left.seconds >= 0
    assert left.peak_memory_mb > 1


def test_peak_memory_excludes_the_parent_process(tmp_path):
    script = "from steam_recsys.stage import stage\nwith stage('extract', {store!r}, 'run-1'): pass\n"
    script = script.format(store=str(tmp_path))
    large = f"import subprocess, sys\nheld = b'x' * 400_000_000\nsubprocess.run([sys.executable, '-c', {script!r}])\n"
    subprocess.run([sys.executable, "-c", large], check=True)
    (left,) = read_journal(str(tmp_path), "run-1")
    assert 1 < left.peak_memory_mb < 300


def test_a_user_error_ends_the_process_and_is_recorded(store, capsys):
    with pytest.raises(SystemExit) as ended, stage("extract", store, "run-1"):
        raise UserError("The tap is dry: open it.")
    assert ended.value.code == 1
    assert "[extract] failed: The tap is dry: open it." in capsys.readouterr().out
    assert read_journal(store, "run-1")[0].error == "The tap is dry: open it."


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_temporary_disk_is_one_sentence(store, capsys, number):
    with pytest.raises(SystemExit), stage("plan", store, "run-1"):
        raise OSError(number, os.strerror(number))
    expected = f"There is no room left for {tempfile.gettempdir()}: make some, then run again."
    assert f"[plan] failed: {expected}" in capsys.readouterr().out
    assert read_journal(store, "run-1")[0].error == expected


def test_another_error_of_the_system_is_a_bug(store):
    with pytest.raises(IsADirectoryError), stage("plan", store, "run-1"):
        raise IsADirectoryError(errno.EISDIR, "Is a directory")


def test_a_bug_is_recorded_and_raised_again(store):
    with pytest.raises(ZeroDivisionError), stage("extract", store, "run-1"):
        raise ZeroDivisionError("by zero")
    assert read_journal(store, "run-1")[0].error == "ZeroDivisionError: by zero"


def test_each_part_of_a_stage_has_a_record_in_order(store):
    for part in ("00000", "00001"):
        with stage("predict", store, "run-1", part=part):
            pass
    assert [(record.stage, record.part) for record in read_journal(store, "run-1")] == [
        ("predict", "00000"),
        ("predict", "00001"),
    ]


def test_a_run_without_stages_has_an_empty_journal(store):
    assert read_journal(store, "never") == []


def test_an_unwritable_journal_ends_the_process_with_a_message(capsys):
    with pytest.raises(SystemExit), stage("extract", "abfs://elsewhere", "run-1"):
        pass
    assert "[extract] failed: abfs://elsewhere is neither a path nor a gs:// or s3:// URI" in capsys.readouterr().out


def hanging(store):
    script = (
        "import time\nfrom steam_recsys.stage import stage\n"
        f"with stage('extract', {store!r}, 'run-1'):\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "STAGE_TIMEOUT_MINUTES": "0.005"}
    return subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)


def test_a_hanging_stage_ends_even_if_its_store_cannot_be_written():
    assert hanging("abfs://elsewhere").returncode == 1


def test_a_hanging_stage_ends_and_the_timeout_is_recorded(tmp_path):
    done = hanging(str(tmp_path))
    assert done.returncode == 1
    assert "[extract] failed: It took longer than 0.005 minutes: give it more resources" in done.stdout
    (left,) = read_journal(str(tmp_path), "run-1")
    assert left.seconds == 0.3
    assert left.peak_memory_mb > 1
    assert "longer than 0.005 minutes" in left.error


def test_a_silent_stage_ends_when_its_run_was_killed(store):
    script = (
        "import time\nfrom steam_recsys.stage import stage\n"
        f"with stage('extract', {store!r}, 'run-1'):\n    time.sleep(600)\n"
    )
    environment = {**os.environ, READER_VARIABLE: "1"}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True) as task:
        assert task.stdout is not None
        assert task.stdout.readline() == "[extract] started\n"
        task.stdout.close()
        assert task.wait() == 1


@pytest.mark.parametrize("url", MALFORMED)
def test_a_stages_log_and_journal_show_no_part_of_a_password(url, tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("REPLICA_URL", url)
    with suppress(psycopg2.Error), stage("extract", str(tmp_path), "run-1") as record:
        record.facts["replica"] = {"url": [resolve_secret("env:REPLICA_URL")]}
        psycopg2.connect(resolve_secret("env:REPLICA_URL"), connect_timeout=5)
    with pytest.raises(SystemExit), stage("predict", str(tmp_path), "run-1"):
        raise UserError(f"The database of {resolve_secret('env:REPLICA_URL')} does not exist: create it.")
    (log, errors), journal = capfd.readouterr(), [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(journal) == 2
    assert "[extract] failed: OperationalError: " in log or "[extract] failed: ProgrammingError: " in log
    assert [leaked(text) for text in (log, errors, *journal)] == [[], [], [], []]


@pytest.mark.parametrize("url", MALFORMED[:2])
def test_stack_traces_show_no_part_of_a_password(url, tmp_path):
    script = (
        "import logging, os, psycopg2, threading\n"
        "from steam_recsys.stage import stage\n"
        "from steam_recsys.secrets import resolve_secret\n"
        f"with stage('extract', {str(tmp_path)!r}, 'run-1'):\n"
        "    url = resolve_secret('env:REPLICA_URL')\n"
        "    thread = threading.Thread(target=psycopg2.connect, args=(url,)); thread.start(); thread.join()\n"
        "    logging.getLogger('a library').warning('cannot connect to %s', url)\n"
        "    psycopg2.connect(url)\n"
    )
    environment = {**os.environ, "REPLICA_URL": url, "STAGE_LOG_FORMAT": "json"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("Traceback (most recent call last)") == 2
    assert "cannot connect to ***" in done.stderr
    assert [json.loads(line)["stage"] for line in done.stdout.splitlines()] == ["extract", "extract"]
    written = [path.read_text() for path in Path(tmp_path).rglob("*.json")]
    assert [leaked(text) for text in (done.stdout, done.stderr, *written)] == [[], [], []]


def test_names_that_later_runs_look_up_are_not_masked(store):
    register_secret("postgresql://ann:20241229@db/shop")
    with stage("plan", store, "run-1") as record:
        record.facts |= {"version": "20241229-abc", "pipeline": "inference", "day": "20241229"}
    (read,) = read_journal(store, "run-1")
    assert read.facts == {"version": "20241229-abc", "pipeline": "inference", "day": "***"}
