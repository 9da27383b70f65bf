import argparse
import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace

import pytest
from psycopg2.extensions import connection as Connection

from commands import refresh as module
from commands.__main__ import main
from steam_recsys.errors import UserError
from tests.explorer.publishing_runs import fill_shop, promote_random_model, run_inference
from tests.shop import add_review


@pytest.fixture
def published(shop: Connection, database: str, store: str, tmp_path: Path) -> Connection:
    """A connection to a published shop."""
    fill_shop(shop)
    promote_random_model(store, tmp_path / "model")
    run_inference(database, store, tmp_path)
    return shop


def recorded(connection: Connection) -> list[tuple[str, str | None, int | None]]:
    """The runs in the order of their ends: state, error, and users with new lists."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT state, error, (jsonb_path_query_first(stages, '$[*] ? (@.stage == \"refresh\").facts.users'))::int "
            "FROM recsys.pipeline_runs WHERE pipeline = 'refresh' ORDER BY finished_at"
        )
        return cursor.fetchall()


def test_a_refresh_is_recorded_as_a_run_of_the_pipeline(published: Connection, store: str) -> None:
    add_review(published, 1, 2, reviewed_on=date(2024, 9, 1))
    main(["refresh", "--store", store])
    assert recorded(published) == [("SUCCEEDED", None, 1)]
    published.cursor().execute("ALTER TABLE steam.reviews RENAME COLUMN helpful TO useful")
    with pytest.raises(SystemExit) as ended:
        main(["refresh", "--store", store])
    assert ended.value.code == 1
    ((state, error, _),) = recorded(published)[1:]
    assert state == "FAILED"
    assert error is not None
    assert error.startswith("extract: The schema steam is not as this project reads it")


def test_following_refreshes_after_changes_and_goes_on_after_a_failure(
    published: Connection, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(before: str, after: str) -> None:
        published.cursor().execute(f"ALTER TABLE steam.reviews RENAME COLUMN {before} TO {after}")

    changes = [
        lambda: None,
        lambda: add_review(published, 1, 2, reviewed_on=date(2024, 9, 1)),
        lambda: None,
        lambda: (rename("helpful", "useful"), add_review(published, 2, 2, reviewed_on=date(2024, 9, 1))),
        lambda: rename("useful", "helpful"),
    ]
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if not changes:
            raise KeyboardInterrupt
        changes.pop(0)()

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    with pytest.raises(SystemExit) as ended:
        main(["refresh", "--store", store, "--follow"])
    assert ended.value.code == 130
    assert [(state, users) for state, _, users in recorded(published)] == [
        ("SUCCEEDED", 0), ("SUCCEEDED", 1), ("FAILED", None), ("SUCCEEDED", 1),
    ]  # fmt: skip
    assert len(pauses) == 6
    assert pauses[4] > module.PAUSE_SECONDS


def test_following_waits_for_a_database_that_does_not_answer(
    store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann@127.0.0.1:1/shop")
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    options = argparse.Namespace(
        store=store, database="env:DATABASE_URL", replica="", publish_to="postgresql", mongodb="", alerts=""
    )
    with pytest.raises(KeyboardInterrupt):
        module.follow(options)
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 900.0, 900.0, 900.0]
    assert "Trying again in 30 seconds." in "".join(capsys.readouterr())


def test_following_goes_on_after_a_run_whose_outcome_cannot_be_recorded(
    published: Connection, store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose_the_database(*_: object) -> None:
        raise UserError("The database cannot be reached.")

    def recover(_: float) -> None:
        if not recorded(published):
            monkeypatch.setattr(module, "conclude", conclude)
        else:
            raise KeyboardInterrupt

    conclude = module.conclude
    monkeypatch.setattr(module, "conclude", lose_the_database)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=time.monotonic, sleep=recover))
    with pytest.raises(SystemExit) as ended:
        main(["refresh", "--store", store, "--follow"])
    assert ended.value.code == 130
    assert "The database cannot be reached." in capsys.readouterr().out
    assert [state for state, _, _ in recorded(published)] == ["SUCCEEDED"]
