"""`recsys.shelves`, called on a published version."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.data.schemas import LISTS
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

GENRES = ["Action", "Indie", "Strategy"]


def call(connection: Connection, user: int | None, **options: Any) -> list[tuple[Any, ...]]:
    arguments = "".join(f", {name} => %({name})s" for name in options)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT shelf, title, rank, game_id, name, reason FROM recsys.shelves(%(user)s{arguments})",
            {"user": user, **options},
        )
        return cursor.fetchall()


def page(connection: Connection, user: int | None, **options: Any) -> dict[str, list[str]]:
    """The names of the games on each shelf, by its title."""
    rows = call(connection, user, **options)
    return {title: [row[4] for row in shelf] for title, shelf in groupby(rows, key=lambda row: row[1])}


@pytest.fixture
def games(shop: Connection) -> list[int]:
    """Sixty games of three genres; number n is called Game n."""
    return [add_game(shop, f"Game {n}", genres=[GENRES[n % 3]] if n % 10 else GENRES) for n in range(60)]


def row(user: int, name: str, games: Sequence[int], because: Sequence[int | None]) -> ListRow:
    scores = [1.0 - n / 100 for n in range(len(games))]
    return user, name, games, scores, [0.0] * len(games), because


@pytest.fixture
def player(shop: Connection, database: str, games: list[int], tmp_path: Path) -> int:
    """A user who liked the games 0 and 10 to 13 and dislikes 14. The games from 50 on are popular."""
    user = add_user(shop, "player")
    for day, n in enumerate([0, 10, 11, 12, 13]):
        add_review(shop, user, games[n], reviewed_on=date(2024, 1, 1) + timedelta(days=day))
    add_review(shop, user, games[14], recommended=False, reviewed_on=date(2024, 2, 1))
    for rank, n in enumerate((40, 39, 38, 50), start=1):
        add_ranking(shop, games[n], "Action", "Sales", rank)
    rows = [
        row(user, "relevance", games[20:25], [games[10]] * 2 + [None] * 3),
        row(
            user, "interests", [*games[20:22], *games[25:41]],
            [games[10]] * 6 + [games[11]] * 5 + [games[12]] * 3 + [games[14]] * 4,
        ),
        row(user, "discovery", games[41:44], [None, games[13], None]),
        row(user, "new_releases", games[44:46], [None, None]),
    ]  # fmt: skip
    popular: list[Popular | Fallback] = [
        *overall([*games[50:60], games[20], games[0]]),
        *(("Action", rank, game, 1.0) for rank, game in enumerate(games[51:60:3], start=1)),
        ("Strategy", 1, games[47], 1.0),
        *(("new_releases", "", rank, game, 1.0) for rank, game in enumerate(games[45:47], start=1)),
        *(("discovery", "", rank, game, 1.0) for rank, game in enumerate(games[47:50], start=1)),
    ]
    publish_version(database, write_predictions(tmp_path / "predictions", [rows], popular))
    return user


def called(*numbers: int) -> list[str]:
    return [f"Game {n}" for n in numbers]


def test_a_users_page_has_the_shelves_in_order(shop: Connection, player: int) -> None:
    assert page(shop, player) == {
        "For you": called(20, 21, 22, 23, 24),
        "Because you liked Game 11": called(29, 30, 31, 32, 33),  # liked more recently
        "Because you liked Game 10": called(25, 26, 27, 28),
        "New for you": called(44, 45, 46),
        "Hidden gems": called(41, 42, 43, 47, 48, 49),
        "Top sellers in the genres you play": called(40, 39, 38),
        "Popular now": called(50, 51, 52, 53, 54, 55, 56, 57, 58, 59),
    }
    assert [(shelf, rank) for shelf, _, rank, *_ in call(shop, player)][:7] == [
        (1, 1), (1, 2), (1, 3), (1, 4), (1, 5), (2, 1), (2, 2),
    ]  # fmt: skip


def test_reasons_say_what_is_true(shop: Connection, player: int) -> None:
    reasons = {name: reason for *_, name, reason in call(shop, player)}
    assert [reasons[name] for name in called(20, 22, 25, 29, 42, 40, 50)] == [
        "because you liked Game 10 (Action, Indie)",
        "fits your taste",
        "because you liked Game 10 (Indie)",
        "because you liked Game 11 (Strategy)",
        "because you liked Game 13",
        "number 1 in Action sales",
        "popular now",
    ]
    assert (reasons["Game 44"], reasons["Game 41"], reasons["Game 47"]) == ("new", "hidden gem", "hidden gem")


def test_a_disliked_game_has_no_shelf_and_few_games_make_none(shop: Connection, player: int) -> None:
    titles = page(shop, player).keys()
    assert not titles & {"Because you liked Game 14", "Because you liked Game 12"}
    assert "Because you liked Game 12" in page(shop, player, p_games=3)


def test_the_number_of_shelves_is_limited_and_popular_games_are_last(shop: Connection, player: int) -> None:
    assert list(page(shop, player, p_shelves=3)) == ["For you", "Because you liked Game 11", "Popular now"]
    assert list(page(shop, player, p_shelves=1)) == ["For you"]
    assert list(page(shop, None, p_shelves=1)) == ["Popular now"]
    assert list(page(shop, None, p_shelves=3)) == ["New releases", "Hidden gems", "Popular now"]


@pytest.mark.parametrize("user", [None, 10**15])
def test_visitors_get_new_releases_hidden_gems_popular_genres_and_popular_games(
    shop: Connection, player: int, user: int | None
) -> None:
    assert page(shop, user, p_games=5) == {
        "New releases": called(45, 46),
        "Hidden gems": called(47, 48, 49),
        "Popular in Action": called(57),
        "Popular now": called(50, 51, 52, 53, 54),
    }
    reasons = {name: reason for *_, name, reason in call(shop, user, p_games=5)}
    assert (reasons["Game 57"], reasons["Game 50"]) == ("popular in Action", "popular now")


def test_games_reviewed_or_delisted_after_the_publication_are_left_out(
    shop: Connection, player: int, games: list[int]
) -> None:
    add_review(shop, player, games[20])
    with shop.cursor() as cursor:
        cursor.execute("UPDATE steam.games SET delisted_on = current_date WHERE name IN ('Game 21', 'Game 50')")
    shown = page(shop, player)
    assert shown["For you"] == called(22, 23, 24)
    assert shown["Popular now"][0] == "Game 51"
    assert page(shop, None)["Popular now"][0] == "Game 51"


def test_a_user_who_reviewed_all_personal_games_gets_a_visitors_page(
    shop: Connection, player: int, games: list[int]
) -> None:
    for game in games[15:46]:
        add_review(shop, player, game)
    assert list(page(shop, player)) == ["New releases", "Hidden gems", "Popular now"]


@pytest.mark.parametrize("option", ["p_shelves", "p_games"])
@pytest.mark.parametrize("number", [0, -1, None])
def test_a_number_below_one_is_rejected(shop: Connection, option: str, number: int | None) -> None:
    create_schema(shop, "recsys")
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match=f"{option} is .*: it must be 1 or more"):
        call(shop, 1, **{option: number})


def test_no_rows_are_returned_before_the_first_publication(shop: Connection) -> None:
    create_schema(shop, "recsys")
    assert call(shop, 1) == call(shop, None) == []


@pytest.mark.parametrize("seed", range(5))
def test_no_page_shows_a_game_twice_or_one_that_must_not_be_shown(
    shop: Connection, database: str, games: list[int], tmp_path: Path, seed: int
) -> None:
    draw = random.Random(seed)
    for game in draw.sample(games, 30):
        for genre in draw.sample(GENRES, 2):
            add_ranking(shop, game, genre, "Sales", draw.randint(1, 50))
    users = [add_user(shop, f"user {n}") for n in range(10)]
    rows, reviewed = [], {}
    for user in users:
        reviewed[user] = set(draw.sample(games, draw.randint(0, 20)))
        for game in reviewed[user]:
            add_review(shop, user, game, recommended=draw.random() < 0.8)
        for name in (LISTS[0], *(name for name in LISTS[1:] if draw.random() < 0.8)):
            chosen = draw.sample(games, draw.randint(1, 40))
            rows.append(row(user, name, chosen, [draw.choice([None, *reviewed[user]]) for _ in chosen]))
    popular: list[Popular | Fallback] = [*overall(draw.sample(games, 30))]
    for name, genre in [("new_releases", ""), ("discovery", ""), ("popular", "Indie"), ("popular", "Action")]:
        popular += [(name, genre, rank, game, 1.0) for rank, game in enumerate(draw.sample(games, 15), start=1)]
    publish_version(database, write_predictions(tmp_path / "p", [rows], popular))
    with shop.cursor() as cursor:
        cursor.execute("UPDATE steam.games SET delisted_on = current_date WHERE game_id % 7 = 0")
    for user in [*users, 10**15, None]:
        n_shelves, n_games = draw.randint(1, 9), draw.randint(1, 12)
        shown = call(shop, user, p_shelves=n_shelves, p_games=n_games)
        ids = [game for _, _, _, game, _, _ in shown]
        assert len(set(ids)) == len(ids)
        assert not set(ids) & reviewed.get(user, set())
        assert not [game for game in ids if game % 7 == 0]
        by_shelf = [list(shelf) for _, shelf in groupby(shown, key=lambda each: each[0])]
        assert len(by_shelf) <= n_shelves
        assert [shelf[0][0] for shelf in by_shelf] == list(range(1, len(by_shelf) + 1))
        assert all([each[2] for each in shelf] == list(range(1, len(shelf) + 1)) for shelf in by_shelf)
        assert max(map(len, by_shelf)) <= n_games
        titles = [shelf[0][1] for shelf in by_shelf]
        assert titles[-1] == "Popular now" or n_shelves == 1 or "Popular now" not in titles
        likes = [shelf for shelf in by_shelf if shelf[0][1].startswith("Because you liked ")]
        assert len(likes) <= 3
        assert all(len(shelf) >= min(4, n_games) for shelf in likes)
        assert all(each[5].startswith("because you liked ") for shelf in likes for each in shelf)
        others = [each[5].partition(" (")[0] for shelf in by_shelf if shelf not in likes for each in shelf]
        named = [reason for reason in others if reason.startswith("because")]
        assert all(named.count(reason) <= 2 for reason in named)
