"""The shop's database, read only: what the pages and the API show of users, games and publications.

Every value of a request is a parameter of a prepared statement. The database ends a query that takes too long.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any, Literal

import asyncpg

from explorer.audience import Audiences
from explorer.problems import Problem
from explorer.queries import QUERIES
from explorer.settings import Settings
from explorer.views import (
    Answer,
    Audience,
    Counts,
    Filters,
    Game,
    Monitored,
    NamedGame,
    Overview,
    Publication,
    Recommended,
    Requirement,
    Reviewed,
    Run,
    User,
)
from steam_recsys.database.url import asyncpg_arguments

LOG = logging.getLogger("explorer")
APPLICATION = "steam-recsys explorer"
CONNECT_SECONDS = 5.0
BACK_SECONDS = 5.0
"""How long nothing must have failed before the database counts as back: one that is overrun fails now and then."""

AUDIENCE_SECONDS = 30.0
COUNT_SECONDS = 60.0
LARGEST_ID = 2**63 - 1


class Shop:
    """Reads the published tables through a pool of connections, which open when they are first needed.

    Every method raises `Problem` (503) where the database cannot be reached, is busy, or has not the schemas that this
    code reads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool: Any = None
        self._audiences: Audiences | None = None
        self._counting_audiences = asyncio.Lock()
        self._counts = Counts(0, 0, 0, 0)
        self._counting = asyncio.Lock()
        self._counted_at = -math.inf
        self._failed_at: float | None = None

    async def open(self) -> None:
        """Make the pool; no connection yet, so that the explorer starts where the database is still down."""
        milliseconds = round(1000 * self._settings.query_seconds)
        self._pool = await asyncpg.create_pool(
            **asyncpg_arguments(self._settings.database_url.get_secret_value()),
            min_size=0,
            max_size=self._settings.pool_size,
            timeout=CONNECT_SECONDS,
            server_settings={
                "application_name": APPLICATION,
                "default_transaction_read_only": "on",
                "statement_timeout": str(milliseconds),
                "jit": "off",  # takes longer than these queries do
            },
            init=_read_json,
            reset=_leave_as_it_is,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()

    async def reachable(self) -> bool:
        """Whether the database answers, whatever it lets us read."""
        try:
            async with self.connection() as connection:
                await connection.fetchval("SELECT 1")
        except Problem:
            return False
        return True

    async def recommendations(self, user_id: int, filters: Filters) -> Answer:
        """What `recsys.recommended_games` says, and of which publication that is."""
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
        )
        version = rows[0][0] if rows else None
        return Answer(user_id, filters, version, [Recommended(*row[1:]) for row in rows if row[1] is not None])

    async def own_games(self, user_id: int) -> frozenset[int]:
        """The games that the model recommends to a user; others fill a list up."""
        row = await self._fetchrow("own games", user_id)
        return frozenset() if row is None else frozenset(row[0])

    async def find_users(self, text: str, limit: int) -> list[User]:
        """Users by id, by name, and by the beginning of the name, in this order."""
        number = int(text) if text.isascii() and text.isdecimal() and int(text) <= LARGEST_ID else None
        return [User(*row) for row in await self._fetch("find_users", number, text, limit)]

    async def someone(self, kind: Literal["many reviews", "one review", "new"]) -> User | None:
        """A user of a kind, another one each time where there are several; None where none is found quickly."""
        row = await self._fetchrow(kind)
        return None if row is None else User(*row)

    async def user(self, user_id: int) -> User | None:
        """A user by id."""
        row = await self._fetchrow("user", user_id)
        return None if row is None else User(*row)

    async def history(self, user_id: int, limit: int) -> list[Reviewed]:
        """A user's reviews, the newest first."""
        return [Reviewed(*row) for row in await self._fetch("history", user_id, limit)]

    async def games(self, text: str, limit: int) -> list[NamedGame]:
        """Games whose name is the text, begins with it, or holds it, in this order, those with most reviews first."""
        return [NamedGame(*row) for row in await self._fetch("find_games", text, limit)]

    async def game(self, game_id: int) -> Game | None:
        """What is known of a game."""
        row = await self._fetchrow("game", game_id)
        if row is None:
            return None
        requirements = [Requirement(*each) for each in await self._fetch("requirements", game_id)]
        return Game(**row, requirements=requirements)

    async def named(self, game_ids: list[int]) -> list[NamedGame]:
        """Those of the games that there are, in the order given."""
        return [NamedGame(*row) for row in await self._fetch("named_games", game_ids)]

    async def released(self, game_ids: list[int]) -> dict[int, date | None]:
        """The games' days of release, by id; None where it is not known."""
        return dict(await self._fetch("released", game_ids))

    async def genres(self) -> list[str]:
        """All genres, those of the games and those of the rankings, in the order of the alphabet."""
        return [row[0] for row in await self._fetch("genres")]

    async def audience(self, game_id: int) -> Audience:
        """Who has the game among their recommendations."""
        audiences = await self._current_audiences()
        return audiences.of(game_id) if audiences else Audience(0, 0.0, None, 0)

    async def publication(self) -> Publication | None:
        """The current publication; None before the first one."""
        row = await self._fetchrow("publication")
        return None if row is None else Publication(*row)

    async def overview(self) -> Overview:
        """The state of the whole."""
        current = await self.publication()
        training = await self._fetchrow("training", current.model_version) if current else None
        publications = await self._fetch("publications")
        runs = await self._fetch("runs")
        counts = await self.counts()
        audiences = await self._current_audiences()
        return Overview(
            publications=[Publication(*row) for row in publications],
            current=current,
            training=Run(*training) if training else None,
            runs=[Run(*row) for row in runs],
            users=counts.users,
            games=counts.games,
            reviews=counts.reviews,
            coverage=audiences.coverage(counts.games_on_sale) if audiences else None,
            monitoring=await self.monitoring(),
        )

    async def counts(self) -> Counts:
        """Rows of the shop's tables; counted once a minute at most."""
        async with self._counting:
            if time.monotonic() - self._counted_at > COUNT_SECONDS:
                self._counts = Counts(*await self._fetchrow("counts"))
                self._counted_at = time.monotonic()
            return self._counts

    async def last_runs(self) -> list[Run]:
        """Of each pipeline and each state that its runs ended in, the last."""
        return [Run(*row) for row in await self._fetch("last runs")]

    async def monitoring(self) -> list[Monitored]:
        """The last measurements, the newest first; none where none was ever made."""
        if not (await self._fetchrow("is monitored"))[0]:
            return []
        return [Monitored(*row) for row in await self._fetch("monitoring")]

    async def _current_audiences(self) -> Audiences | None:
        """How often each game is recommended, counted once a publication."""
        publication = await self.publication()
        if publication is None:
            return None
        async with self._counting_audiences:
            if self._audiences is None or self._audiences.version != publication.version:
                async with self.connection() as connection, connection.transaction(readonly=True):
                    await connection.execute(f"SET LOCAL statement_timeout = {round(1000 * AUDIENCE_SECONDS)}")
                    self._audiences = await Audiences.read(connection, publication)
            return self._audiences

    async def _fetch(self, query: str, *arguments: Any) -> list[Any]:
        async with self.connection() as connection:
            rows: list[Any] = await connection.fetch(QUERIES[query], *arguments)
            return rows

    async def _fetchrow(self, query: str, *arguments: Any) -> Any:
        rows = await self._fetch(query, *arguments)
        return rows[0] if rows else None

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection of the pool.

        Raises:
            Problem: there is none, or the database refuses what the body asks.
        """
        try:
            async with self._pool.acquire(timeout=CONNECT_SECONDS) as connection:
                yield connection
            self._note_answer()
        except asyncpg.QueryCanceledError:
            raise Problem(503, "The database took too long to answer: try again, or ask for less.") from None
        except (asyncpg.UndefinedTableError, asyncpg.InvalidSchemaNameError, asyncpg.UndefinedFunctionError):
            raise Problem(503, "Nothing has been published yet: run the inference pipeline first.") from None
        except asyncpg.UndefinedColumnError as error:
            LOG.warning("the database's schemas are not those of this explorer: %s", error)
            raise Problem(503, "The published tables are of another version: run the pipelines of this one.") from None
        except asyncpg.TransactionRollbackError:  # a deadlock, or on a replica a conflict with what it is sent
            raise Problem(503, "The database gave up on this: try again.") from None
        except asyncpg.InsufficientPrivilegeError as error:
            raise Problem(
                503, f"The explorer's role may not read this ({error}): grant it as the README says."
            ) from None
        except (asyncpg.InvalidParameterValueError, asyncpg.DataError, UnicodeEncodeError):
            raise Problem(400, "The database does not take a value of this request: correct it.") from None
        except (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError,
                asyncpg.CannotConnectNowError, asyncpg.InvalidAuthorizationSpecificationError,
                asyncpg.InvalidCatalogNameError, asyncpg.TooManyConnectionsError, asyncpg.AdminShutdownError,
                asyncpg.ObjectNotInPrerequisiteStateError,  # a database that takes no connections
                asyncpg.UndefinedObjectError,  # a parameter in the URL's options
                asyncpg.InternalClientError,  # a connection that ends in the moment in which it is asked
               ) as error:  # fmt: skip
            self._note_failure(error)
            raise Problem(503, "The database cannot be reached: try again in a moment.") from None

    def _note_failure(self, error: Exception) -> None:
        """Say that the database cannot be reached, once until it is back."""
        if self._failed_at is None:
            LOG.warning("the database cannot be reached: %s: %s", type(error).__name__, error)
        self._failed_at = time.monotonic()

    def _note_answer(self) -> None:
        if self._failed_at is not None and time.monotonic() - self._failed_at >= BACK_SECONDS:
            self._failed_at = None
            LOG.info("the database answers again")


async def _leave_as_it_is(connection: Any) -> None:
    """Nothing in a session is ever changed: to ask the database to undo it would cost as much as an answer."""


async def _read_json(connection: Any) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
