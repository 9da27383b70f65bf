import threading
from datetime import date

import psycopg2
import pytest

from components.extract import snapshot as extraction
from components.extract.snapshot import write_snapshot
from components.shared.errors import UserError
from components.shared.schemas import TABLES
from components.shared.snapshot import MANIFEST, Snapshot
from tests.shop import add_game, add_ranking, add_review, add_user


@pytest.fixture
def small_shop(shop):
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


def test_a_snapshot_holds_every_row_with_the_declared_schemas(small_shop, database, tmp_path):
    written = write_snapshot(database, tmp_path / "snapshot")
    snapshot = Snapshot.open(tmp_path / "snapshot")
    assert written.rows == {"reviews": 2, "users": 1, "games": 2, "rankings": 1}
    assert all(snapshot.table(name).schema.equals(schema) for name, schema in TABLES.items())
    game, silent = snapshot.table("games").to_pylist()
    assert (game["name"], game["genres"], game["released_on"]) == (
        'Por"tal, \\N\n2', ["Puzzle", 'a,"b'], date(2007, 10, 10)
    )  # fmt: skip
    assert (silent["genres"], silent["released_on"], silent["delisted_on"]) == ([], None, None)
    assert game["delisted_on"] == date(2030, 1, 2)
    dated, undated = snapshot.table("reviews").to_pylist()
    assert (dated["user_id"], dated["recommended"], dated["hours_played"]) == (1, True, 1.5)
    assert (undated["user_id"], undated["recommended"], undated["reviewed_on"]) == (None, False, None)


def test_names_that_look_like_nulls_are_names(shop, database, tmp_path):
    names = ["NULL", "NA", "N/A", "nan", "null", "None"]
    for name in names:
        add_ranking(shop, add_game(shop, name, genres=[name]), name, "Sales", 1)
    write_snapshot(database, tmp_path / "snapshot")
    snapshot = Snapshot.open(tmp_path / "snapshot")
    assert snapshot.table("games")["name"].to_pylist() == names
    assert sorted(snapshot.table("rankings")["genre"].to_pylist()) == sorted(names)


def test_times_survive_to_the_microsecond(small_shop, database, tmp_path):
    write_snapshot(database, tmp_path / "snapshot")
    snapshot = Snapshot.open(tmp_path / "snapshot")
    with small_shop.cursor() as cursor:
        cursor.execute("SELECT updated_at FROM steam.reviews ORDER BY review_id")
        times = [row[0] for row in cursor.fetchall()]
    assert snapshot.table("reviews")["updated_at"].to_pylist() == times
    assert snapshot.manifest.watermark == (times[-1].isoformat(), 2)


def test_an_empty_shop_makes_an_empty_snapshot(shop, database, tmp_path):
    assert write_snapshot(database, tmp_path / "snapshot").rows == dict.fromkeys(TABLES, 0)
    assert Snapshot.open(tmp_path / "snapshot").manifest.watermark is None


def test_equal_rows_make_an_equal_snapshot_id_and_another_row_another_one(small_shop, database, tmp_path):
    first = write_snapshot(database, tmp_path / "first").snapshot_id
    assert write_snapshot(database, tmp_path / "second").snapshot_id == first
    add_review(small_shop, None, 1)
    assert write_snapshot(database, tmp_path / "second").snapshot_id != first


def test_all_tables_show_one_moment_even_when_the_shop_changes_meanwhile(small_shop, database, tmp_path, monkeypatch):
    copied = extraction._copied

    def copy_then_change(connection, query):
        if "steam.users" in query:  # the reviews are out, the users are next
            add_review(small_shop, add_user(small_shop, "late"), 1)
        return copied(connection, query)

    monkeypatch.setattr(extraction, "_copied", copy_then_change)
    assert write_snapshot(database, tmp_path / "snapshot").rows["users"] == 1


def test_a_folder_without_a_manifest_is_no_snapshot(small_shop, database, tmp_path):
    write_snapshot(database, tmp_path / "snapshot")
    (tmp_path / "snapshot" / MANIFEST).unlink()
    with pytest.raises(UserError, match="holds no complete snapshot"):
        Snapshot.open(tmp_path / "snapshot")
    write_snapshot(database, tmp_path / "snapshot")
    assert Snapshot.open(tmp_path / "snapshot").manifest.rows("reviews") == 2


def test_a_connection_that_is_cut_mid_copy_leaves_no_snapshot_and_a_sentence(small_shop, database, tmp_path):
    with small_shop.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.reviews (game_id, recommended) SELECT 1, true FROM generate_series(1, 300000)"
        )
    stop = threading.Event()

    def cut_copies():
        while not stop.is_set():
            with small_shop.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_progress_copy")
                if cursor.fetchall():
                    return

    cutter = threading.Thread(target=cut_copies)
    cutter.start()
    try:
        with pytest.raises(UserError, match="gave up"):
            write_snapshot(database, tmp_path / "snapshot")
    finally:
        stop.set()
        cutter.join()
    assert not (tmp_path / "snapshot" / MANIFEST).exists()


def test_a_database_without_the_schema_names_the_pipeline_that_makes_it(database, tmp_path):
    with pytest.raises(UserError, match="has no schema steam: run the ingestion pipeline first"):
        write_snapshot(database, tmp_path / "snapshot")


def test_extraction_holds_no_lock_that_a_writer_waits_for(small_shop, database, tmp_path, monkeypatch):
    copied = extraction._copied

    def write_meanwhile(connection, query):
        with small_shop.cursor() as cursor:
            cursor.execute("SET lock_timeout = '1s'")
            cursor.execute("UPDATE steam.reviews SET helpful = helpful + 1")
        return copied(connection, query)

    monkeypatch.setattr(extraction, "_copied", write_meanwhile)
    try:
        write_snapshot(database, tmp_path / "snapshot")
    except psycopg2.errors.LockNotAvailable:
        pytest.fail("the writer waited")
