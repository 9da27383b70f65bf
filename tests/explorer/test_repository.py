"""Queries on the shop's tables."""

import asyncio
import math
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import date
from typing import TypeVar

import psycopg2
import pytest
from fastapi import HTTPException
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from demo.explore import reader_url
from demo.postgres import EmbeddedPostgres
from explorer.errors import ProblemError, describe_database_error
from explorer.filters import Filters
from explorer.reader import GRANTS
from explorer.repository import QUERIES, Repository
from explorer.schemas import GameCard, Genre, MinimumRequirements, Reach, Requirement
from explorer.settings import Settings
from explorer.tastes import PERSONA_GAMES
from steam_recsys.database.connection import create_schema
from tests.explorer.conftest import PASSWORD, PublishedShop
from tests.explorer.publishing_runs import GAMES, USERS
from tests.shop import add_game, add_ranking, add_review, add_user

LINK = "https://shop.example/2"

Read = TypeVar("Read")


def read(settings: Settings, reading: Callable[[Repository], Awaitable[Read]]) -> Read:
    """Open a repository and read from it."""

    async def run() -> Read:
        repository = Repository(settings)
        await repository.open()
        try:
            return await reading(repository)
        finally:
            await repository.close()

    return asyncio.run(run())


@pytest.fixture
def small(shop: Connection, database: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Connection, Settings]:
    """A shop without users, games and publications, and the settings to read it."""
    create_schema(shop, "recsys")
    url = shop.info.dsn_parameters
    own = f"postgresql://{url['user']}:{shop.info.password}@{url['host']}:{url['port']}/{url['dbname']}"
    return shop, Settings(database_url=reader_url(own, PASSWORD))


def test_every_query_can_be_prepared(small: tuple[Connection, Settings]) -> None:
    _, settings = small

    async def prepared(repository: Repository) -> list[str]:
        async with repository.connection() as connection:
            return [(await connection.prepare(query)).get_query() for query in QUERIES.values()]

    assert read(settings, prepared) == list(QUERIES.values())
    assert {"recommendations", "shelves", "cards"} <= set(QUERIES)


def test_recommendations_equal_the_rows_of_recommended_games(published_shop: PublishedShop) -> None:
    wanted = [
        Filters(),
        Filters(limit=3, rank_by="sales", genre="action"),
        Filters(limit=40, rank_by="discovery"),
        Filters(rank_by="new_releases"),
        Filters(rank_by="newest", released_from=2018, released_to=2023, max_ram_gb=4, max_storage_gb=10.5, os="linux"),
    ]
    with published_shop.connection() as connection, connection.cursor() as cursor:
        for user_id in (1, 5, USERS, 10**15, -1):
            for filters in wanted:
                cursor.execute(
                    "SELECT rank, game_id, name, reason, because "
                    "FROM recsys.recommended_games(%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    [
                        user_id, filters.rank_by, filters.genre, filters.max_ram_gb, filters.limit,
                        filters.released_from, filters.released_to, filters.max_storage_gb, filters.os,
                    ],
                )  # fmt: skip
                answer = read(
                    published_shop.settings(), lambda repository, u=user_id, f=filters: repository.recommendations(u, f)
                )
                rows = [
                    (game.rank, game.game_id, game.name, game.reason,
                     game.because and game.because.game_id)
                    for game in answer.games
                ]  # fmt: skip
                assert rows == cursor.fetchall()
                assert answer.version == published_shop.plan.version
                assert (answer.user_id, answer.filters) == (user_id, filters)


