"""Alerts, posted over HTTP to a server whose answers the tests choose."""

import logging
from pathlib import Path
from typing import Any

import pytest

from components.notify import alerts as module
from components.notify.alerts import Alert, post
from components.notify.outcome import JOB, Outcome, conclude, decide_alert
from steam_recsys.errors import UserError
from steam_recsys.stage import StageRecord, stage
from tests.webhook import Webhook

TIME = "2020-01-01T00:00:00+00:00"
GOOD = Outcome("SUCCEEDED", None)


def test_a_successful_run_posts_nothing() -> None:
    stages = [StageRecord("monitor", TIME, facts={"retrain": False, "reasons": []})]
    for previous in (None, "SUCCEEDED"):
        assert decide_alert("inference", "r", GOOD, stages, previous, "") is None


def test_a_failure_a_recovery_and_a_training_are_posted_with_their_reasons() -> None:
    failed = decide_alert("inference", "r", Outcome("FAILED", "validate: The tap is dry."), [], "SUCCEEDED", "http://p")
    assert failed == Alert("inference run r: FAILED", ("validate: The tap is dry.",), "http://p")
    assert decide_alert("inference", "r", Outcome("CANCELLED", None), [], None, "") == Alert(
        "inference run r: CANCELLED"
    )
    assert decide_alert("inference", "r", GOOD, [], "FAILED", "") == Alert("inference run r: succeeded again")
    monitored = StageRecord("monitor", TIME, facts={"retrain": True, "reasons": ["It is old."]})
    refused, promoted = (
        decide_alert("inference", "r", GOOD, [monitored, StageRecord(last, TIME)], None, "")
        for last in ("train", "promote")
    )
    assert refused == Alert("inference run r: a model was trained but did not pass the gate", ("It is old.",))
    assert promoted == Alert("inference run r: a new model was trained and is now the champion", ("It is old.",))


def test_of_refreshes_that_fail_one_after_the_other_only_the_first_is_posted() -> None:
    failed = Outcome("FAILED", "refresh: The tap is dry.")
    assert decide_alert("refresh", "r", failed, [], "SUCCEEDED", "") == Alert("refresh run r: FAILED", (failed.error,))
    assert decide_alert("refresh", "r", failed, [], "FAILED", "") is None
    assert decide_alert("refresh", "r", GOOD, [], "FAILED", "") == Alert("refresh run r: succeeded again")


def test_a_run_whose_training_fails_also_reports_why_it_was_required() -> None:
    monitored = StageRecord("monitor", TIME, facts={"retrain": True, "reasons": ["It is old."]})
    resting = StageRecord("monitor", TIME, facts={"retrain": False, "reasons": ["It is old."]})
    failed = Outcome("FAILED", "train: No memory.")
    for stage_record, reasons in ((monitored, ("train: No memory.", "It is old.")), (resting, ("train: No memory.",))):
        alert = decide_alert("inference", "r", failed, [stage_record], "SUCCEEDED", "")
        assert alert is not None
        assert alert.reasons == reasons


def test_alerts_have_slacks_format_and_markup_is_escaped(webhook: Webhook) -> None:
    post("env:ALERTS_URL", Alert("<!channel> & co", ("a <b|c>", "é"), "http://page?a=1&b=2"))
    assert webhook.bodies == [
        {
            "text": "&lt;!channel&gt; &amp; co",
            "blocks": [
                {"type": "section", "text": {"type": "mrkdwn", "text": "*&lt;!channel&gt; &amp; co*"}},
                {"type": "section", "text": {"type": "mrkdwn", "text": "• a &lt;b|c&gt;"}},
                {"type": "section", "text": {"type": "mrkdwn", "text": "• é"}},
                {"type": "section", "text": {"type": "mrkdwn", "text": "<http://page?a=1&amp;b=2|The run>"}},
            ],
        }
    ]


def test_an_alert_of_any_length_fits(webhook: Webhook) -> None:
    post("env:ALERTS_URL", Alert("t", tuple("&" * 10_000 for _ in range(50))))
    (body,) = webhook.bodies
    assert all(len(block["text"]["text"]) <= 3_000 for block in body["blocks"])


@pytest.mark.parametrize("answers", [[503, 200], [429, 500, 200]])
def test_a_post_to_a_busy_webhook_is_retried(webhook: Webhook, answers: list[int], capsys: Any) -> None:
    webhook.answers = list(answers)
    post("env:ALERTS_URL", Alert("late"))
    assert len(webhook.bodies) == len(answers)
    assert capsys.readouterr().out == "[notify] alert: late\n"


