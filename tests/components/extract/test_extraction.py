import math
import os
from datetime import date
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from components.extract.extraction import write_snapshot
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import MANIFEST, Snapshot
from steam_recsys.errors import UserError
from tests.shop import add_game, add_ranking, add_review, add_user

HOSTILE = [
    'quotes " and \' and `',
    "\\ backslashes \\N \\n \\",
    "new\nline\r\n\tand tab",
    "<script>alert('&amp;')</script>",
    "\u202etfel ot thgir\u202c \u200f\u200e",
    "{braces, \"and\" NULL}",
    "x" * 10_000,
    "\x01\x1f\x7f\ufeff\U0001f3ae e\u0301",
    " spaces around ",
]  # fmt: skip


@pytest.fixture
def small_shop(shop: Connection) -> Connection:
    portal = add_game(
        shop, 'Por"tal, \\N\n2', genres=["Puzzle", 'a,"b'], released_on=date(2007, 10, 10),
        delisted_on=date(2030, 1, 2),
    )  # fmt: skip
    add_game(shop, "Silent")
    ann = add_user(shop, "ann")
    add_review(shop, ann, portal, reviewed_on=date(2011, 11, 5), hours_played=1.5)
    add_review(shop, None, portal, recommended=False, reviewed_on=None)
    add_ranking(shop, portal, "Action", "Sales", 1)
    return shop


def extracted(database: str, root: Path, store: str) -> Snapshot:
    write_snapshot(database, root, store)
    return Snapshot.open(root)


def test_a_snapshot_has_every_row_in_the_declared_schemas(
    small_shop: Connection, database: str, any_store: str, tmp_path: Path
) -> None:
    written = write_snapshot(database, tmp_path / "snapshot", any_store)
    snapshot = Snapshot.open(tmp_path / "snapshot")
    snapshot.verify()
    assert written.rows == {"reviews": 2, "users": 1, "games": 2, "rankings": 1}
    assert all(snapshot.table(name).schema.equals(schema) for name, schema in TABLES.items())
    assert snapshot.table("rankings").to_pylist() == [
        {"game_id": 1, "genre": "Action", "rank_type": "Sales", "rank": 1}
    ]
    game, silent = snapshot.table("games").to_pylist()
    assert (game["name"], game["genres"], game["released_on"]) == (
        'Por"tal, \\N\n2', ["Puzzle", 'a,"b'], date(2007, 10, 10)
    )  # fmt: skip
    assert (silent["genres"], silent["released_on"], silent["delisted_on"]) == ([], None, None)
    assert game["delisted_on"] == date(2030, 1, 2)
    dated, undated = snapshot.table("reviews").to_pylist()
    assert (dated["user_id"], dated["recommended"], dated["hours_played"]) == (1, True, 1.5)
    assert (undated["user_id"], undated["recommended"], undated["reviewed_on"]) == (None, False, None)
    assert undated["hours_played"] is None


