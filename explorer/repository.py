"""The shop's database, read only: users, games, publications and runs.

Every value of a request is a parameter of a prepared statement. The database cancels slow queries. How many users have
a game among their recommendations, its reach, is estimated from a sample of the users.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
from fastapi import HTTPException

from explorer.cursors import HISTORY, RECOMMENDATIONS, SEARCH, decode_cursor, encode_cursor
from explorer.errors import NOTHING_PUBLISHED, OTHER_VERSION, UNREACHABLE, ProblemError, describe_database_error
from explorer.filters import Filters, HistoryGame
from explorer.schemas import (
    Because,
    Game,
    GameCard,
    GameList,
    Genre,
    Measurement,
    MinimumRequirements,
    Overview,
    Persona,
    PipelineRun,
    Publication,
    PublishingRun,
    RankedGame,
    Reach,
    Recommendations,
    Requirement,
    Review,
    Shelf,
    Shelves,
    TableCounts,
    User,
    UserHistory,
    UserList,
)
from explorer.settings import Settings
from explorer.tastes import PERSONA_GENRES, GenreTags, choose_personas, telling
from steam_recsys.database.connection import read_queries
from steam_recsys.database.failures import database_error
from steam_recsys.database.urls import asyncpg_arguments
from steam_recsys.model.online import match_percent

LOG = logging.getLogger("explorer")

_SECTIONS = read_queries(Path(__file__).parent / "queries.sql")
_CARD = _SECTIONS.pop("card")
QUERIES: Final = {name: section.replace("{card}", _CARD) for name, section in _SECTIONS.items()}
"""The queries by name, with the facts of a game in place of `{card}`."""

APPLICATION = "steam-recsys explorer"

CONNECT_SECONDS = 5.0
RECOVERY_SECONDS = 5.0
"""Time without failures after which the database counts as back: an overloaded one fails now and then."""

REACH_SECONDS = 30.0
"""Time limit for counting the reach, and the pause after a count that failed."""

COUNT_SECONDS = 60.0

REACH_SAMPLE_USERS = 20_000
"""Approximate size of the sample for the reach: the standard error of a share of 1 % is then 0.07 %."""

GENRE_SECONDS = 10.0
"""How long the names of genres and their numbers of games are kept."""

LONGEST_LIVE_HISTORY = 10_000
"""Most reviews, and most dismissed games, of a user that an answer at once takes into account."""

LARGEST_ID = 2**63 - 1

BUSY = "Too many requests are waiting for the database: try again in a moment."

POSTGRES_EPOCH = date(2000, 1, 1).toordinal()
"""The day from which PostgreSQL counts the days of a date."""

MOST_PAGED = 500
"""Most recommendations that cursors lead to: a cursor lists them all."""

UserKind = Literal["many-reviews", "one-review", "new"]


class Repository:
    """Reads the published tables through a pool of connections, which open when they are first needed.

    Every method raises `HTTPException` (503) if the database cannot be reached, is busy, or lacks the schemas that this
    code reads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: Any = None
        self._reach: PublicationReach | None = None
        self._counting_reach = asyncio.Lock()
        self._reach_failed_at = -math.inf
        self._counts: TableCounts | None = None
        self._counting = asyncio.Lock()
        self._counted_at = -math.inf
        self._failed_at: float | None = None
        self._tags = GenreTags({}, {}, {})
        self._tags_read_at = -math.inf
        self._personas: tuple[str, list[Persona]] = ("", [])

    async def open(self) -> None:
        """Create the pool, without a connection: the explorer starts even if the database is down."""
        milliseconds = round(1000 * self._settings.query_seconds)
        self._pool = await asyncpg.create_pool(
            **asyncpg_arguments(self._settings.database_url.get_secret_value()),
            min_size=0,
            max_size=self._settings.pool_size,
            timeout=CONNECT_SECONDS,
            command_timeout=self._settings.query_seconds + CONNECT_SECONDS,  # a server may die without a word
            server_settings={
                "application_name": APPLICATION,
                "default_transaction_read_only": "on",
                "statement_timeout": str(milliseconds),
                "lock_timeout": str(milliseconds // 2),  # before the other, so that a lock is named as the cause
                "idle_in_transaction_session_timeout": str(milliseconds + 1000 * round(REACH_SECONDS)),
                "idle_session_timeout": "0",  # the pool closes what it does not use
                "jit": "off",  # compiling would take longer than these queries
            },
            init=_prepare,
            reset=_keep_session,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def reachable(self) -> bool:
        """Whether the database answers at all; with all connections in use it counts as up."""
        try:
            async with self.connection() as connection:
                await connection.fetchval("SELECT 1")
        except HTTPException as error:
            return isinstance(error, ProblemError) and error.code == "overloaded"
        return True

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """Take a connection from the pool.

        Raises:
            HTTPException: No connection is available, or the database refuses a statement.
        """
        acquired = False
        try:
            async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
                acquired = True
                yield connection
            self._note_answer()
        except (asyncpg.DataError, UnicodeEncodeError):
            raise HTTPException(422, "The database does not accept a value of this request: correct it.") from None
        except asyncpg.PostgresError as error:
            detail = describe_database_error(error.sqlstate, error.args[0])
            if detail is None:
                raise
            reason = str(database_error("EXPLORER_DATABASE_URL", error.sqlstate, error.args[0]))
            if detail == UNREACHABLE:
                self._note_failure(reason)
            elif detail == OTHER_VERSION:
                LOG.warning("%s", reason)
            code = "nothing_published" if detail == NOTHING_PUBLISHED else "unavailable"
            raise ProblemError(503, code, detail) from None
        except (OSError, TimeoutError, asyncpg.InterfaceError,
                asyncpg.InternalClientError,  # a connection that closes while a query is sent
               ) as error:  # fmt: skip
            pool = self._pool
            is_full = pool.get_size() == pool.get_max_size() and not pool.get_idle_size()
            if isinstance(error, TimeoutError) and not acquired and is_full:
                raise ProblemError(503, "overloaded", BUSY) from None
            number = error.errno if isinstance(error, OSError) else None
            self._note_failure(f"{type(error).__name__}{f', {os.strerror(number)}' if number and number > 0 else ''}.")
            raise HTTPException(503, UNREACHABLE) from None

    async def recommendations(
        self, user_id: int, filters: Filters, exclude_ids: Sequence[int] = (), cursor: str = ""
    ) -> Recommendations:
        """Return what `recsys.recommended_games` returns, and its publication.

        Raises:
            ProblemError: The cursor is not one of recommendations (409).
        """
        shown = decode_cursor(RECOMMENDATIONS, cursor)
        rows = await self._fetch(
            "recommendations",
            user_id,
            filters.rank_by,
            filters.genre,
            filters.max_ram_gb,
            filters.limit,
            filters.released_from,
            filters.released_to,
            filters.max_storage_gb,
            filters.os,
            [*exclude_ids, *shown],
        )
        tags = await self._genre_tags(rows)
        found = enumerate((row for row in rows if row["game_id"] is not None), start=len(shown) + 1)
        games = [_card(rank, _ranked(row), row, tags) for rank, row in found]
        version = rows[0]["version"] if rows else None
        return Recommendations(user_id, filters, version, games, next_recommendations(shown, games, filters.limit))

    async def shelves(self, user_id: int, shelves: int, games: int) -> Shelves:
        """Return what `recsys.shelves` returns, and its publication."""
        rows = await self._fetch("shelves", user_id, shelves, games)
        tags = await self._genre_tags(rows)
        found = (row for row in rows if row["shelf"] is not None)
        by_shelf = groupby(found, key=lambda row: (row["shelf"], row["title"]))
        return Shelves(
            user_id,
            rows[0]["version"] if rows else None,
            [
                Shelf(title, [_card(rank, _ranked(row), row, tags) for rank, row in enumerate(of_shelf, start=1)])
                for (_, title), of_shelf in by_shelf
            ],
        )

    async def cards(self, games: Sequence[RankedGame], first_rank: int = 1) -> list[GameCard]:
        """Return games with their facts, ranked in the given order; games that do not exist are left out."""
        rows = await self._fetch("cards", [game.game_id for game in games], [game.because for game in games])
        tags = await self._genre_tags(rows)
        return [_card(rank, games[row["place"] - 1], row, tags) for rank, row in enumerate(rows, start=first_rank)]

    async def live_history(self, user_id: int) -> list[HistoryGame]:
        """Return a user's newest reviews as a history, the newest last."""
        rows = await self._fetch("live_history", user_id, LONGEST_LIVE_HISTORY)
        # As the database has them: the model treats impossible hours as unknown.
        return [HistoryGame.model_construct(game_id=row[0], recommended=row[1], hours=row[2]) for row in rows]

    async def dismissed_games(self, user_id: int) -> list[int]:
        """Return the games that a user does not want to see again, the last dismissed first."""
        return [row[0] for row in await self._fetch("dismissed_games", user_id, LONGEST_LIVE_HISTORY)]

    async def delisted_games(self, today: date) -> list[int]:
        """Return the games that the shop no longer sells on a day."""
        return [row[0] for row in await self._fetch("delisted_games", today)]

    async def find_users(self, text: str, limit: int, cursor: str = "") -> UserList:
        """Return users by id, by name, and by the beginning of the name, in this order; those of most reviews first.

        Raises:
            ProblemError: The cursor is not one of a search (409).
        """
        number = int(text) if text.isascii() and text.isdecimal() and int(text) <= LARGEST_ID else None
        shown = _shown(cursor)
        users = [User(*row) for row in await self._fetch("find_users", number, text, limit + 1, shown)]
        return UserList(users[:limit], _next_found(shown, users, limit))

    async def random_user(self, kind: UserKind) -> User | None:
        """Return a random user of a kind; None if none is found quickly."""
        row = await self._fetchrow(kind)
        return None if row is None else User(*row)

    async def user(self, user_id: int) -> User | None:
        """Return a user by id."""
        row = await self._fetchrow("user", user_id)
        return None if row is None else User(*row)

    async def history(self, user_id: int, limit: int, cursor: str = "") -> UserHistory:
        """Return the games that a user has reviewed, each with the latest review, the newest first.

        Raises:
            ProblemError: The cursor is not one of a history (409).
        """
        day, review_id = decode_cursor(HISTORY, cursor, length=2) or (0, None)
        rows = await self._fetch("history", user_id, limit + 1, date.fromordinal(day) if day else None, review_id)
        reviews = [Review(*row[:-1]) for row in rows[:limit]]
        following = None
        if len(rows) > limit:
            last = reviews[-1].reviewed_on
            following = encode_cursor(HISTORY, [last.toordinal() if last else 0, rows[limit - 1]["review_id"]])
        return UserHistory(user_id, reviews, following)

    async def find_games(self, text: str, limit: int, cursor: str = "") -> GameList:
        """Return the games of a search by name, the best matches first, and equal ones by their number of reviews.

        Raises:
            ProblemError: The cursor is not one of a search (409).
        """
        shown = _shown(cursor)
        rows = await self._fetch("find_games", text, limit + 1, shown)
        games = await self.cards([RankedGame(row[0]) for row in rows[:limit]], shown + 1)
        return GameList(games, _next_found(shown, rows, limit))

    async def games(self, game_ids: Sequence[int]) -> list[GameCard]:
        """Return those games that exist, in the given order."""
        return await self.cards([RankedGame(game_id) for game_id in game_ids])

    async def game(self, game_id: int) -> Game | None:
        """Return a game's facts."""
        row = await self._fetchrow("game", game_id)
        if row is None:
            return None
        requirements = [Requirement(*each) for each in await self._fetch("requirements", game_id)]
        return Game(**{**row, "link": _web_link(row["link"])}, requirements=requirements)

    async def genres(self) -> list[Genre]:
        """Return all genres, of games and of rankings, in alphabetical order."""
        return [Genre(*row) for row in await self._fetch("genres")]

    async def minimum_requirements(self, game_ids: Sequence[int]) -> dict[int, MinimumRequirements]:
        """Return what games need of a machine, by id; games of which nothing is known are missing."""
        rows = await self._fetch("minimum_requirements", game_ids)
        return {row["game_id"]: MinimumRequirements(row["ram_gb"], row["storage_gb"], row["systems"]) for row in rows}

    async def personas(self) -> list[Persona]:
        """Return fans of genres, made once per publication from its popular games; none before the first one."""
        publication = await self.publication()
        if publication is None:
            return []
        if self._personas[0] != publication.version:
            rows = await self._fetch("personas")
            popular = {row["genre"]: row["game_ids"] for row in rows}
            considered = {genre: popular[genre] for genre in telling(popular)[:PERSONA_GENRES]}
            ids = list(dict.fromkeys(game_id for games in considered.values() for game_id in games))
            cards = {card.game_id: card for card in await self.games(ids)}
            chosen = choose_personas(considered, {game_id: card.genres for game_id, card in cards.items()})
            personas = [Persona(genre, [cards[game_id] for game_id in liked]) for genre, liked in chosen]
            self._personas = (publication.version, personas)
        return self._personas[1]

    async def reach(self, game_id: int) -> Reach | None:
        """Return how many users have a game among their recommendations; None if they cannot be counted now."""
        try:
            reach = await self._current_reach()
        except HTTPException:
            return None
        return reach.game(game_id) if reach else Reach(0, 0.0, None, 0)

    async def publication(self) -> Publication | None:
        """Return the current publication; None before the first one."""
        row = await self._fetchrow("publication")
        return None if row is None else Publication(*row)

    async def overview(self) -> Overview:
        """Return the data of the overview."""
        current = await self.publication()
        training = await self._fetchrow("training", current.model_version) if current else None
        publications = await self._fetch("publications")
        previous = await self._fetchrow("previous_publication")
        runs = await self._fetch("runs")
        published = await self._fetch("publishing_runs")
        counts = await self.counts()
        return Overview(
            publications=[Publication(*row) for row in publications],
            current=current,
            previous=previous["version"] if previous else None,
            training=PipelineRun(*training) if training else None,
            runs=[PipelineRun(*row) for row in runs],
            users=counts.users,
            games=counts.games,
            reviews=counts.reviews,
            last_runs=await self.last_runs(),
            published=[PublishingRun.from_facts(*row) for row in published],
            monitoring=await self.monitoring(),
        )

    async def counts(self) -> TableCounts:
        """Return the rows of the shop's tables, counted at most once a minute; the last numbers if that fails."""
        async with self._counting:
            if time.monotonic() - self._counted_at > COUNT_SECONDS:
                try:
                    self._counts = TableCounts(*await self._fetchrow("counts"))
                except HTTPException:
                    if self._counts is None:
                        raise
                self._counted_at = time.monotonic()
            assert self._counts is not None
            return self._counts

    async def last_runs(self) -> list[PipelineRun]:
        """Return the last run of each pipeline and final state."""
        return [PipelineRun(*row) for row in await self._fetch("last_runs")]

    async def monitoring(self) -> list[Measurement]:
        """Return the last measurements, the newest first."""
        return [Measurement(*row) for row in await self._fetch("monitoring")]

    async def _genre_tags(self, rows: Sequence[Any]) -> GenreTags:
        """Return the genres, read again if they were read a while ago, or lack one of the rows of games."""
        is_old = time.monotonic() - self._tags_read_at > GENRE_SECONDS
        if is_old or not all(self._tags.names.keys() >= set(row["genre_ids"] or ()) for row in rows):
            self._tags = GenreTags.from_rows(await self._fetch("genre_tags"))
            self._tags_read_at = time.monotonic()
        return self._tags

    async def _current_reach(self) -> PublicationReach | None:
        """Return the reach of the current publication's games, counted once per publication."""
        publication = await self.publication()
        if publication is None:
            return None
        async with self._counting_reach:
            if self._reach is None or self._reach.version != publication.version:
                if time.monotonic() - self._reach_failed_at < REACH_SECONDS:
                    raise HTTPException(503, "The users of a game cannot be counted now: try again later.")
                try:
                    async with self.connection() as connection, connection.transaction(readonly=True):
                        await connection.execute(f"SET LOCAL statement_timeout = {round(1000 * REACH_SECONDS)}")
                        percent, seconds = sample_percent(publication), REACH_SECONDS + CONNECT_SECONDS
                        rows = await connection.fetch(QUERIES["reach"], percent, timeout=seconds)
                except HTTPException:
                    self._reach_failed_at = time.monotonic()
                    raise
                self._reach = PublicationReach.from_rows(publication, rows)
            return self._reach

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self.connection() as connection:
            rows: list[Any] = await connection.fetch(QUERIES[query], *arguments)
            return rows

    async def _fetchrow(self, query: str, *arguments: Any) -> Any:
        rows = await self._fetch(query, *arguments)
        return rows[0] if rows else None

    def _note_failure(self, reason: str) -> None:
        """Log that the database cannot be reached, once until it is back."""
        if self._failed_at is None:
            LOG.warning("The database cannot be reached: %s", reason)
        self._failed_at = time.monotonic()

    def _note_answer(self) -> None:
        if self._failed_at is not None and time.monotonic() - self._failed_at >= RECOVERY_SECONDS:
            self._failed_at = None
            LOG.info("The database answers again.")


@dataclass(frozen=True)
class PublicationReach:
    """The reach of one publication's games.

    Attributes:
        version: The publication.
        users: Number of its users with recommendations.
        sampled: Number of users in the sample.
        games: By game id, the number of sampled users who have it, and its mean rank in their lists.
    """

    version: str
    users: int
    sampled: int
    games: Mapping[int, tuple[int, float]]

    @classmethod
    def from_rows(cls, publication: Publication, rows: Sequence[Any]) -> PublicationReach:
        """Build it from the rows of the query `reach`."""
        sampled = rows[0]["sampled"] if rows else 0
        games = {row["game_id"]: (row["users"], row["mean_rank"]) for row in rows}
        return cls(publication.version, publication.users, sampled, games)

    def game(self, game_id: int) -> Reach:
        """Return a game's reach."""
        users, mean_rank = self.games.get(game_id, (0, None))
        share = users / self.sampled if self.sampled else 0.0
        return Reach(round(share * self.users), share, mean_rank, self.sampled)


def next_recommendations(shown: Sequence[int], games: Sequence[GameCard], limit: int) -> str | None:
    """Return the cursor of the games that follow a page; None after the last one.

    Args:
        shown: The games of the pages before.
        games: The games of the page.
        limit: Most games of a page.
    """
    if len(games) < limit or len(shown) + len(games) > MOST_PAGED:
        return None
    return encode_cursor(RECOMMENDATIONS, [*shown, *(game.game_id for game in games)])


def sample_percent(publication: Publication) -> float:
    """Return the share of the users to sample, in percent."""
    return min(100.0, 100.0 * REACH_SAMPLE_USERS / max(publication.users, 1))


def _ranked(row: Any) -> RankedGame:
    """Return a game of the published lists: of the user's own, if the user has a taste, or one that fills them up."""
    if row["taste"] is None or row["best"] is None:
        return RankedGame(row["game_id"], "popular", reason=row["reason"], because=row["because"])
    match = match_percent(row["taste"], row["best"])
    return RankedGame(row["game_id"], "personal", row["taste"], row["popularity"], match, row["reason"], row["because"])


def _card(rank: int, game: RankedGame, facts: Any, tags: GenreTags) -> GameCard:
    """Return a ranked game with its facts, a row of the query `card`."""
    because = None
    if game.because is not None:
        because = Because(
            game.because, facts["because_name"], tags.shared(facts["genre_ids"], facts["because_genre_ids"])
        )
    return GameCard(
        rank,
        game.game_id,
        facts["name"],
        game.kind,
        game.taste,
        game.popularity,
        game.match,
        game.reason,
        because,
        facts["released_on"],
        tags.in_order(facts["genre_ids"]),
        facts["positive_share"],
        facts["reviews"],
        _web_link(facts["link"]),
    )


def _web_link(link: str | None) -> str | None:
    """Return a link of the catalogue if it leads to a page; a script in its place would run where it is shown."""
    return link if (link or "").lower().startswith(("http://", "https://")) else None


def _shown(cursor: str) -> int:
    """Return how many rows of a search were shown before."""
    (shown,) = decode_cursor(SEARCH, cursor, length=1) or (0,)
    return shown


def _next_found(shown: int, rows: Sequence[Any], limit: int) -> str | None:
    """Return the cursor after a page of a search, of whose rows one more than the limit was read."""
    return encode_cursor(SEARCH, [shown + limit]) if len(rows) > limit else None


async def _keep_session(connection: Any) -> None:
    """Reset nothing: queries change nothing in a session, and a reset would cost as much as a query."""


async def _prepare(connection: Any) -> None:
    """Set what the server may not know, and how JSON is read."""
    if connection.get_server_version() >= (17,):
        await connection.execute("SET transaction_timeout = 0")
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    await connection.set_type_codec(
        "date", encoder=_encode_date, decoder=_decode_date, schema="pg_catalog", format="tuple"
    )


def _encode_date(day: date) -> tuple[int]:
    """Return a date as PostgreSQL has it: days since 2000-01-01."""
    return (day.toordinal() - POSTGRES_EPOCH,)


def _decode_date(value: tuple[int]) -> date | None:
    """Return a date; None if it is infinite or outside Python's range, so that it counts as unknown."""
    try:
        return date.fromordinal(value[0] + POSTGRES_EPOCH)
    except (ValueError, OverflowError):
        return None
