"""Explorers of small shops: one with two publications, and one with hostile texts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime

from psycopg2.extensions import cursor as Cursor
from psycopg2.extras import Json

from demo.postgres import EmbeddedPostgres
from tests.explorer.browser.sites import Site
from tests.explorer.conftest import TOKEN, published_shop_in, serving
from tests.explorer.payloads import PAYLOADS
from tests.explorer.publishing_runs import promote_random_model, run_inference
from tests.explorer.training_runs import record_run, stages_of

TRAINED = datetime(2024, 3, 31, 22, tzinfo=UTC)

SCRIPT = "<script>alert(1)</script>"

MEASURED = [
    {"ndcg": 0.21, "popular_ndcg": 0.19, "judged_users": 640, "psi_games": 0.0},
    {"ndcg": None, "popular_ndcg": None, "judged_users": 0, "psi_games": 0.0},
    {"ndcg": 0.2, "popular_ndcg": 0.18, "judged_users": 810, "psi_games": 0.07},
    {"ndcg": 0.16, "popular_ndcg": 0.17, "judged_users": 702, "psi_games": 0.22},
]
"""Figures of four months, the oldest first; one month had not enough evidence."""


@contextmanager
def two_publications(postgres: EmbeddedPostgres) -> Iterator[Site]:
    """Yield the explorer of a shop with two publications, where an operator may roll back."""
    variable = "EXPLORER_OPERATOR_DATABASE_URL"
    with published_shop_in(postgres, variable) as published_shop:
        promote_random_model(published_shop.store, published_shop.folder / "model-2", "model-2", seed=1)
        version = run_inference(f"env:{variable}", published_shop.store, published_shop.folder).version
        with published_shop.connection() as connection, connection.cursor() as cursor:
            for number, passed in ((2, True), (3, False)):
                stages = stages_of(f"model-{number}", TRAINED, passed)
                record_run(connection, f"training-{number}", TRAINED, stages)
            for month, figures in enumerate(MEASURED, start=1):
                _measure(cursor, month, figures)
        settings = {"operator_token": TOKEN, "operator_database_url": published_shop.url, "requests_per_second": 1e6}
        with serving(published_shop.settings(**settings)) as served:
            served.wait_for_model(version)
            yield Site(str(served.client.base_url), published_shop.url)


@contextmanager
def hostile_texts(postgres: EmbeddedPostgres) -> Iterator[Site]:
    """Yield the explorer of a shop whose texts all became hostile after the publication."""
    with published_shop_in(postgres, "HOSTILE_URL") as published_shop:
        with published_shop.connection() as connection, connection.cursor() as cursor:
            for number, payload in enumerate(PAYLOADS, start=1):
                _disguise(cursor, number, payload)
            cursor.execute(
                "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, error, started_at, finished_at) "
                "VALUES (%s, %s, %s, %s, now(), now())",
                [SCRIPT] * 4,
            )
            cursor.execute(
                "INSERT INTO recsys.monitoring (run_id, measured_at, as_of, model_version, retrain, reasons) "
                "VALUES (%s, now(), current_date, %s, true, jsonb_build_array(%s::text))",
                [SCRIPT] * 3,
            )
        with serving(published_shop.settings(requests_per_second=1e6)) as served:
            served.wait_for_model(published_shop.plan.version)
            yield Site(str(served.client.base_url), published_shop.url)


def _measure(cursor: Cursor, month: int, figures: dict[str, float | None]) -> None:
    """Insert the measurement of a month, with intervals; the last one decided to train again."""
    bounds = {f"{name}_{side}": value and value + by
              for name, value in figures.items() if name.endswith("ndcg")
              for side, by in (("lower", -0.02), ("upper", 0.02))}  # fmt: skip
    drift = {"psi_genres": 0.01 * month, "psi_history_lengths": 0.02 * month}
    reasons = ["drift of games is 0.22, must be at most 0.2"] if month == len(MEASURED) else []
    cursor.execute(
        "INSERT INTO recsys.monitoring (run_id, measured_at, as_of, model_version, retrain, reasons, figures) "
        "VALUES (%s, %s, %s, 'model-1', %s, %s, %s)",
        [f"run-{month}", date(2024, month, 1), date(2024, month, 1), bool(reasons), Json(reasons),
         Json({**figures, **bounds, **drift})],
    )  # fmt: skip


def _disguise(cursor: Cursor, number: int, payload: str) -> None:
    """Put a payload into every text of the user and the game with a number."""
    cursor.execute("UPDATE steam.users SET username = %s WHERE user_id = %s", [payload, number])
    cursor.execute(
        "UPDATE steam.games SET name = %s, short_description = %s, rating = %s, link = %s WHERE game_id = %s",
        [payload, payload, payload, "javascript:alert(1)", number],
    )
    for table, key in (("genres", "genre_id"), ("developers", "developer_id"), ("publishers", "publisher_id")):
        cursor.execute(f"INSERT INTO steam.{table} (name) VALUES (%s) RETURNING {key}", [payload])
        (made,) = cursor.fetchone()
        cursor.execute(f"INSERT INTO steam.game_{table} (game_id, {key}) VALUES (%s, %s)", [number, made])
    cursor.execute(
        "INSERT INTO steam.game_requirements (game_id, level, os, processor, graphics, directx, requirements) "
        "VALUES (%s, 'recommended', %s, %s, %s, %s, '')",
        [number, *[payload] * 4],
    )