def test_the_manifest_is_in_the_folder_and_the_files_are_in_the_store(
    small_shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    snapshot = extracted(database, tmp_path / "snapshot", store)
    assert [path.name for path in (tmp_path / "snapshot").iterdir()] == [MANIFEST]
    assert snapshot.manifest.files_uri == f"{store}/snapshots/parts"


def test_a_store_is_found_again_from_another_working_directory(
    small_shop: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_snapshot(database, "snapshot", "store")
    monkeypatch.chdir("/")
    assert Snapshot.open(tmp_path / "snapshot").table("users").num_rows == 1


def test_hostile_text_is_unchanged(shop: Connection, database: str, store: str, tmp_path: Path) -> None:
    for text in HOSTILE:
        game = add_game(shop, text, genres=[text])
        add_ranking(shop, game, text, "Sales", 1)
        with shop.cursor() as cursor:
            cursor.execute("UPDATE steam.games SET short_description = %s WHERE game_id = %s", [text, game])
    snapshot = extracted(database, tmp_path / "snapshot", store)
    assert snapshot.table("games")["name"].to_pylist() == HOSTILE
    assert snapshot.table("games")["description"].to_pylist() == HOSTILE
    assert snapshot.table("games")["genres"].to_pylist() == [[text] for text in HOSTILE]
    assert snapshot.table("rankings")["genre"].to_pylist() == HOSTILE


def test_names_that_look_like_nulls_stay_names(shop: Connection, database: str, store: str, tmp_path: Path) -> None:
    names = ["NULL", "NA", "N/A", "nan", "null", "None", ""]
    for name in names:
        add_ranking(shop, add_game(shop, name, genres=[name]), name, "Sales", 1)
    snapshot = extracted(database, tmp_path / "snapshot", store)
    assert snapshot.table("games")["name"].to_pylist() == names
    assert snapshot.table("games")["genres"].to_pylist() == [[name] for name in names]
    assert snapshot.table("rankings")["genre"].to_pylist() == names


def test_extreme_values_survive(small_shop: Connection, database: str, store: str, tmp_path: Path) -> None:
    ends = [-(2**62), -1, 0, 2**62]
    with small_shop.cursor() as cursor:
        cursor.execute("DELETE FROM steam.reviews")
        for number in ends:
            cursor.execute("INSERT INTO steam.users VALUES (%s, %s)", [number, str(number)])
            cursor.execute(
                "INSERT INTO steam.reviews "
                "(review_id, user_id, game_id, recommended, helpful, hours_played, reviewed_on) "
                "VALUES (%s, %s, 1, true, %s, 'NaN', '0044-03-15 BC')",
                [number, number, abs(number)],
            )
        cursor.execute("UPDATE steam.reviews SET hours_played = 3.4e38, reviewed_on = 'infinity' WHERE review_id = 0")
        cursor.execute("SELECT updated_at FROM steam.reviews ORDER BY review_id")
        times = [row[0] for row in cursor]
    snapshot = extracted(database, tmp_path / "snapshot", store)
    reviews = snapshot.table("reviews")
    assert reviews["review_id"].to_pylist() == reviews["user_id"].to_pylist() == ends
    assert reviews["helpful"].to_pylist() == [abs(number) for number in ends]
    assert reviews["updated_at"].to_pylist() == times
    hours = reviews["hours_played"].to_pylist()
    assert math.isclose(hours[2], 3.4e38, rel_tol=1e-6)
    assert all(math.isnan(hours[row]) for row in (0, 1, 3))
    assert reviews["reviewed_on"].is_null().to_pylist() == [False, False, True, False]
    assert snapshot.table("users")["user_id"].to_pylist() == sorted([*ends, 1])


def test_the_watermark_is_the_newest_time_and_its_highest_id(
    small_shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    snapshot = extracted(database, tmp_path / "snapshot", store)
    times = snapshot.table("reviews")["updated_at"].to_pylist()
    assert snapshot.manifest.watermark == (times[-1].isoformat(), 2)


def test_an_empty_shop_makes_an_empty_snapshot(shop: Connection, database: str, any_store: str, tmp_path: Path) -> None:
    assert write_snapshot(database, tmp_path / "snapshot", any_store).rows == dict.fromkeys(TABLES, 0)
    snapshot = Snapshot.open(tmp_path / "snapshot")
    assert snapshot.manifest.watermark is None
    assert all(snapshot.table(name).equals(schema.empty_table()) for name, schema in TABLES.items())


def test_the_snapshot_id_depends_only_on_the_rows(small_shop: Connection, database: str, tmp_path: Path) -> None:
    first = write_snapshot(database, tmp_path / "first", tmp_path / "store").snapshot_id
    assert write_snapshot(database, tmp_path / "second", tmp_path / "another store").snapshot_id == first
    add_review(small_shop, None, 1)
    assert write_snapshot(database, tmp_path / "second", tmp_path / "another store").snapshot_id != first


def test_a_folder_without_a_manifest_is_not_a_snapshot(
    small_shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    extracted(database, tmp_path / "snapshot", store)
    (tmp_path / "snapshot" / MANIFEST).unlink()
    with pytest.raises(UserError, match="holds no complete snapshot"):
        Snapshot.open(tmp_path / "snapshot")
    assert extracted(database, tmp_path / "snapshot", store).manifest.rows("reviews") == 2


def test_a_missing_schema_is_reported_with_the_pipeline_that_creates_it(
    database: str, store: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="has no schema steam: run the ingestion pipeline first"):
        write_snapshot(database, tmp_path / "snapshot", store)
    assert not os.path.exists(store)
