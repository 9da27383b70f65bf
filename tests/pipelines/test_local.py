"""Complete runs on KFP's local runner through the command line, most of them with an error."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

import compile as command
from demo.synthetic import Size, write_synthetic
from pipelines.local import RUN_LABEL, RunLog, _stopping_containers, run_locally
from steam_recsys import code_version
from steam_recsys.errors import UserError
from steam_recsys.secrets import register_secret
from steam_recsys.storage.model_store import champion
from tests.canaries import MALFORMED, leaked
from tests.pipelines.api_server import serving
from tests.pipelines.golden_copies import GOLDEN
from tests.raw_files import review, write_raw

ROOT = Path(__file__).parents[2]


def submit(folder: Path, pipeline: str, **parameters: str) -> subprocess.CompletedProcess[str]:
    """Submit a pipeline to the local runner in this process, which has imported KFP; output goes to a folder."""
    arguments, code, output, errors = _arguments(pipeline, parameters), 0, io.StringIO(), io.StringIO()
    streams = contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors)
    with contextlib.chdir(folder), streams[0], streams[1]:
        try:
            command.main(arguments)
        except SystemExit as ended:
            code = 1
            print(ended.code, file=sys.stderr)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def submit_in_a_process(folder: Path, pipeline: str, **parameters: str) -> subprocess.CompletedProcess[str]:
    """Submit a pipeline by a command line of its own."""
    arguments = [sys.executable, str(ROOT / "compile.py"), *_arguments(pipeline, parameters)]
    return subprocess.run(arguments, cwd=folder, env={**os.environ}, capture_output=True, text=True, check=False)


def _arguments(pipeline: str, parameters: dict[str, str]) -> list[str]:
    assignments = [part for key, value in parameters.items() for part in ("--param", f"{key}={value}")]
    return ["--target", "local", "--submit", pipeline, *assignments]


def runs(connection) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pipeline, state, error FROM recsys.pipeline_runs ORDER BY started_at")
        return cursor.fetchall()


def assert_one_message(done: subprocess.CompletedProcess[str], message: str) -> None:
    """Check that the command failed with one line on standard error and no stack trace."""
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.startswith("compile.py: ")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stdout + done.stderr


def test_a_missing_folder_fails_the_run_and_is_recorded(tmp_path, database, connection):
    done = submit_in_a_process(tmp_path, "ingestion", raw=str(tmp_path / "nowhere"))
    assert_one_message(done, "nowhere does not exist: give one that holds steam_game_reviews.csv.")
    ((pipeline, state, error),) = runs(connection)
    assert (pipeline, state) == ("ingestion", "FAILED")
    assert "nowhere does not exist" in error


def test_a_failed_run_posts_the_reason_and_a_recovery_is_posted(tmp_path, database, webhook):
    for rows in ([review("", "ann")], [review("Portal", "ann")], [review("Portal", "ann")]):
        submit(tmp_path, "ingestion", raw=write_raw(tmp_path / "raw", rows), alerts="env:ALERTS_URL")
    texts = [[block["text"]["text"] for block in body["blocks"]] for body in webhook.bodies]
    assert [len(each) for each in texts] == [2, 1]
    (failed, why), (again,) = texts
    assert re.fullmatch(r"\*ingestion run \S+: FAILED\*", failed)
    assert why.startswith("• ingest: ")
    assert re.fullmatch(r"\*ingestion run \S+: succeeded again\*", again)
    logs = "".join(log.read_text() for log in (tmp_path / "local" / "logs").glob("*.log"))
    assert "[notify] alert: ingestion run" in logs
    assert "SECRET" not in logs


def test_ingestion_succeeds_after_a_failure_and_both_runs_are_recorded(tmp_path, database, connection):
    raw = write_raw(tmp_path / "raw", [review("", "ann")])
    assert_one_message(submit(tmp_path, "ingestion", raw=raw), "1 of 1 rows that cannot be read")
    write_raw(tmp_path / "raw", [review("Portal", "ann")])
    done = submit_in_a_process(tmp_path, "ingestion", raw=raw)
    assert done.returncode == 0, done.stderr
    assert "[ingest] 1 new reviews" in done.stdout
    assert "executor_input" not in done.stdout
    assert [state for _, state, _ in runs(connection)] == ["FAILED", "SUCCEEDED"]


def test_a_run_with_json_logs_shows_text_and_writes_objects_with_run_stage_and_version(
    tmp_path, database, connection, monkeypatch
):
    monkeypatch.setenv("STEAM_RECSYS_LOG_FORMAT", "json")
    raw = write_raw(tmp_path / "raw", [review("", "ann")])
    done = submit(tmp_path, "ingestion", raw=raw)
    assert_one_message(done, "1 of 1 rows that cannot be read")
    assert "[ingest] failed: " in done.stdout
    (log,) = (tmp_path / "local" / "logs").glob("*.log")
    lines = [line.strip() for line in log.read_text().splitlines() if line.lstrip().startswith('{"time"')]
    entries = [json.loads(line) for line in lines]
    assert {each["stage"] for each in entries} == {"ingest", "notify"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT run_id FROM recsys.pipeline_runs")
        assert cursor.fetchall() == [(run,) for run in {each["run"] for each in entries}]
    assert {each["version"] for each in entries} == {code_version()}
    ((_, _, error),) = runs(connection)
    assert [f"ingest: {each['message']}" for each in entries if each["severity"] == "ERROR"] == [
        error.replace("ingest: ", "ingest: failed: ", 1)
    ]


@pytest.mark.slow
def test_inference_without_a_champion_trains_and_reports_too_little_data(tmp_path, database, connection):
    write_raw(tmp_path / "raw", [review("Portal", "ann")])
    assert submit(tmp_path, "ingestion", raw=str(tmp_path / "raw")).returncode == 0
    done = submit(tmp_path, "inference")
    assert_one_message(done, "the first day of the evaluation period: ingest reviews of more than one day.")
    assert "[monitor] The model is trained again." in done.stdout
    assert runs(connection)[-1][:2] == ("inference", "FAILED")


def test_an_unreachable_database_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hush@127.0.0.1:1/shop")
    done = submit(tmp_path, "training")
    assert_one_message(done, "The database in DATABASE_URL cannot be reached")
    log = next((tmp_path / "local" / "logs").glob("*.log")).read_text()
    assert "hush" not in log + done.stdout + done.stderr


def test_a_wrong_password_is_reported(tmp_path, database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", os.environ["DATABASE_URL"].replace("steam:", "steam:wrong", 1))
    assert_one_message(submit(tmp_path, "training"), "refused the user or the password")


def test_training_on_too_few_reviews_is_reported(tmp_path, database):
    write_raw(tmp_path / "raw", [review("Portal", "ann")])
    assert submit(tmp_path, "ingestion", raw=str(tmp_path / "raw")).returncode == 0
    assert_one_message(
        submit(tmp_path, "training"), "the first day of the evaluation period: ingest reviews of more than one day."
    )


@pytest.mark.slow
def test_the_run_succeeds_if_the_model_does_not_replace_the_champion(tmp_path, database, connection):
    write_synthetic(tmp_path / "raw", Size(reviews=4_000, users=1_700, games=60), seed=1)
    assert submit(tmp_path, "ingestion", raw=str(tmp_path / "raw")).returncode == 0
    one_fit = {"training_minutes": "0.001"}
    assert submit(tmp_path, "training", **one_fit).returncode == 0
    first = champion(str(tmp_path / "local" / "store"))
    for parameters, outcome in (
        ({"seed": "1", "accuracy_margin": "0"}, f"does not pass the gate: the champion stays {first.version}\n"),
        ({}, f"[evaluate] model {first.version} passes the gate: it is the champion already\n"),
    ):
        done = submit(tmp_path, "training", **one_fit, **parameters)
        assert done.returncode == 0, done.stderr
        assert outcome in done.stdout
        assert champion(str(tmp_path / "local" / "store")) == first
    assert submit(tmp_path, "inference").returncode == 0
    assert {state for _, state, _ in runs(connection)} == {"SUCCEEDED"}


def test_a_missing_docker_engine_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no-docker.sock")
    with pytest.raises(UserError, match=r"The Docker engine does not answer: start it, or use --target local\."):
        run_locally(GOLDEN / "docker" / "training.yaml", {}, tmp_path / "local", containers=True)


def test_a_missing_image_is_reported(tmp_path, monkeypatch):
    def engine(request):
        is_list = request.path.endswith("/images/json")
        return 200, [] if is_list else {"ApiVersion": "1.41", "MinAPIVersion": "1.24"}

    with serving(engine) as api:
        monkeypatch.setenv("DOCKER_HOST", api.url.replace("http://", "tcp://"))
        with pytest.raises(
            UserError, match="The image localhost/steam-recsys/data:CONTENT is not on this machine: run"
        ):
            run_locally(GOLDEN / "docker" / "training.yaml", {}, tmp_path / "local", containers=True)


def test_a_runs_containers_are_stopped_however_it_ends(tmp_path, monkeypatch):
    run = "training-20240101"
    stopped = []

    def engine(request):
        if request.path.endswith("/stop"):
            stopped.append(request.path.split("/")[-2])
            return 204, {}
        if "/containers/json" in request.path:
            assert f"{RUN_LABEL}={run}" in str(request.query)
            return 200, [{"Id": "c1"}]
        if "/containers/c1/json" in request.path:
            return 200, {"Id": "c1"}
        return 200, {"ApiVersion": "1.41", "MinAPIVersion": "1.24"}

    def interrupted():
        with _stopping_containers(run):
            raise KeyboardInterrupt

    with serving(engine) as api:
        monkeypatch.setenv("DOCKER_HOST", api.url.replace("http://", "tcp://"))
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    assert stopped == ["c1"]


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_log_keeps_everything_and_shows_only_stage_lines(piece):
    text = "noise\n    [extract] started\n[KFP 2026]: noise\n   [predict 00001] failed: No.\n[x] failed: Later.\n"
    file, shown = io.StringIO(), []
    log = RunLog(file, shown.append)
    for start in range(0, len(text), piece):
        log.write(text[start : start + piece])
    log.finish()
    assert file.getvalue() == text
    assert shown == ["[extract] started", "[predict 00001] failed: No.", "[x] failed: Later."]
    assert log.failure == "No."


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_the_log_and_what_is_shown_have_no_secrets(piece):
    register_secret("postgresql://shop:Sup3rS@S3cr3tPw@db/shop")
    text = "[extract] started\n  OperationalError: Sup3rS\n[extract] failed: no S3cr3tPw@db\nhost S3cr3tPw"
    file, shown = io.StringIO(), []
    log = RunLog(file, shown.append)
    for start in range(0, len(text), piece):
        log.write(text[start : start + piece])
    log.finish()
    assert [leaked(each) for each in (file.getvalue(), str(shown), log.failure)] == [[], [], []]
    assert file.getvalue().endswith("host ***")


@pytest.mark.slow
@pytest.mark.parametrize("url", MALFORMED[::13])
def test_a_run_with_a_malformed_url_keeps_no_part_of_the_password(url, tmp_path, database, webhook, monkeypatch):
    monkeypatch.setenv("REPLICA_URL", url)
    done = submit(tmp_path, "training", replica="env:REPLICA_URL", alerts="env:ALERTS_URL")
    assert done.returncode == 1
    assert webhook.bodies
    with contextlib.closing(psycopg2.connect(os.environ["DATABASE_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pipeline_runs::text FROM recsys.pipeline_runs")
        recorded = cursor.fetchall()
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} >= {".log", ".json"}
    assert leaked(done.stdout + done.stderr + str(webhook.bodies) + str(recorded) + str(kept)) == []
    assert [path for path in kept if leaked(path.read_text(errors="replace"))] == []
