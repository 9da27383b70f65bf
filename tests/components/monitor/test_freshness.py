import os
import subprocess
import sys
from datetime import timedelta

import pytest
from psycopg2.extensions import connection as Connection

from components.monitor import freshness as module
from components.monitor.freshness import check_freshness, decide_freshness
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError
from tests.webhook import Webhook


def freshness(*arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "commands", "freshness", *arguments]
    done = subprocess.run(command, env={**os.environ}, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def published(connection: Connection) -> Connection:
    create_schema(connection, "recsys")
    return connection


def ended(connection: Connection, run: str, pipeline: str, state: str, hours_ago: float) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, finished_at) "
            "VALUES (%s, %s, %s, now() - make_interval(secs => %s))",
            [run, pipeline, state, 3600 * hours_ago],
        )


@pytest.mark.parametrize(("hours", "fresh"), [(0.0, True), (26.0, True), (26.1, False), (1e5, False)])
def test_an_age_up_to_the_limit_is_fresh(hours: float, fresh: bool) -> None:
    assert decide_freshness("r", timedelta(hours=hours), 26).fresh is fresh


def test_a_clock_may_be_a_little_ahead() -> None:
    found = decide_freshness("r", -timedelta(minutes=4), 26)
    assert (found.fresh, found.sentence) == (True, "The last inference run succeeded 0.0 hours ago.")


@pytest.mark.parametrize(("end", "hours"), [("now() + interval '240.04 hours'", "240.0"), ("'infinity'", "876,")])
def test_a_run_that_ends_in_the_future_is_refused_with_its_id(published: Connection, end: str, hours: str) -> None:
    ended(published, "good", "inference", "SUCCEEDED", 1)
    ended(published, "ahead", "inference", "SUCCEEDED", 1)
    ended(published, "failed", "inference", "FAILED", -99)
    published.cursor().execute(f"UPDATE recsys.pipeline_runs SET finished_at = {end} WHERE run_id = 'ahead'")
    code, sentence = freshness()
    assert code == 2
    assert sentence.startswith(
        "Whether recommendations are fresh is unknown, since the inference run ahead is recorded to end " + hours
    )
    assert "correct the clock" in sentence
    assert "Traceback" not in sentence


def test_a_run_without_an_end_does_not_count(published: Connection) -> None:
    ended(published, "a", "inference", "SUCCEEDED", 1)
    ended(published, "b", "inference", "SUCCEEDED", 1)
    published.cursor().execute("UPDATE recsys.pipeline_runs SET finished_at = NULL WHERE run_id = 'a'")
    published.cursor().execute("UPDATE recsys.pipeline_runs SET finished_at = '-infinity' WHERE run_id = 'b'")
    assert freshness()[0] == 1


def test_the_newest_success_of_inference_counts_and_the_exit_code_says_how(published: Connection) -> None:
    assert freshness() == (1, "No inference run has succeeded yet: run the inference pipeline.\n")
    ended(published, "a", "inference", "SUCCEEDED", 30)
    ended(published, "b", "inference", "FAILED", 1)
    ended(published, "c", "training", "SUCCEEDED", 1)
    code, sentence = freshness()
    assert (code, sentence[:56]) == (1, "The last inference run that succeeded ended 30.0 hours a")
    assert freshness("--max-age-hours", "31") == (0, "The last inference run succeeded 30.0 hours ago.\n")
    ended(published, "d", "inference", "SUCCEEDED", 2)
    assert freshness() == (0, "The last inference run succeeded 2.0 hours ago.\n")


def test_an_unreadable_database_is_neither_fresh_nor_stale(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert freshness() == (2, "The database has no schema recsys: run the inference pipeline first.\n")
    monkeypatch.setenv("DATABASE_URL", "postgresql://unknown@127.0.0.1:1/none")
    code, sentence = freshness("--alerts", "env:NO_SUCH_VARIABLE")
    assert code == 2
    assert "cannot be reached" in sentence
    assert "the alert did not arrive" in sentence
    assert "Traceback" not in sentence


def test_an_unresponsive_database_times_out(
    published: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STATEMENT_TIMEOUT", "50ms")
    published.autocommit = False
    published.cursor().execute("LOCK TABLE recsys.pipeline_runs")
    with pytest.raises(UserError, match=r"The database in DATABASE_URL cancelled a statement \(.*\): run"):
        check_freshness(database)
    published.rollback()


def test_a_check_that_fails_does_not_report_stale(published: Connection) -> None:
    published.cursor().execute("ALTER TABLE recsys.pipeline_runs DROP COLUMN finished_at")
    code, message = freshness()
    assert code == 2
    assert 'does not match this release\'s schema (column "finished_at" does not exist): undo the change' in message


def test_freshness_of_refreshes_can_be_checked_too(published: Connection) -> None:
    ended(published, "a", "inference", "SUCCEEDED", 1)
    assert freshness("--pipeline", "refresh")[1] == "No refresh run has succeeded yet: run the refresh pipeline.\n"
    ended(published, "b", "refresh", "SUCCEEDED", 1)
    assert freshness("--pipeline", "refresh", "--max-age-hours", "2")[0] == 0


@pytest.mark.parametrize("hours", ["nan", "inf", "0", "-1", "a day"])
def test_an_invalid_limit_gives_no_verdict_on_freshness(hours: str) -> None:
    code, message = freshness("--max-age-hours", hours)
    assert code == 2
    assert message.endswith(f"argument --max-age-hours: {hours} is not a number of hours above 0\n")


def test_only_stale_recommendations_are_posted(published: Connection, webhook: Webhook) -> None:
    assert freshness("--alerts", "env:ALERTS_URL")[0] == 1
    ended(published, "a", "inference", "SUCCEEDED", 1)
    assert freshness("--alerts", "env:ALERTS_URL")[0] == 0
    ((title, reason),) = [[block["text"]["text"] for block in body["blocks"]] for body in webhook.bodies]
    assert title == "*Recommendations may be stale*"
    assert reason == "• No inference run has succeeded yet: run the inference pipeline."
