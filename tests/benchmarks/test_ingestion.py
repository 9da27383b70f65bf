"""The benchmark of ingestion: its sides on a small shop, and its figures."""

import os
from pathlib import Path

import psycopg2
import pytest

from benchmarks.ingestion import AGAIN, COPY, DATABASE, DEFERRED, OURS, copy_seconds, export, ours_seconds, results
from demo.synthetic import Size, write_synthetic

SMALL = Size(reviews=3_000, users=1_300, games=60)


@pytest.mark.parametrize("deferred", [False, True])
def test_copy_loads_the_ingested_rows(
    deferred: bool,
    database: str,
    connection: psycopg2.extensions.connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(DATABASE, os.environ[database.removeprefix("env:")])
    reviews = write_synthetic(tmp_path / "raw", SMALL)
    assert ours_seconds(str(tmp_path / "raw")) > 0
    assert export(str(tmp_path / "exported")) == reviews
    query = (
        "SELECT * FROM steam.reviews JOIN steam.games USING (game_id) LEFT JOIN steam.users USING (user_id) ORDER BY 2"
    )
    with connection.cursor() as cursor:
        cursor.execute(query)
        ingested = cursor.fetchall()
        cursor.execute("DROP SCHEMA steam CASCADE")
        assert copy_seconds(str(tmp_path / "exported"), deferred=deferred) > 0
        cursor.execute(query)
        assert cursor.fetchall() == ingested


def test_ingestion_must_load_many_rows_and_take_little_longer_than_copy() -> None:
    seconds = {OURS: 20.0, AGAIN: 9.0, COPY: 8.0, DEFERRED: 5.0}
    rate, beside_copy, beside_deferred, again = results(3_000_000, seconds)
    assert (rate["ours"], rate["met"]) == (150_000.0, True)
    assert (beside_copy["ratio"], beside_copy["met"]) == (2.5, True)
    assert (beside_deferred["ratio"], again["ours"]) == (4.0, 9.0)
    assert not results(2_000_000, seconds)[0]["met"]
