"""`recsys.recommended_games`, called on a published version."""

import random
from datetime import date
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.database.connection import create_schema
from tests.components.reverse_etl.predicted import (
    Fallback,
    ListRow,
    Popular,
    overall,
    publish_version,
    write_predictions,
)
from tests.shop import add_game, add_ranking, add_review, add_user

UNKNOWN_USER = 10**15

RANDOM = random.Random(0).randbytes(1250).hex()
"""2,500 incompressible characters, about the maximum length of a unique name."""


def call(connection: Connection, user: int | None, **options: Any) -> list[tuple[Any, ...]]:
    arguments = "".join(f", {name} => %({name})s" for name in options)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT rank, game_id, name, score, reason FROM recsys.recommended_games(%(user)s{arguments})",
            {"user": user, **options},
        )
        return cursor.fetchall()


def names(connection: Connection, user: int | None, **options: Any) -> list[str]:
    return [row[2] for row in call(connection, user, **options)]


@pytest.fixture
def player(shop: Connection, database: str, tmp_path: Path) -> int:
    """A user who liked Halo and has four relevant games. Four other games are popular."""
    games = {
        name: add_game(shop, name, genres=genres, released_on=released_on, ram_gb=ram_gb)
        for name, genres, released_on, ram_gb in [
            ("Halo", ["Action"], None, None),
            ("Ants", ["Action", "Indie"], date(2019, 1, 1), 4),
            ("Bees", ["Indie"], date(2021, 1, 1), 0.7),
            ("Cats", ["Casual"], None, 16),
            ("Dogs", [], date(2020, 1, 1), None),
            ("Pop", ["Action"], date(2023, 1, 1), 8),
            ("Rock", ["Indie"], date(2010, 1, 1), None),
            ("Jazz", ["Casual"], None, 32),
        ]
    }
    for name, genre, rank_type, rank in [
        ("Dogs", "Role-Playing", "Sales", 7), ("Ants", "Role-Playing", "Sales", 9), ("Bees", "Strategy", "Sales", 1),
        ("Ants", "Strategy", "Sales", 5), ("Cats", "Strategy", "Revenue", 1), ("Ants", "Strategy", "Revenue", 2),
        ("Bees", "Strategy", "Review", 3), ("Cats", "Strategy", "Review", 2),
    ]:  # fmt: skip
        add_ranking(shop, games[name], genre, rank_type, rank)
    user = add_user(shop, "player")
    add_review(shop, user, games["Halo"])
    own = [games[name] for name in ("Ants", "Bees", "Cats", "Dogs")]
    popular = overall([games[name] for name in ("Halo", "Pop", "Ants", "Rock", "Jazz")])
    popular += [("Indie", 1, games["Rock"], 5.0), ("Indie", 2, games["Ants"], 4.0)]
    popular += [("Strategy", 1, games["Cats"], 3.0)]  # which is ranked in it, but does not have it as a tag
    rows = [(user, own, [0.9, 0.8, 0.7, 0.6], [games["Halo"], games["Halo"], None, games["Halo"]])]
    publish_version(database, write_predictions(tmp_path / "predictions", [rows], popular))
    return user


def test_games_delisted_after_the_publication_are_left_out(shop: Connection, player: int) -> None:
    with shop.cursor() as cursor:
        cursor.execute(
            "UPDATE steam.games SET delisted_on = current_date + CASE name WHEN 'Ants' THEN 0 ELSE 1 END "
            "WHERE name IN ('Ants', 'Bees')"
        )
    shop.commit()
    shown = names(shop, player)
    assert "Ants" not in shown
    assert "Bees" in shown


def test_personal_games_come_first_with_reasons_then_popular_games(shop: Connection, player: int) -> None:
    rows = call(shop, player)
    assert [(rank, game, reason) for rank, _, game, _, reason in rows] == [
        (1, "Ants", "because you liked Halo (Action)"),
        (2, "Bees", "because you liked Halo"),
        (3, "Cats", "fits your taste"),
        (4, "Dogs", "fits your taste"),  # Halo would be the reason for the third time
        (5, "Pop", "popular now"),
        (6, "Rock", "popular now"),
        (7, "Jazz", "popular now"),
    ]
    assert [row[3] for row in rows[:2]] == [pytest.approx(0.9), pytest.approx(0.8)]


