from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest

from components.notify import outcome
from components.notify.alerts import Alert, post
from components.notify.outcome import (
    LOST_AFTER,
    Outcome,
    conclude,
    decide_outcome,
    missing_stages,
    record_lost_runs,
)
from steam_recsys.errors import UserError
from steam_recsys.secrets import resolve_secret
from steam_recsys.stage import StageRecord, stage
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import seal
from tests.canaries import MALFORMED, leaked

TIME = "2020-01-01T00:00:00+00:00"


COMPLETE_RUN = [
    StageRecord("monitor", TIME, facts={"retrain": False}),
    StageRecord("plan", TIME, facts={"shards": 2}),
    StageRecord("predict", TIME, "00000"),
    StageRecord("predict", TIME, "00001"),
    StageRecord("reverse_etl", TIME),
]
EXPECTED = ["monitor", "plan", "predict", "reverse_etl"]


def without(stage: str, part: str = "") -> list[StageRecord]:
    return [record for record in COMPLETE_RUN if (record.stage, record.part) != (stage, part)]


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE", "RUNNING"])
def test_a_run_whose_stages_are_all_recorded_has_succeeded_in_the_words_of_every_platform(state):
    assert decide_outcome(state, None, COMPLETE_RUN, EXPECTED) == Outcome("SUCCEEDED", None)
    assert decide_outcome(state, "", COMPLETE_RUN, EXPECTED) == Outcome("SUCCEEDED", None)


@pytest.mark.parametrize("state", ["SUCCEEDED", "COMPLETE", "RUNNING", "FAILED"])
@pytest.mark.parametrize(
    ("missing", "named"),
    [
        (("monitor", ""), "monitor"),
        (("plan", ""), "plan"),
        (("predict", "00001"), "predict 00001"),
        (("reverse_etl", ""), "reverse_etl"),
    ],
)
def test_a_task_that_was_killed_before_it_left_a_record_fails_the_run_and_is_named(state, missing, named):
    outcome = decide_outcome(state, "", without(*missing), EXPECTED)
    assert outcome.state == "FAILED"
    assert outcome.error is not None
    assert outcome.error.startswith(f"{named}: The stage wrote nothing into the journal")


@pytest.mark.parametrize("state", ["CANCELED", "CANCELLED"])
def test_a_cancelled_run_is_recorded_as_such_whatever_is_missing(state):
    assert decide_outcome(state, "by ann", [], EXPECTED) == Outcome("CANCELLED", "by ann")
    assert decide_outcome(state, "", COMPLETE_RUN, EXPECTED) == Outcome("CANCELLED", "It was cancelled.")


@pytest.mark.parametrize("state", ["FAILED", "PENDING", "anything else"])
def test_any_other_state_is_a_failure(state):
    outcome = decide_outcome(state, None, COMPLETE_RUN, EXPECTED)
    assert outcome == Outcome("FAILED", "No stage says why: see the platform's log.")


def test_a_run_that_had_to_train_must_have_trained_and_promoted():
    asked = [StageRecord("monitor", TIME, facts={"retrain": True})]
    assert missing_stages(asked, ["monitor"]) == ["train", "evaluate"]
    passed = [*asked, StageRecord("train", TIME), StageRecord("evaluate", TIME, facts={"promote": True})]
    assert missing_stages(passed, ["monitor"]) == ["refit", "promote"]
    refused = [*asked, StageRecord("train", TIME), StageRecord("evaluate", TIME, facts={"promote": False})]
    assert missing_stages(refused, ["monitor"]) == []


def test_a_plan_without_shards_needs_no_prediction():
    planned = [StageRecord("plan", TIME, facts={"shards": 0})]
    assert missing_stages(planned, ["plan", "predict"]) == []


def test_a_run_that_was_terminated_is_recorded_by_a_later_one(database, connection, store):
    with stage("extract", store, "run-1") as record:
        record.facts["pipeline"] = "inference"
    with stage("extract", store, "run-2") as record:
        record.facts["pipeline"] = "training"
    conclude(database, store, "run-2", "training", ["extract"], "SUCCEEDED", None)
    now = datetime.now(UTC)
    assert record_lost_runs(database, store, now + LOST_AFTER - timedelta(minutes=1)) == []  # it may still go on
    for expected in (["run-1"], []):
        assert record_lost_runs(database, store, now + LOST_AFTER + timedelta(minutes=1)) == expected
    with connection.cursor() as cursor:
        cursor.execute("SELECT run_id, pipeline, state FROM recsys.pipeline_runs ORDER BY run_id")
        assert cursor.fetchall() == [("run-1", "inference", "CANCELLED"), ("run-2", "training", "SUCCEEDED")]


@pytest.mark.parametrize(("pipeline", "looks"), [("inference", True), ("training", True), ("refresh", False)])
def test_refreshes_leave_it_to_other_runs_to_look_for_lost_ones(
    pipeline, looks, database, connection, store, monkeypatch
):
    looked = []
    monkeypatch.setattr(outcome, "record_lost_runs", lambda *_: looked.append(True))
    conclude(database, store, "run-1", pipeline, [], "SUCCEEDED", None)
    assert bool(looked) is looks


def test_a_stages_message_takes_precedence_over_the_platforms():
    failed = [StageRecord("extract", TIME), StageRecord("validate", TIME, error="The tap is dry.")]
    assert decide_outcome("FAILED", "Task failed.", failed, ["extract"]) == Outcome(
        "FAILED", "validate: The tap is dry."
    )


