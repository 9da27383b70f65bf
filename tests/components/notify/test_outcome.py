from contextlib import suppress

import pytest

from components.notify.outcome import Outcome, conclude, decide_outcome
from steam_recsys.errors import UserError
from steam_recsys.stage import StageRecord, stage

TIME = "2020-01-01T00:00:00+00:00"


def test_a_run_without_a_failed_stage_is_what_the_platform_says():
    assert decide_outcome("SUCCEEDED", None, [StageRecord("extract", TIME)], ["extract"]) == Outcome("SUCCEEDED", None)
    assert decide_outcome("CANCELLED", "by ann", [], ["extract"]) == Outcome("CANCELLED", "by ann")


def test_a_stages_own_sentence_goes_before_the_platforms():
    failed = [StageRecord("extract", TIME), StageRecord("validate", TIME, error="The tap is dry.")]
    assert decide_outcome("FAILED", "Task failed.", failed, ["extract"]) == Outcome(
        "FAILED", "validate: The tap is dry."
    )


def test_a_failed_stage_makes_a_failed_run_whatever_the_platform_reports():
    failed = [StageRecord("predict", TIME, error="No memory.")]
    assert decide_outcome("SUCCEEDED", None, failed, ["predict"]).state == "FAILED"


def test_a_stage_that_left_nothing_makes_a_failed_run_whatever_the_platform_reports():
    outcome = decide_outcome("SUCCEEDED", None, [StageRecord("extract", TIME)], ["extract", "validate", "train"])
    assert outcome == Outcome("FAILED", "validate: It left nothing in the journal: see the platform's log.")


def test_a_run_that_failed_half_way_keeps_what_each_shard_took_and_why_one_failed(database, connection, store):
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


def test_a_shard_that_succeeds_when_it_is_tried_again_fails_no_run(database, connection, store):
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


def test_an_exit_handler_that_is_tried_again_does_not_fail_the_run(database, connection, store, monkeypatch):
    monkeypatch.setenv("NO_DATABASE", "postgresql://nobody@127.0.0.1:1/none")
    with stage("extract", store, "run-1"):
        pass
    with pytest.raises(SystemExit), stage("notify", store, "run-1"):
        conclude("env:NO_DATABASE", store, "run-1", "inference", ["extract"], "SUCCEEDED", None)
    with stage("notify", store, "run-1"):
        outcome = conclude(database, store, "run-1", "inference", ["extract"], "SUCCEEDED", None)
    assert outcome == Outcome("SUCCEEDED", None)