def test_popular_games_fill_up_the_list_to_the_limit(shop: Connection, player: int) -> None:
    assert names(shop, player, p_limit=2) == ["Ants", "Bees"]
    assert names(shop, player, p_limit=5) == ["Ants", "Bees", "Cats", "Dogs", "Pop"]
    assert names(shop, player, p_limit=5, p_rank_by="newest") == ["Pop", "Bees", "Dogs", "Ants", "Cats"]


@pytest.mark.parametrize(
    ("rank_by", "expected"),
    [
        ("relevance", ["Ants", "Bees", "Cats", "Dogs"]),
        ("sales", ["Bees", "Ants", "Dogs", "Cats"]),
        ("revenue", ["Cats", "Ants", "Bees", "Dogs"]),
        ("reviews", ["Cats", "Bees", "Ants", "Dogs"]),
        ("newest", ["Bees", "Dogs", "Ants", "Cats"]),
    ],
)
def test_games_are_ranked_as_requested_and_unranked_ones_come_last(
    shop: Connection, player: int, rank_by: str, expected: list[str]
) -> None:
    assert names(shop, player, p_rank_by=rank_by, p_limit=4) == expected
    assert [row[0] for row in call(shop, player, p_rank_by=rank_by, p_limit=4)] == [1, 2, 3, 4]


def test_a_genre_with_a_ranking_uses_that_ranking(shop: Connection, player: int) -> None:
    # Over all genres Ants ranks 5th and Dogs 7th; among role-playing games Dogs ranks higher.
    assert names(shop, player, p_rank_by="sales", p_genre="role-playing") == ["Dogs", "Ants"]


def test_a_genre_without_a_ranking_uses_the_best_rank_in_any_genre(shop: Connection, player: int) -> None:
    assert names(shop, player, p_rank_by="sales", p_genre="INDIE") == ["Bees", "Ants", "Rock"]
    assert names(shop, player, p_rank_by="revenue", p_genre="Role-Playing") == ["Ants", "Dogs"]


def test_a_genre_is_a_tag_or_a_ranking_in_any_case(shop: Connection, player: int) -> None:
    assert names(shop, player, p_genre="aCtIoN") == ["Ants", "Pop"]
    assert names(shop, player, p_genre="strategy") == ["Ants", "Bees", "Cats"]
    assert names(shop, player, p_genre="") == names(shop, player)
    assert names(shop, player, p_genre="no such genre") == []


def test_a_genre_with_a_list_of_popular_games_fills_up_from_it(shop: Connection, player: int) -> None:
    assert [(row[2], row[4]) for row in call(shop, UNKNOWN_USER, p_genre="indie")] == [
        ("Rock", "popular in Indie"),
        ("Ants", "popular in Indie"),
    ]


def test_games_that_need_more_memory_are_left_out(shop: Connection, player: int) -> None:
    assert names(shop, player, p_max_ram_gb=8) == ["Ants", "Bees", "Dogs", "Pop", "Rock"]
    assert names(shop, player, p_max_ram_gb=0.7) == ["Bees", "Dogs", "Rock"]
    for least in ("0", "1e-300", "-1e300", "-Infinity"):
        assert names(shop, player, p_max_ram_gb=least) == ["Dogs", "Rock"]
    for most in ("1e300", "Infinity", "NaN"):
        assert names(shop, player, p_max_ram_gb=most) == names(shop, player)


def test_games_released_in_other_years_are_left_out(shop: Connection, player: int) -> None:
    assert names(shop, player, p_released_from=2020) == ["Bees", "Cats", "Dogs", "Pop", "Jazz"]
    assert names(shop, player, p_released_to=2019) == ["Ants", "Cats", "Rock", "Jazz"]
    assert names(shop, player, p_released_from=2019, p_released_to=2020) == ["Ants", "Cats", "Dogs", "Jazz"]
    assert names(shop, player, p_released_from=2024) == ["Cats", "Jazz"]
    for year in (-(2**31), 2**31 - 1):
        assert set(names(shop, player, p_released_from=year)) | set(names(shop, player, p_released_to=year)) >= {"Cats"}


