"""The contract with the shop's tables is checked before anything is read."""

from pathlib import Path

import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from components.extract.extraction import write_snapshot
from components.extract.source import SOURCE, differences
from steam_recsys.data.schemas import TABLES
from steam_recsys.database.connection import snapshot_queries
from steam_recsys.errors import UserError
from tests.shop import add_game, add_review

COLUMNS = [(table, column) for table, columns in SOURCE.items() for column in columns]


def refusal(database: str, folder: Path) -> str:
    """Return the sentence that refuses an extraction, which has not touched the store."""
    with pytest.raises(UserError) as refused:
        write_snapshot(database, folder / "snapshot", folder / "store")
    assert not (folder / "store").exists()
    return str(refused.value)


def test_the_contract_has_exactly_the_columns_that_the_queries_read(shop: Connection) -> None:
    with shop.cursor() as cursor:
        for table, query in snapshot_queries().items():
            names = ", ".join(TABLES[table].names)
            cursor.execute(f"CREATE VIEW public.read_{table} ({names}) AS {query}", {"first": 0, "end": 1})
        cursor.execute(
            "SELECT DISTINCT table_name, column_name FROM information_schema.view_column_usage "
            "WHERE view_schema = 'public' AND view_name LIKE 'read_%'"
        )
        assert sorted(cursor.fetchall()) == sorted(COLUMNS)


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_a_renamed_column_is_named(shop: Connection, database: str, tmp_path: Path, table: str, column: str) -> None:
    names = sql.Identifier("steam", table), sql.Identifier(column)
    with shop.cursor() as cursor:
        cursor.execute(sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO other").format(*names))
    assert refusal(database, tmp_path) == (
        f"The schema steam is not as this project reads it ({table} has no column {column}): change it back."
    )


def test_everything_that_differs_is_in_one_sentence(shop: Connection, database: str, tmp_path: Path) -> None:
    with shop.cursor() as cursor:
        cursor.execute(
            "ALTER TABLE steam.reviews RENAME hours_played TO hours; "
            "ALTER TABLE steam.reviews ALTER helpful TYPE integer; "
            "ALTER TABLE steam.reviews ALTER updated_at TYPE timestamp; "
            "ALTER TABLE steam.games ALTER released_on TYPE text; "
            "DROP TABLE steam.rankings"
        )
    assert refusal(database, tmp_path) == (
        "The schema steam is not as this project reads it (reviews has no column hours_played, reviews.helpful is "
        "integer instead of bigint, reviews.updated_at is timestamp without time zone instead of timestamp with time "
        "zone, games.released_on is text instead of date, the table rankings is missing): change it back."
    )


@pytest.mark.parametrize(
    ("table", "column", "kind"),
    [
        ("reviews", "game_id", "bigint"),
        ("reviews", "funny", "numeric"),
        ("reviews", "recommended", "integer USING recommended::integer"),
        ("reviews", "hours_played", "numeric(10, 2)"),
        ("reviews", "reviewed_on", "timestamptz"),
        ("users", "user_id", "integer"),
        ("genres", "name", "bytea USING name::bytea"),
        ("rankings", "rank", "bigint"),
    ],
)
def test_a_wider_or_another_type_is_named(
    shop: Connection, database: str, tmp_path: Path, table: str, column: str, kind: str
) -> None:
    with shop.cursor() as cursor:
        cursor.execute(f"ALTER TABLE steam.{table} ALTER {column} TYPE {kind}")
    assert f"({table}.{column} is " in refusal(database, tmp_path)


def test_added_columns_domains_views_and_other_texts_are_taken(shop: Connection, database: str, tmp_path: Path) -> None:
    add_review(shop, None, add_game(shop, "Portal", genres=["Puzzle"]))
    with shop.cursor() as cursor:
        cursor.execute(
            "CREATE DOMAIN counter AS bigint CHECK (VALUE >= 0); "
            "ALTER TABLE steam.reviews ADD COLUMN language text, ALTER helpful TYPE counter; "
            "ALTER TABLE steam.games ALTER link TYPE varchar(200); "
            "ALTER TABLE steam.genres RENAME TO kinds; "
            "CREATE VIEW steam.genres AS SELECT genre_id, name FROM steam.kinds"
        )
    assert write_snapshot(database, tmp_path / "snapshot", tmp_path / "store").rows["reviews"] == 1


def test_a_table_that_is_missing_is_not_listed_again_with_each_column() -> None:
    kinds = {table: {column: kinds[-1] for column, kinds in columns.items()} for table, columns in SOURCE.items()}
    assert differences(kinds) == []
    assert differences({table: columns for table, columns in kinds.items() if table != "users"}) == [
        "the table users is missing"
    ]
