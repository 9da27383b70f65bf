"""Values that PostgreSQL's types hold and Python's do not are sentences with the row's id, never stack traces."""

import os
import secrets
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from components.extract.extraction import write_snapshot
from components.validate.validation import find, validate_snapshot
from demo.postgres import EmbeddedPostgres
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError
from tests.shop import add_game, add_ranking, add_review, add_user

LAST_ID = 2**63 - 1


@pytest.fixture
def stocked(shop: Connection) -> Connection:
    """A shop with three games and reviews of the second one."""
    for number in range(1, 4):
        add_game(shop, f"Game {number}", released_on=date(2000, 1, 1))
    add_ranking(shop, 2, "Action", "Sales", 1)
    for number in range(1, 4):
        add_review(shop, add_user(shop, f"user {number}"), 2)
    return shop


def change(connection: Connection, statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def problem(database: str, store: str, folder: Path) -> str:
    """Extract and validate, twice, as the second extraction compares dates with the first one's; return the error."""
    messages = set()
    for number in (1, 2):
        write_snapshot(database, folder / f"snapshot-{number}", store)
        with pytest.raises(UserError) as failed:
            validate_snapshot(folder / f"snapshot-{number}", folder / "report", store)
        messages.add(str(failed.value))
    (message,) = messages
    return message


@pytest.mark.parametrize("day", ["20220-05-01", "5874897-12-31", "0044-03-15 BC", "0001-12-31 BC", "10000-01-01"])
@pytest.mark.parametrize(
    ("table", "column", "key"),
    [
        ("games", "released_on", "game_id 2"),
        ("games", "delisted_on", "game_id 2"),
        ("reviews", "reviewed_on", "review_id 2, user_id 2, game_id 2"),
        ("reviews", "updated_at", "review_id 2, user_id 2, game_id 2"),
    ],
)
def test_a_day_outside_pythons_range_is_reported_with_the_id(
    stocked: Connection, database: str, store: str, tmp_path: Path, table: str, column: str, key: str, day: str
) -> None:
    if (column, day) == ("updated_at", "5874897-12-31"):
        day = "294200-12-31"  # timestamps end before dates do
    change(stocked, f"UPDATE steam.{table} SET {column} = '{day}' WHERE {key.split()[0]} = 2")
    message = problem(database, store, tmp_path)
    assert message.startswith(f"The snapshot breaks its contract ({table}: {column} is between ")
    shown = day if column != "updated_at" else ""  # with a time of day
    assert f": 1 (for example {key}, {column} {shown}" in message


@pytest.mark.parametrize("time", ["infinity", "-infinity", "294276-12-31", "4714-11-24 BC"])
def test_the_ends_of_timestamps_are_reported(
    stocked: Connection, database: str, store: str, tmp_path: Path, time: str
) -> None:
    change(stocked, f"SET TIME ZONE 'UTC'; UPDATE steam.reviews SET updated_at = '{time}' WHERE review_id = 2")
    message = problem(database, store, tmp_path)
    shown = "infinity" if time == "294276-12-31" else time  # beyond what microseconds since 1970 can say
    assert "updated_at is between 0001-01-01 and 9999-12-31: 1 (for example review_id 2, user_id 2, " in message
    assert f", updated_at {shown.removesuffix(' BC')}" in message


def test_an_infinite_day_means_always_never_or_unknown(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    change(stocked, "UPDATE steam.games SET released_on = '-infinity', delisted_on = 'infinity' WHERE game_id = 2")
    change(stocked, "UPDATE steam.games SET released_on = 'infinity', delisted_on = '-infinity' WHERE game_id = 3")
    change(stocked, "UPDATE steam.reviews SET reviewed_on = 'infinity' WHERE review_id = 2")
    change(stocked, "UPDATE steam.reviews SET reviewed_on = '-infinity' WHERE review_id = 3")
    write_snapshot(database, tmp_path / "snapshot", store)
    snapshot = Snapshot.open(tmp_path / "snapshot")
    games = snapshot.table("games")
    assert games["released_on"].to_pylist() == [date(2000, 1, 1), date.min, date.max]
    assert games["delisted_on"].to_pylist() == [None, date.max, date.min]
    assert snapshot.table("reviews")["reviewed_on"].to_pylist() == [date(2020, 1, 1), None, None]
    assert [each for each in find(snapshot, {}) if each.severity == "error"] == []


def test_another_error_of_a_row_with_such_a_date_is_reported_too(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    change(stocked, "ALTER TABLE steam.reviews DROP CONSTRAINT reviews_user_id_fkey")
    change(stocked, "UPDATE steam.reviews SET user_id = 77, reviewed_on = '20220-05-01' WHERE review_id = 2")
    write_snapshot(database, tmp_path / "snapshot", store)
    found = {each.message() for each in find(Snapshot.open(tmp_path / "snapshot"), {}) if each.severity == "error"}
    assert "reviews: every user_id exists: 1 (for example review_id 2, user_id 77, game_id 2)" in found


def test_infinite_hours_are_reported(stocked: Connection, database: str, store: str, tmp_path: Path) -> None:
    change(stocked, "UPDATE steam.reviews SET hours_played = 'infinity' WHERE review_id = 2")
    assert "hours_played is finite: 1 (for example review_id 2, " in problem(database, store, tmp_path)


@pytest.mark.parametrize("review", [LAST_ID, -LAST_ID - 1])
def test_ids_at_the_ends_of_their_type_are_read(
    stocked: Connection, database: str, store: str, tmp_path: Path, review: int
) -> None:
    change(stocked, f"UPDATE steam.reviews SET review_id = {review} WHERE review_id = 2")
    for _ in range(2):
        write_snapshot(database, tmp_path / "snapshot", store)
        assert Snapshot.open(tmp_path / "snapshot").table("reviews")["review_id"].to_pylist() == sorted([1, 3, review])


@pytest.mark.parametrize(
    ("table", "column", "key"),
    [
        ("reviews", "recommended", "review_id"),
        ("reviews", "helpful", "review_id"),
        ("reviews", "updated_at", "review_id"),
        ("games", "name", "game_id"),
        ("rankings", "rank", "game_id"),
    ],
)
def test_a_null_where_the_shop_has_dropped_not_null_is_reported_with_the_id(
    stocked: Connection, database: str, store: str, tmp_path: Path, table: str, column: str, key: str
) -> None:
    change(stocked, f"ALTER TABLE steam.{table} ALTER {column} DROP NOT NULL")
    change(stocked, f"UPDATE steam.{table} SET {column} = NULL WHERE {key} = 2")
    with pytest.raises(UserError, match=rf"^steam\.{table} has no {column} in the row with {key} 2: give it one\.$"):
        write_snapshot(database, tmp_path / "snapshot", store)


@pytest.fixture
def sql_ascii(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connection]:
    """A shop in a database that keeps whatever bytes it is sent."""
    name = f"ascii_{secrets.token_hex(6)}"
    server = psycopg2.connect(postgres.url())
    server.autocommit = True
    with server.cursor() as cursor:
        options = "ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        cursor.execute(f"CREATE DATABASE {name} {options}")
    server.close()
    monkeypatch.setenv("DATABASE_URL", postgres.url(name))
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    connection.autocommit = True
    create_schema(connection, "steam")
    yield connection
    connection.close()


def test_text_that_is_not_utf_8_is_reported_with_the_id(sql_ascii: Connection, store: str, tmp_path: Path) -> None:
    sql_ascii.set_client_encoding("UTF8")
    for number, name in enumerate(["Portal", "Müll", "Café"], start=1):
        add_game(sql_ascii, f"Game {number}", genres=[name])
    write_snapshot("env:DATABASE_URL", tmp_path / "snapshot", store)
    change(sql_ascii, "UPDATE steam.genres SET name = convert_from('\\x436166e9', 'SQL_ASCII') WHERE genre_id = 3")
    with pytest.raises(UserError, match=r"^steam\.games has text that is not UTF-8 \(b'.*Caf\\xe9.*', game_id 3\): "):
        write_snapshot("env:DATABASE_URL", tmp_path / "snapshot", store)


def test_only_the_bytes_around_an_invalid_one_are_reported(sql_ascii: Connection, store: str, tmp_path: Path) -> None:
    add_game(sql_ascii, "Portal")
    change(
        sql_ascii,
        "UPDATE steam.games SET short_description = repeat('a', 50000) || convert_from('\\xe9', 'SQL_ASCII') "
        "|| repeat('z', 50000)",
    )
    with pytest.raises(UserError, match=r"is not UTF-8 \(b'a{20}\\xe9z{20}', game_id 1\): correct it\.$"):
        write_snapshot("env:DATABASE_URL", tmp_path / "snapshot", store)