def test_games_that_need_more_storage_or_another_system_are_left_out(
    shop: Connection, database: str, tmp_path: Path
) -> None:
    facts = [
        ("Small", 1, 2, "Windows 7 64-bit"),
        ("Large", 32, 90, "Windows® 10"),
        ("Open", 1, 0.5, "Ubuntu 20.04, SteamOS"),
        ("Apple", 2, None, "Mac OS X 10.9"),
        ("Broad", None, 3, "WINDOWS XP / OSX / Linux"),
        ("Vague", None, None, "64-bit"),
        ("Silent", None, None, None),
    ]
    games = [add_game(shop, name, ram_gb=ram, storage_gb=storage, os=os) for name, ram, storage, os in facts]
    rows = [(add_user(shop, "player"), games[:1], [1.0], [None])]
    publish_version(database, write_predictions(tmp_path / "p", [rows], overall(games)))
    assert names(shop, None, p_max_storage_gb=2) == ["Small", "Open", "Apple", "Vague", "Silent"]
    assert names(shop, None, p_max_storage_gb=0.5) == ["Open", "Apple", "Vague", "Silent"]
    assert names(shop, None, p_os="windows") == ["Small", "Large", "Broad", "Vague", "Silent"]
    assert names(shop, None, p_os="Mac") == ["Apple", "Broad", "Vague", "Silent"]
    assert names(shop, None, p_os="LINUX") == ["Open", "Broad", "Vague", "Silent"]
    assert names(shop, None, p_os="") == [name for name, *_ in facts]
    assert names(shop, None, p_os="windows", p_max_ram_gb=8, p_max_storage_gb=50) == [
        "Small",
        "Broad",
        "Vague",
        "Silent",
    ]


@pytest.mark.parametrize(
    ("os", "systems"),
    [
        ("Windows® 7 (32/64-bit)/Vista/XP", ["windows"]),
        ("Win7 or later", ["windows"]),
        ("XP SP3", ["windows"]),
        ("macOS 10.12 (Darwin)", ["mac"]),
        ("OS X 10.7", ["mac"]),
        ("Linux Mint", ["linux"]),
        ("Steam OS or Windows 10, Mac", ["windows", "mac", "linux"]),
        ("10", []),
        ("Darwin; Experience", []),
        ("", []),
        (None, []),
    ],
)
def test_systems_are_recognised_by_name(shop: Connection, os: str | None, systems: list[str]) -> None:
    create_schema(shop, "recsys")
    with shop.cursor() as cursor:
        cursor.execute("SELECT recsys.systems_of(%s)", [os])
        assert cursor.fetchone() == (systems,)


@pytest.mark.parametrize("user", [UNKNOWN_USER, None])
def test_unknown_users_and_visitors_get_popular_games(shop: Connection, player: int, user: int | None) -> None:
    assert names(shop, user) == ["Halo", "Pop", "Ants", "Rock", "Jazz"]
    assert names(shop, user, p_rank_by="newest", p_limit=2) == ["Pop", "Ants"]


def test_games_reviewed_after_the_publication_are_left_out(shop: Connection, player: int) -> None:
    for row in call(shop, player, p_limit=1) + call(shop, UNKNOWN_USER, p_limit=2):
        add_review(shop, player, row[1])
    assert names(shop, player) == ["Bees", "Cats", "Dogs", "Rock", "Jazz"]


def test_a_user_who_reviewed_all_personal_games_gets_popular_games(shop: Connection, player: int) -> None:
    for row in call(shop, player, p_limit=4):
        add_review(shop, player, row[1])
    assert names(shop, player, p_limit=2) == ["Pop", "Rock"]