def test_a_failed_stage_fails_the_run_even_if_the_platform_reports_success():
    failed = [StageRecord("predict", TIME, error="No memory.")]
    assert decide_outcome("SUCCEEDED", None, failed, ["predict"]).state == "FAILED"


def test_a_stage_without_a_record_fails_the_run_even_if_the_platform_reports_success():
    outcome = decide_outcome("SUCCEEDED", None, [StageRecord("extract", TIME)], ["extract", "validate", "train"])
    assert outcome == Outcome("FAILED", "validate: The stage wrote nothing into the journal: see the platform's log.")


def test_a_run_that_failed_part_way_records_each_shards_time_and_the_error(database, connection, store):
    with stage("plan", store, "run-1"):
        pass
    for shard in ("00000", "00001", "00002"):
        with suppress(SystemExit), stage("predict", store, "run-1", part=shard) as record:
            record.facts["users"] = 7
            if shard == "00001":
                raise UserError("The tap is dry: open it.")
    conclude(database, store, "run-1", "inference", ["plan", "predict", "reverse_etl"], "FAILED", "Task failed.")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT stage->>'stage', stage->>'part', stage->>'error', (stage->'facts'->>'users')::int, "
            "(stage->>'seconds')::float >= 0, (stage->>'peak_memory_mb')::float > 1 "
            "FROM recsys.pipeline_runs, jsonb_array_elements(stages) AS stage WHERE run_id = 'run-1'"
        )
        assert cursor.fetchall() == [
            ("plan", "", None, None, True, True),
            ("predict", "00000", None, 7, True, True),
            ("predict", "00001", "The tap is dry: open it.", 7, True, True),
            ("predict", "00002", None, 7, True, True),
        ]


def test_a_shard_that_succeeds_on_retry_fails_no_run(database, connection, store):
    with pytest.raises(SystemExit), stage("predict", store, "run-1", part="00000"):
        raise UserError("The tap is dry: open it.")
    with stage("predict", store, "run-1", part="00000"):
        pass
    assert conclude(database, store, "run-1", "inference", ["predict"], "SUCCEEDED", None).state == "SUCCEEDED"


def test_a_failed_run_is_recorded_with_its_stages(database, connection, store):
    with stage("extract", store, "run-1"):
        pass
    with pytest.raises(SystemExit), stage("validate", store, "run-1"):
        raise UserError("The tap is dry: open it.")
    for _ in range(2):  # a retried exit handler replaces its record
        conclude(database, store, "run-1", "training", ["extract", "validate"], "FAILED", "Task failed.")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pipeline, state, error, jsonb_path_query_array(stages, '$[*].stage'), finished_at > started_at "
            "FROM recsys.pipeline_runs"
        )
        assert cursor.fetchall() == [
            ("training", "FAILED", "validate: The tap is dry: open it.", ["extract", "validate"], True)
        ]


def test_a_retried_exit_handler_does_not_fail_the_run(database, connection, store, monkeypatch):
    monkeypatch.setenv("NO_DATABASE", "postgresql://unknown@127.0.0.1:1/none")
    with stage("extract", store, "run-1"):
        pass
    with pytest.raises(SystemExit), stage("notify", store, "run-1"):
        conclude("env:NO_DATABASE", store, "run-1", "inference", ["extract"], "SUCCEEDED", None)
    with stage("notify", store, "run-1"):
        outcome = conclude(database, store, "run-1", "inference", ["extract"], "SUCCEEDED", None)
    assert outcome == Outcome("SUCCEEDED", None)


@pytest.mark.parametrize("url", MALFORMED)
def test_recorded_errors_and_alerts_show_no_part_of_a_password(
    url, database, connection, webhook, store, monkeypatch, capfd
):
    monkeypatch.setenv("REPLICA_URL", url)
    with pytest.raises(psycopg2.Error) as failed:
        psycopg2.connect(url, connect_timeout=5)
    # A journal that was not masked.
    record = StageRecord("extract", TIME, facts={"why": url}, error=f"It failed ({failed.value}): correct {url}.")
    open_folder(store).write("runs/run-1/extract.json", seal(asdict(record)))
    with stage("notify", store, "run-1"):
        conclude(database, store, "run-1", "training", ["extract"], "FAILED", url, "env:ALERTS_URL", f"http://x/{url}")
    with connection.cursor() as cursor:
        cursor.execute("SELECT error, stages::text FROM recsys.pipeline_runs")
        recorded = cursor.fetchone()
    printed = capfd.readouterr()
    assert "It failed (" in recorded[0]
    assert "It failed (" in str(webhook.bodies)
    assert [leaked(text) for text in (*recorded, str(webhook.bodies), *printed)] == [[]] * 5


def test_an_alert_is_masked_before_it_is_cut(webhook, monkeypatch):
    monkeypatch.setenv("REPLICA_URL", "postgresql://shop:Sup3rS-S3cr3tPw@db/shop")
    resolve_secret("env:REPLICA_URL")
    post("env:ALERTS_URL", Alert("x" * 490 + " Sup3rS-S3cr3tPw", ("y" * 488 + " Sup3rS-S3cr3tPw",)))
    assert leaked(str(webhook.bodies)) == []