def test_a_long_pause_requested_by_a_webhook_is_shortened(webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_PAUSE_SECONDS", 0)
    webhook.answers, webhook.headers = [429, 200], {"Retry-After": "86400"}
    post("env:ALERTS_URL", Alert("late"))
    assert len(webhook.bodies) == 2


def test_redirects_of_a_webhook_are_not_followed(webhook: Webhook, capsys: Any) -> None:
    webhook.answers, webhook.headers = [307], {"Location": f"http://127.0.0.1:{webhook.server_port}/elsewhere"}
    post("env:ALERTS_URL", Alert("lost"))
    assert len(webhook.bodies) == 1
    assert "the alert did not arrive: the webhook answered with status 307" in capsys.readouterr().out


@pytest.mark.parametrize("answer", [404, 503])
def test_a_refusing_webhook_fails_no_run_and_its_url_stays_secret(
    webhook: Webhook, answer: int, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    webhook.answers = [answer]
    post("env:ALERTS_URL", Alert("lost"))
    log = capsys.readouterr().out
    problem = f"the webhook answered with status {answer}: check its URL"
    assert log == f"[notify] warning: the alert did not arrive: {problem}\n"
    assert "SECRET" not in caplog.text
    assert len(webhook.bodies) == (1 if answer == 404 else 1 + module.RETRIES)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/SECRET",
        "http://127.0.0.1:99999/SECRET",
        "http://[::1/SECRET",
        "http:///SECRET",
        "http://127.0.0.1:1/\r\nSECRET: é",
        "ftp://127.0.0.1/SECRET",
        "nonsense SECRET",
        "",
    ],
)
def test_an_unreachable_webhook_fails_no_run(
    webhook: Webhook, url: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ALERTS_URL", url)
    post("env:ALERTS_URL", Alert("lost"))
    log = capsys.readouterr().out
    assert log.startswith("[notify] warning: the alert did not arrive: ")
    assert "SECRET" not in log + caplog.text


def test_an_invalid_webhook_reference_fails_no_run_and_is_not_logged(capsys: Any) -> None:
    for reference in ("https://hooks.example.org/SECRET", "env:NOT_SET"):
        post(reference, Alert("lost"))
    wrong, missing = capsys.readouterr().out.splitlines()
    assert "A database or a webhook is named as env:NAME" in wrong
    assert "SECRET" not in wrong
    assert "NOT_SET is not set: set it to the URL" in missing


def test_the_exit_handler_posts_a_failure_and_then_the_recovery(
    webhook: Webhook, database: str, connection: Any, store: str
) -> None:
    with pytest.raises(SystemExit), stage("extract", store, "run-1"):
        raise UserError("The tap is dry: open it.")
    page = f"http://page/{JOB}?of=us"
    conclude(database, store, "run-1", "inference", [], "FAILED", None, "env:ALERTS_URL", page, "job-1")
    for run in ("run-2", "run-3"):
        conclude(database, store, run, "inference", [], "SUCCEEDED", None, "env:ALERTS_URL", "http://page")
    assert [body["text"] for body in webhook.bodies] == [
        "inference run run-1: FAILED",
        "inference run run-2: succeeded again",
    ]
    _, reason, link = (block["text"]["text"] for block in webhook.bodies[0]["blocks"])
    assert reason == "• extract: The tap is dry: open it."
    assert link == "<http://page/job-1?of=us|The run>"


def test_an_outcome_that_cannot_be_recorded_is_posted_anyway(
    webhook: Webhook, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_DATABASE", "postgresql://unknown@127.0.0.1:1/none")
    with pytest.raises(UserError, match="cannot be reached"):
        conclude("env:NO_DATABASE", store, "r", "inference", [], "SUCCEEDED", None, "env:ALERTS_URL")
    assert [body["text"] for body in webhook.bodies] == ["inference run r: SUCCEEDED, but this could not be recorded"]


def test_an_unreadable_journal_is_posted_with_the_platforms_message(webhook: Webhook, database: str) -> None:
    with pytest.raises(UserError, match="neither a path"):
        conclude(database, "abfs://elsewhere", "r", "training", [], "FAILED", "Task failed.", "env:ALERTS_URL")
    (body,) = webhook.bodies
    assert body["text"] == "training run r: FAILED, but this could not be recorded"
    platform, reason = (block["text"]["text"] for block in body["blocks"][1:])
    assert platform == "• Task failed."
    assert reason.startswith("• abfs://elsewhere is neither")


@pytest.mark.parametrize("content", ["{", "", "null", '{"stage": "train"}'])
def test_a_record_that_cannot_be_read_counts_as_missing(
    content: str, database: str, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with stage("extract", store, "r"):
        pass
    (Path(store) / "runs" / "r" / "train.json").write_text(content)
    outcome = conclude(database, store, "r", "training", ["extract", "train"], "SUCCEEDED", None)
    assert outcome == Outcome("FAILED", "train: The stage wrote nothing into the journal: see the platform's log.")
    assert "runs/r/train.json is damaged, or of another release: it counts as missing" in capsys.readouterr().out