def test_hostile_names_are_returned_unchanged(shop: Connection, database: str, tmp_path: Path) -> None:
    hostile = [
        'it\'s "quoted"', "back\\slash\\.", "new\nline\r\n\\.\n", "<script>alert(1)</script>", "{1,NULL}\t%s",
        "%(x)s $1 :x", "\u202eright to left\u200f", "'; DROP TABLE steam.users; --", "long " * 2000, RANDOM, " ", "",
    ]  # fmt: skip
    games = [add_game(shop, name, genres=[name] if name else []) for name in hostile]
    user = add_user(shop, hostile[0])
    popular = [(name, 1, game, 1.0) for name, game in zip(hostile, games, strict=True)]
    rows = [(user, games[::2], [1.0] * len(games[::2]), games[1::2])]
    publish_version(database, write_predictions(tmp_path / "p", [rows], popular))
    assert [(row[2], row[4]) for row in call(shop, user, p_limit=len(rows[0][1]))] == [
        (name, f"because you liked {because}") for name, because in zip(hostile[::2], hostile[1::2], strict=True)
    ]
    for name in hostile[:-1]:
        assert [(row[2], row[4]) for row in call(shop, UNKNOWN_USER, p_genre=name)] == [(name, f"popular in {name}")]


@pytest.fixture
def collector(shop: Connection, database: str, tmp_path: Path) -> int:
    """A user who liked Halo and has all four lists. The shop has all three fallback lists."""
    games = {
        name: add_game(shop, name, genres=genres, released_on=released_on)
        for name, genres, released_on in [
            ("Halo", ["Action", "Indie", "Space"], None),
            ("Ants", ["Action", "Space"], date(2019, 1, 1)),
            ("Bees", ["Indie", "Action", "Space"], date(2021, 1, 1)),
            ("Cats", ["Casual"], None),
            ("Dogs", ["Action"], date(2020, 1, 1)),
            ("Eels", ["Action"], date(2018, 1, 1)),
            ("Gem", ["Indie"], date(2011, 1, 1)),
            ("Jewel", [], date(2012, 1, 1)),
            ("Fresh", ["Action"], date(2024, 1, 1)),
            ("Novel", ["Casual"], date(2024, 2, 1)),
            ("Pop", ["Action"], date(2023, 1, 1)),
            ("Rock", ["Indie"], date(2010, 1, 1)),
        ]
    }
    for rank, name in enumerate(("Pop", "Eels", "Dogs", "Ants"), start=1):
        add_ranking(shop, games[name], "Action", "Sales", rank)
    user = add_user(shop, "collector")
    add_review(shop, user, games["Halo"])
    halo, ids = games["Halo"], lambda *names: [games[name] for name in names]
    rows: list[ListRow] = [
        (user, "relevance", ids("Ants", "Bees", "Cats"), [0.5, 0.4, 0.3], [0.4, 0.2, 0.1], [halo, halo, None]),
        (user, "interests", ids("Dogs", "Ants", "Eels"), [0.9, 0.8, 0.7], [0.0, 0.0, 0.0], [None, halo, None]),
        (user, "discovery", ids("Gem", "Bees"), [0.9, 0.8], [0.0, 0.0], [None, halo]),
        (user, "new_releases", ids("Fresh"), [0.1], [0.1], [None]),
    ]
    popular: list[Popular | Fallback] = [
        *overall(ids("Halo", "Pop", "Cats", "Rock")),
        ("Action", 1, games["Fresh"], 5.0),
        ("new_releases", "", 1, games["Novel"], 2.0),
        ("new_releases", "", 2, games["Fresh"], 1.0),
        ("discovery", "", 1, games["Jewel"], 3.0),
    ]
    publish_version(database, write_predictions(tmp_path / "predictions", [rows], popular))
    return user


def test_discovery_and_new_releases_are_lists_of_their_own_and_filled_up_from_their_fallback_lists(
    shop: Connection, collector: int
) -> None:
    assert [row[2:] for row in call(shop, collector, p_rank_by="discovery")] == [
        ("Gem", pytest.approx(0.9), "hidden gem"),
        ("Bees", pytest.approx(0.8), "because you liked Halo (Space, Indie)"),  # the rarest first: not Action
        ("Jewel", 3.0, "hidden gem"),
    ]
    assert [row[2:] for row in call(shop, collector, p_rank_by="new_releases")] == [
        ("Fresh", pytest.approx(0.2), "new and popular in Action"),
        ("Novel", 2.0, "new"),
    ]
    assert names(shop, collector, p_rank_by="new_releases", p_genre="casual") == ["Novel"]
    assert names(shop, collector, p_rank_by="discovery", p_released_to=2011) == ["Gem"]