def test_a_live_history_has_the_newest_reviews_last(
    small: tuple[Connection, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, settings = small
    user, games = add_user(shop, "player"), [add_game(shop, f"Game {number}") for number in range(4)]
    for game, day, hours in zip(games, (2, None, 3, 1), (0.5, 0, None, 1e7), strict=True):
        day = day and date(2020, 1, day)
        add_review(shop, user, game, reviewed_on=day, hours_played=hours, recommended=game != games[2])

    def history() -> list[tuple[int, bool, float | None]]:
        found = read(settings, lambda repository: repository.live_history(user))
        return [(game.game_id, game.recommended, game.hours) for game in found]

    expected = [(games[1], True, 0.0), (games[3], True, 1e7), (games[0], True, 0.5), (games[2], False, None)]
    assert history() == expected
    monkeypatch.setattr("explorer.repository.LONGEST_LIVE_HISTORY", 2)
    assert history() == expected[-2:]


def test_filters_that_exclude_every_game_return_a_version_and_no_games(published_shop: PublishedShop) -> None:
    answer = read(
        published_shop.settings(), lambda repository: repository.recommendations(1, Filters(genre="no such genre"))
    )
    assert (answer.version, answer.games) == (published_shop.plan.version, [])


def test_users_are_found_by_id_then_by_name_then_by_prefix(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    ids = {name: add_user(shop, name) for name in ("1", "10", "1000", "2", "Ann", "Anna", "ann", "%", "_x", "A%")}
    game = add_game(shop, "Halo")
    for _ in range(3):
        add_review(shop, ids["Anna"], game)

    def names(text: str, limit: int = 10) -> list[str]:
        return [user.username for user in read(settings, lambda repository: repository.find_users(text, limit)).users]

    assert names("1") == ["1", "10", "1000"]  # also the id of the first user
    assert names("2") == ["10", "2"]
    assert names("Ann") == ["Ann", "Anna"]
    assert names("Ann", limit=1) == ["Ann"]
    assert names("%") == ["%"]
    assert names("_") == ["_x"]
    assert names("unknown") == []
    assert names("9" * 30) == []
    assert names("٣") == []
    assert read(settings, lambda repository: repository.find_users("Anna", 1)).users[0].reviews == 3
    assert read(settings, lambda repository: repository.user(ids["Ann"])).reviews == 0
    assert read(settings, lambda repository: repository.user(10**15)) is None


def test_users_with_most_reviews_come_first_page_by_page(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    games = [add_game(shop, f"Game {number}") for number in range(4)]
    for reviews, name in enumerate(("ann", "anna", "annabel", "anne")):
        user = add_user(shop, name)
        for game in games[:reviews]:
            add_review(shop, user, game)
    first = read(settings, lambda repository: repository.find_users("ann", 2))
    second = read(settings, lambda repository: repository.find_users("ann", 2, first.next))
    assert [(user.username, user.reviews) for user in first.users + second.users] == [
        ("ann", 0),  # has the very name
        ("anne", 3),
        ("annabel", 2),
        ("anna", 1),
    ]
    assert second.next is None


@pytest.fixture
def collated(postgres: EmbeddedPostgres) -> Iterator[Connection]:
    """A database with the schema steam that does not compare texts by their bytes, like most shops'."""
    name = f"collated_{secrets.token_hex(6)}"
    connection = psycopg2.connect(postgres.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C.UTF-8'")
    connection.close()
    connection = psycopg2.connect(postgres.url(name))
    connection.autocommit = True
    create_schema(connection, "steam")
    yield connection
    connection.close()


def test_the_search_for_users_uses_an_index_in_any_collation(collated: Connection) -> None:
    with collated.cursor() as cursor:
        cursor.execute("INSERT INTO steam.users (username) SELECT 'user ' || n FROM generate_series(1, 20000) AS n")
        cursor.execute("ANALYZE steam.users")
        cursor.execute(f"PREPARE find (bigint, text, bigint, bigint) AS {QUERIES['find_users']}")
        cursor.execute("EXPLAIN EXECUTE find (5, 'user 77', 10, 0)")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan on users" not in plan
    assert "Index Cond: ((username >= 'user 77'::text) AND (username < 'user 78'::text))" in plan


def test_a_random_user_of_each_kind_is_found(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    for kind in ("many-reviews", "one-review", "new"):
        assert read(settings, lambda repository, kind=kind: repository.random_user(kind)) is None
    games = [add_game(shop, f"Game {number}") for number in range(30)]
    users = {name: add_user(shop, name) for name in ("many", "one", "none")}
    for game in games:
        add_review(shop, users["many"], game)
        add_review(shop, None, game)
    add_review(shop, users["one"], games[0])
    with shop.cursor() as cursor:
        cursor.execute("ANALYZE")
    found = {
        kind: read(settings, lambda repository, kind=kind: repository.random_user(kind))
        for kind in ("one-review", "new")
    }
    assert {kind: (user.username, user.reviews) for kind, user in found.items()} == {
        "one-review": ("one", 1),
        "new": ("none", 0),
    }
    assert read(settings, lambda repository: repository.random_user("many-reviews")).username in ("many", "one")
    for number in range(20):
        add_user(shop, f"new {number}")
    new = {read(settings, lambda repository: repository.random_user("new")).username for _ in range(20)}
    assert len(new) > 1


def test_a_history_has_the_newest_reviews_first_and_undated_ones_last(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    user = add_user(shop, "player")
    for name, day, hours in (("Old", date(2020, 1, 1), None), ("Undated", None, 1.5), ("New", date(2021, 1, 1), 2.0)):
        add_review(shop, user, add_game(shop, name), reviewed_on=day, hours_played=hours, recommended=name != "Old")
    history = read(settings, lambda repository: repository.history(user, 10)).history
    assert [(row.name, row.recommended, row.hours, row.reviewed_on) for row in history] == [
        ("New", True, 2.0, date(2021, 1, 1)),
        ("Old", False, None, date(2020, 1, 1)),
        ("Undated", True, 1.5, None),
    ]
    first = read(settings, lambda repository: repository.history(user, 2))
    rest = read(settings, lambda repository: repository.history(user, 2, first.next))
    assert (first.history + rest.history, rest.next) == (history, None)


def test_a_history_goes_on_after_reviews_of_days_that_python_cannot_hold(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    user = add_user(shop, "player")
    for name in ("Far", "Near", "Ancient"):
        add_review(shop, user, add_game(shop, name), reviewed_on=date(2021, 1, 1))
    with shop.cursor() as cursor:
        for name, day in (("Far", "infinity"), ("Ancient", "0044-03-15 BC")):
            cursor.execute(
                "UPDATE steam.reviews SET reviewed_on = %s FROM steam.games AS g WHERE g.game_id = reviews.game_id "
                "AND g.name = %s",
                [day, name],
            )
    shop.commit()
    names, cursor_of_page = [], ""
    while cursor_of_page is not None:
        page = read(settings, lambda repository, at=cursor_of_page: repository.history(user, 1, at))
        names += [review.name for review in page.history]
        cursor_of_page = page.next
    assert names == ["Near", "Ancient", "Far"]


def test_a_history_goes_on_after_reviews_that_were_deleted_or_have_negative_ids(
    small: tuple[Connection, Settings],
) -> None:
    shop, settings = small
    user = add_user(shop, "player")
    for number, day in enumerate((None, None, 1, 2, 3)):
        add_review(shop, user, add_game(shop, f"Game {number}"), reviewed_on=day and date(2021, 1, day))
    with shop.cursor() as cursor:
        cursor.execute("UPDATE steam.reviews SET review_id = -review_id")
        found, next_page = [], ""
        while next_page is not None:
            page = read(settings, lambda repository, after=next_page: repository.history(user, 1, after))
            found += [review.reviewed_on for review in page.history]
            next_page = page.next
            cursor.execute("DELETE FROM steam.reviews WHERE game_id = %s", [page.history[0].game_id])
    assert found == [date(2021, 1, 3), date(2021, 1, 2), date(2021, 1, 1), None, None]


def test_a_history_has_each_game_once_with_the_latest_review(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    user, games = add_user(shop, "player"), [add_game(shop, name) for name in ("First", "Second")]
    for number, (day, verdict) in enumerate([(3, True), (1, True), (2, False), (None, True)]):
        reviewed_on = day and date(2021, 1, day)
        add_review(shop, user, games[number % 2], reviewed_on=reviewed_on, recommended=verdict)
    history = read(settings, lambda repository: repository.history(user, 10)).history
    assert [(row.name, row.recommended, row.reviewed_on) for row in history] == [
        ("First", True, date(2021, 1, 3)),
        ("Second", True, date(2021, 1, 1)),
    ]


def test_games_are_returned_by_id_in_the_given_order(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    add_game(shop, "Bare")
    add_game(shop, "Portal", genres=["Puzzle", "Action"], released_on=date(2007, 10, 10))
    with shop.cursor() as cursor:
        changes = "positive_share = 0.5, reviews_total = 8, link = %s"
        cursor.execute(f"UPDATE steam.games SET {changes} WHERE game_id = 2", [LINK])
    cards = read(settings, lambda repository: repository.games([2, 10**9, 1]))
    assert cards == [
        GameCard(1, 2, "Portal", "catalogue", None, None, None, None, None, date(2007, 10, 10), ["Action", "Puzzle"],
                 0.5, 8, LINK),
        GameCard(2, 1, "Bare", "catalogue", None, None, None, None, None, None, [], None, None, None),
    ]  # fmt: skip


def test_a_link_that_leads_to_no_page_is_none(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    add_game(shop, "Portal")
    with shop.cursor() as cursor:
        cursor.execute("UPDATE steam.games SET link = 'javascript:alert(1)'")
    (card,) = read(settings, lambda repository: repository.games([1]))
    assert card.link is None
    assert read(settings, lambda repository: repository.game(1)).link is None


@pytest.mark.parametrize("day", ["20220-05-01", "0044-03-15 BC", "infinity", "-infinity"])
def test_a_day_that_python_cannot_hold_is_not_known(day: str, small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    user = add_user(shop, "player")
    add_review(shop, user, add_game(shop, "Portal", released_on=date(2007, 10, 10)), reviewed_on=date(2021, 1, 1))
    with shop.cursor() as cursor:
        cursor.execute("UPDATE steam.games SET released_on = %s, delisted_on = %s", [day, day])
        cursor.execute("UPDATE steam.reviews SET reviewed_on = %s", [day])
    assert read(settings, lambda repository: repository.game(1)).released_on is None
    (card,) = read(settings, lambda repository: repository.games([1]))
    assert card.released_on is None
    (review,) = read(settings, lambda repository: repository.history(user, 1)).history
    assert review.reviewed_on is None


def test_a_games_new_genres_are_shown_at_once_and_new_names_of_genres_soon(
    small: tuple[Connection, Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, settings = small
    game_id = add_game(shop, "Portal", genres=["Puzzle"])

    async def changing(repository: Repository) -> list[list[str]]:
        async def genres() -> list[str]:
            (card,) = await repository.games([game_id])
            return card.genres

        found = [await genres()]
        with shop.cursor() as cursor:
            cursor.execute("INSERT INTO steam.genres (name) VALUES ('Action')")
            cursor.execute(
                "INSERT INTO steam.game_genres SELECT %s, genre_id FROM steam.genres WHERE name = 'Action'", [game_id]
            )
            found.append(await genres())
            cursor.execute("UPDATE steam.genres SET name = 'Riddles' WHERE name = 'Puzzle'")
        found.append(await genres())
        monkeypatch.setattr("explorer.repository.GENRE_SECONDS", 0.0)
        return [*found, await genres()]

    assert read(settings, changing) == [
        ["Puzzle"], ["Action", "Puzzle"], ["Action", "Puzzle"], ["Action", "Riddles"],
    ]  # fmt: skip


def test_a_card_is_the_same_in_every_list(published_shop: PublishedShop) -> None:
    def facts(card: GameCard) -> tuple[object, ...]:
        return card.name, card.released_on, card.genres, card.positive_share, card.reviews, card.link

    async def cards(repository: Repository) -> list[GameCard]:
        listed = (await repository.recommendations(1, Filters(limit=20))).games
        shelves = (await repository.shelves(1, 8, 10)).shelves
        return [*listed, *(game for shelf in shelves for game in shelf.games)]

    listed = read(published_shop.settings(), cards)
    found = read(published_shop.settings(), lambda repository: repository.games([card.game_id for card in listed]))
    assert [facts(card) for card in listed] == [facts(card) for card in found]
    assert any(card.genres for card in listed)
    for card in listed:
        if card.because is not None and card.because.shared:
            assert card.reason == f"because you liked {card.because.name} ({', '.join(card.because.shared)})"
    assert any(card.because is not None and card.because.shared for card in listed)


def test_minimum_requirements_are_read_by_id(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    add_game(shop, "Known", ram_gb=4, storage_gb=None, os="Windows 7, Linux")
    add_game(shop, "Unknown")
    needs = read(settings, lambda repository: repository.minimum_requirements([1, 2, 3]))
    assert needs.pop(2, unknown := MinimumRequirements(None, None, [])) == unknown
    (known,) = needs.values()
    assert (known.ram_gb, known.storage_gb, sorted(known.systems)) == (4, None, ["linux", "windows"])


def test_personas_like_popular_games_of_their_genre(published_shop: PublishedShop) -> None:
    personas = read(published_shop.settings(), lambda repository: repository.personas())
    assert {"Strategy", "RPG"} <= {persona.genre for persona in personas}
    liked = [game_id for persona in personas for game_id in persona.game_ids]
    assert len(liked) == len(set(liked)) == PERSONA_GAMES * len(personas)
    assert all(persona.genre in game.genres for persona in personas for game in persona.games)


def test_a_game_has_all_known_facts(small: tuple[Connection, Settings]) -> None:
    shop, settings = small
    game_id = add_game(
        shop, "Halo", genres=["RPG", "Action"], released_on=date(2020, 2, 29), ram_gb=4, storage_gb=0.5, os="Windows 10"
    )
    for genre in ("Role-Playing", "Action", "Indie"):
        add_ranking(shop, game_id, genre, "Sales", 1)
    bare = add_game(shop, "Bare")
    game = read(settings, lambda repository: repository.game(game_id))
    assert (game.name, game.genres, game.released_on) == ("Halo", ["Action", "RPG"], date(2020, 2, 29))
    assert game.requirements == [Requirement("minimum", "Windows 10", None, None, None, 4.0, 0.5)]
    shown = read(settings, lambda repository: repository.game(bare))
    assert (shown.requirements, shown.reviews) == ([], None)
    assert read(settings, lambda repository: repository.game(10**9)) is None
    assert read(settings, lambda repository: repository.genres()) == [
        Genre(name, None) for name in ("Action", "Indie", "RPG", "Role-Playing")
    ]


def test_reviews_are_counted_where_the_catalogue_has_no_figures(published_shop: PublishedShop) -> None:
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT game_id, count(*), avg(recommended::integer)::float8 FROM steam.reviews GROUP BY game_id"
        )
        counted = {game: (reviews, pytest.approx(share)) for game, reviews, share in cursor.fetchall()}
        cursor.execute("SELECT count(*) FROM steam.games WHERE positive_share IS NULL AND reviews_total IS NULL")
        assert cursor.fetchone() == (GAMES,)
    for card in read(published_shop.settings(), lambda repository: repository.games([*range(1, GAMES + 1)])):
        assert (card.reviews, card.positive_share) == counted.get(card.game_id, (None, None))
    game = read(published_shop.settings(), lambda repository: repository.game(1))
    assert (game.reviews, game.positive_share) == counted[1]


def test_reach_counts_users_and_ranks(published_shop: PublishedShop) -> None:
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT game_id, count(*), avg(rank)::float8 FROM recsys.recommendations, "
            "unnest(game_ids) WITH ORDINALITY AS listed (game_id, rank) WHERE list = 'relevance' GROUP BY game_id"
        )
        counted = {game: (users, rank) for game, users, rank in cursor.fetchall()}

    async def reach_of_all(repository: Repository) -> list[Reach]:
        return [await repository.reach(game) for game in range(1, GAMES + 2)]

    for game_id, reach in enumerate(read(published_shop.settings(), reach_of_all), start=1):
        users, rank = counted.get(game_id, (0, None))
        assert reach == Reach(users, pytest.approx(users / USERS), rank and pytest.approx(rank), USERS)
    overview = read(published_shop.settings(), lambda repository: repository.overview())
    assert (overview.users, overview.games) == (USERS, GAMES)
    assert [publication.version for publication in overview.publications] == [published_shop.plan.version]


def test_concurrent_requests_count_rows_once(published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = []

    async def count(repository: Repository) -> set[int]:
        fetch = repository._fetch

        async def noted(query: str, *arguments: object) -> list[object]:
            queries.append(query)
            return await fetch(query, *arguments)

        # Of this repository alone: an explorer that another test has started looks for publications now and then.
        monkeypatch.setattr(repository, "_fetch", noted)
        return {counts.users for counts in await asyncio.gather(*(repository.counts() for _ in range(10)))}

    assert read(published_shop.settings(), count) == {USERS}
    assert queries == ["counts"]


def test_numbers_that_cannot_be_counted_again_are_the_last_ones(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count(repository: Repository) -> list[int]:
        async def fail(*_: object) -> list[object]:
            raise HTTPException(503, "The database is locked.")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(repository, "_fetch", fail)
            with pytest.raises(HTTPException):
                await repository.counts()
        counted = [(await repository.counts()).users]
        repository._counted_at = -math.inf
        monkeypatch.setattr(repository, "_fetch", fail)
        return [*counted, (await repository.counts()).users]

    assert read(published_shop.settings(), count) == [USERS, USERS]


def test_after_a_failed_count_of_a_games_users_nobody_waits_for_another(published_shop: PublishedShop) -> None:
    async def count(repository: Repository) -> list[object]:
        asked = []

        @asynccontextmanager
        async def fail() -> AsyncIterator[None]:
            asked.append(True)
            raise HTTPException(503, "The table is locked.")
            yield

        current = await repository.publication()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(repository, "connection", fail)
            patch.setattr(repository, "publication", lambda: asyncio.sleep(0, current))
            answers = await asyncio.gather(*(repository.reach(1) for _ in range(5)))
        return [len(asked), *set(answers)]

    assert read(published_shop.settings(), count) == [1, None]


def test_before_the_first_publication_nothing_is_returned(small: tuple[Connection, Settings]) -> None:
    _, settings = small
    assert read(settings, lambda repository: repository.publication()) is None
    assert read(settings, lambda repository: repository.recommendations(1, Filters())).version is None
    assert read(settings, lambda repository: repository.reach(1)) == Reach(0, 0.0, None, 0)
    overview = read(settings, lambda repository: repository.overview())
    assert (overview.publications, overview.runs, overview.published) == ([], [], [])


def test_without_the_schema_or_the_database_the_error_says_so(postgres: EmbeddedPostgres) -> None:
    for url, sentence in (
        (postgres.url(), "Nothing has been published yet"),
        ("postgresql://unknown@127.0.0.1:1/nothing", "The database cannot be reached"),
        (re.sub(":[^:]*@", ":wrong@", postgres.url()), "The database cannot be reached"),
        (f"{postgres.url()}_missing", "The database cannot be reached"),
        (f"{postgres.url()}?options=-cnothing%3D1", "The database cannot be reached"),
    ):
        with pytest.raises(HTTPException, match=sentence) as caught:
            read(Settings(database_url=url), lambda repository: repository.publication())
        assert caught.value.status_code == 503


def test_loss_and_return_of_the_database_are_logged_once(
    postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("explorer.repository.RECOVERY_SECONDS", 0.0)
    name = f"away_{secrets.token_hex(6)}"
    server = psycopg2.connect(postgres.url())
    server.autocommit = True

    async def come_and_go(repository: Repository) -> list[bool]:
        reached = []
        with server.cursor() as cursor:
            for change in (f"CREATE DATABASE {name}", f"DROP DATABASE {name} WITH (FORCE)"):
                reached += [await repository.reachable() for _ in range(3)]
                cursor.execute(change)
            return [*reached, *[await repository.reachable() for _ in range(3)]]

    with caplog.at_level("INFO", "explorer"):
        reached = read(Settings(database_url=postgres.url(name)), come_and_go)
    server.close()
    assert reached == [False] * 3 + [True] * 3 + [False] * 3
    events = [record.getMessage().partition(":")[0] for record in caplog.records]
    assert events == ["The database cannot be reached", "The database answers again.", "The database cannot be reached"]


def test_a_pool_whose_connections_are_all_in_use_is_overloaded_but_the_database_is_up(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def wait(repository: Repository) -> tuple[ProblemError, bool]:
        async with repository.connection() as connection:
            await connection.fetchval("SELECT 1")
            monkeypatch.setattr("explorer.repository.CONNECT_SECONDS", 0.1)
            with pytest.raises(ProblemError) as caught:
                await repository.publication()
            return caught.value, await repository.reachable()

    error, reachable = read(published_shop.settings(pool_size=1), wait)
    assert (error.status_code, error.code) == (503, "overloaded")
    assert reachable
    assert "cannot be reached" not in caplog.text


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        ("deadlock_detected", "The database cancelled the query"),
        ("serialization_failure", "The database cancelled the query"),
        ("undefined_column", "The published tables are of another version"),
    ],
)
def test_errors_of_the_database_become_503(published_shop: PublishedShop, raised: str, sentence: str) -> None:
    async def fail(repository: Repository) -> None:
        async with repository.connection() as connection:
            await connection.execute(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{raised}'; END $$")

    with pytest.raises(HTTPException, match=sentence) as caught:
        read(published_shop.settings(), fail)
    assert caught.value.status_code == 503


def test_a_slow_query_is_cancelled(published_shop: PublishedShop) -> None:
    async def wait(repository: Repository) -> None:
        async with repository.connection() as connection:
            await connection.fetch("SELECT pg_sleep(60)")

    with pytest.raises(HTTPException, match="took too long") as caught:
        read(published_shop.settings(query_seconds=0.2), wait)
    assert caught.value.status_code == 503


def test_a_locked_table_is_named_as_the_cause(changing: PublishedShop) -> None:
    with changing.connection() as connection:
        connection.autocommit = False
        connection.cursor().execute("LOCK TABLE recsys.publications")
        with pytest.raises(HTTPException, match="tables are locked: try again") as caught:
            read(changing.settings(query_seconds=1.0), lambda repository: repository.publication())
        connection.rollback()
    assert caught.value.status_code == 503


def test_the_limits_are_the_explorers_own_whatever_the_role_has(changing: PublishedShop) -> None:
    settings = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
                "transaction_timeout")  # fmt: skip

    async def limits(repository: Repository) -> list[str]:
        async with repository.connection() as connection:
            return [await connection.fetchval("SELECT current_setting($1)", name) for name in settings]

    role = parse_dsn(changing.reader_url)["user"]
    with changing.connection() as connection, connection.cursor() as cursor:
        for name in settings:
            cursor.execute(f"ALTER ROLE {role} SET {name} = '77ms'")
        try:
            assert read(changing.settings(query_seconds=2.0), limits) == ["2s", "1s", "32s", "0", "0"]
        finally:
            for name in settings:
                cursor.execute(f"ALTER ROLE {role} RESET {name}")


@pytest.mark.parametrize(
    ("sqlstate", "message", "expected"),
    [
        ("42501", "permission denied for table reviews", "(permission denied for table reviews): run explorer/reader"),
        ("42501", "etwas S3cr3tPw", "The role may not read this: run explorer/reader.sql."),
        ("53300", "sorry, too many clients already", "The database cannot be reached"),
        ("53200", "out of memory", "out of room, memory or connections"),
        ("08P01", "unsupported startup parameter: jit", "The database cannot be reached"),
        ("XX001", "invalid page", "The database cannot be reached"),
        ("42601", "syntax error", None),
    ],
)
def test_errors_are_described_by_their_class(sqlstate: str, message: str, expected: str | None) -> None:
    detail = describe_database_error(sqlstate, message)
    assert (detail is None) == (expected is None)
    assert expected is None or expected in detail


def test_the_reader_role_has_no_other_rights(published_shop: PublishedShop) -> None:
    connection = psycopg2.connect(published_shop.reader_url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recsys.recommendations")
        for statement in (
            "INSERT INTO steam.users (username) VALUES ('x')",
            "UPDATE recsys.publications SET current = false",
            "DELETE FROM steam.reviews",
            "CREATE TABLE recsys.mine (n int)",
            "SELECT * FROM steam.rejected_rows",
            "SELECT review FROM steam.reviews",
            "DROP VIEW recsys.recommendations",
        ):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cursor.execute(statement)
    connection.close()


def test_earlier_rights_on_review_texts_are_revoked(small: tuple[Connection, Settings]) -> None:
    shop, _ = small
    allowed = "SELECT has_column_privilege('recsys_reader', 'steam.reviews', 'review', 'SELECT')"
    with shop.cursor() as cursor:
        cursor.execute(f"GRANT SELECT ON steam.reviews TO recsys_reader; {allowed}")
        assert cursor.fetchone() == (True,)
        cursor.execute(GRANTS.read_text())
        cursor.execute(allowed)
        assert cursor.fetchone() == (False,)


def test_sessions_are_read_only_for_any_role(published_shop: PublishedShop) -> None:
    async def write(repository: Repository) -> None:
        async with repository.connection() as connection:
            await connection.execute("DELETE FROM steam.reviews")

    with pytest.raises(Exception, match="read-only transaction"):
        read(published_shop.settings(database_url=published_shop.url), write)