@pytest.mark.parametrize("user", [UNKNOWN_USER, None])
def test_visitors_get_the_fallback_list_of_the_order(shop: Connection, collector: int, user: int | None) -> None:
    assert names(shop, user, p_rank_by="discovery") == ["Jewel"]
    assert names(shop, user, p_rank_by="new_releases") == ["Novel", "Fresh"]
    assert names(shop, user) == ["Halo", "Pop", "Cats", "Rock"]
    assert names(shop, user, p_rank_by="sales") == ["Pop", "Halo", "Cats", "Rock"]


def test_relevance_continues_with_the_games_of_the_users_taste_and_then_with_popular_ones(
    shop: Connection, collector: int
) -> None:
    rows = call(shop, collector)
    assert [row[2] for row in rows] == ["Ants", "Bees", "Cats", "Dogs", "Eels", "Pop", "Rock"]
    assert [row[3] for row in rows[:3]] == pytest.approx([0.9, 0.6, 0.4])
    assert [row[4] for row in rows[2:]] == ["popular now", "fits your taste", "fits your taste", *["popular now"] * 2]
    assert names(shop, collector, p_limit=2) == ["Ants", "Bees"]
    assert names(shop, collector, p_released_to=2020, p_limit=4) == ["Ants", "Cats", "Dogs", "Eels"]


def test_other_orders_choose_from_the_games_of_the_users_taste(shop: Connection, collector: int) -> None:
    assert names(shop, collector, p_rank_by="sales", p_limit=3) == ["Eels", "Dogs", "Ants"]
    assert names(shop, collector, p_rank_by="sales", p_limit=1) == ["Eels"]
    assert names(shop, collector, p_rank_by="newest", p_limit=2) == ["Dogs", "Ants"]
    assert names(shop, collector, p_rank_by="newest", p_limit=4) == ["Bees", "Dogs", "Ants", "Eels"]


def test_a_game_that_the_user_has_come_to_dislike_is_no_reason(shop: Connection, collector: int) -> None:
    with shop.cursor() as cursor:
        cursor.execute("UPDATE steam.reviews SET recommended = false")
    assert [row[4] for row in call(shop, collector, p_limit=2)] == ["fits your taste"] * 2


@pytest.mark.parametrize("rank_by", ["price", "Sales", "", None, "'; DROP TABLE steam.users --"])
def test_an_invalid_order_is_rejected(shop: Connection, player: int, rank_by: str | None) -> None:
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="newest, discovery or new_releases"):
        call(shop, player, p_rank_by=rank_by)


@pytest.mark.parametrize("os", ["dos", "windows ", "%", "'; DROP TABLE steam.users --"])
def test_an_invalid_system_is_rejected(shop: Connection, player: int, os: str) -> None:
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match=r"p_os is .*: it must be windows, mac or linux"):
        call(shop, player, p_os=os)


@pytest.mark.parametrize("limit", [0, -1, None])
def test_a_limit_below_one_is_rejected(shop: Connection, player: int, limit: int | None) -> None:
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match=r"p_limit is .*: it must be 1 or more"):
        call(shop, player, p_limit=limit)


def test_no_rows_are_returned_before_the_first_publication(shop: Connection) -> None:
    create_schema(shop, "recsys")
    assert call(shop, 1) == []
    assert call(shop, 1, p_genre="Action", p_rank_by="sales", p_max_ram_gb=4) == []


def test_every_public_relation_and_function_has_a_comment(shop: Connection) -> None:
    create_schema(shop, "recsys")
    with shop.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'recsys'::regnamespace AND relkind IN ('r', 'v') "
            "AND relname <> 'schema_version' AND obj_description(oid, 'pg_class') IS NULL UNION ALL "
            "SELECT proname FROM pg_proc WHERE pronamespace = 'recsys'::regnamespace "
            "AND obj_description(oid, 'pg_proc') IS NULL"
        )
        assert cursor.fetchall() == []
