"""Answers from the current publication's model, without TensorFlow: to posted histories, and similar games."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
from fastapi import HTTPException

from explorer.cursors import RECOMMENDATIONS, decode_cursor
from explorer.errors import CODES, NOTHING_PUBLISHED, ProblemError
from explorer.filters import Filters, HistoryGame
from explorer.model_cache import SYSTEMS, CachedModel, model_folder
from explorer.repository import Repository, next_recommendations
from explorer.schemas import (
    Comparison,
    LiveRecommendations,
    Publication,
    RankedGame,
    Recommendations,
    SimilarGame,
    SimilarGames,
)
from explorer.settings import Settings
from explorer.tastes import MOST_SHARED_TAGS
from steam_recsys.arrays import BoolArray, Int32Array, Int64Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import UNDATED, day_of
from steam_recsys.data.schemas import DISCOVERY, INTERESTS, LISTS, NEW_RELEASES, POPULAR_LIST, RELEVANCE
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.model.online import OnlineRecommender, Recommendation
from steam_recsys.model.scorer import PAGE_GAMES, REASONS_PER_GAME
from steam_recsys.publications.control_group import in_control_group

LOG = logging.getLogger("explorer")
POLL_SECONDS = 2.0
"""How often a worker checks which publication is current."""

RETRY_SECONDS = 30.0
"""Pause after a model could not be cached."""

DELISTED_SECONDS = 60.0
"""How often a worker reads which games are delisted."""

CACHE_SECONDS = 600.0
"""Longest time to cache a model, including the wait for another worker that caches the same one."""

LOADING = "model_loading", "The current publication's model is still loading: try again in a moment."
NOT_LOADED = "no_model", "The model cannot be loaded: see the explorer's log."
"""Codes and details of answers without a model."""

LONGEST_QUEUE = 64
"""Most answers to wait for at a time; later ones would be too late."""

RANK_TYPES = {"sales": "Sales", "revenue": "Revenue", "reviews": "Review"}
_UNRANKED = np.iinfo(np.int32).max

Answer = TypeVar("Answer")


class PublicationModel:
    """Answers from one publication's arrays. Threads may share it: only the mask of available games changes."""

    def __init__(self, cached: CachedModel) -> None:
        self.version = cached.version
        self.model_version = cached.model_version
        self._cached = cached
        self._online = OnlineRecommender(cached.game_ids, cached.scorer, cached.facts.catalogue)
        self._lists = {each.name: each for each in cached.lists}
        self._popular_now = frozenset(cached.facts.popular_now.tolist())
        self._genre_names = dict(zip(cached.facts.catalogue.genres, cached.facts.genre_names, strict=True))
        self._available = cached.available
        self._online.recommend([], 1)  # builds what is built once, while no request waits

    def leave_out(self, game_ids: Sequence[int]) -> None:
        """Return these games no longer, such as those that were delisted since the model was cached."""
        available, positions = self._cached.available.copy(), self._positions(game_ids)
        available[positions[positions >= 0]] = False
        self._available = available

    def recommend(
        self,
        history: Sequence[int],
        filters: Filters,
        today: date,
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
        without: Sequence[int] = (),
        shown: Sequence[int] = (),
    ) -> list[RankedGame]:
        """Return the best games for a history that pass the filters; see `OnlineRecommender.recommend`.

        Without a game that the model knows there is no taste, and the popular games are returned.

        Args:
            history: The games of the history, the newest last.
            filters: Order and filters.
            today: Games that are delisted by this day are left out.
            recommended: Whether each game of the history is liked; by default all are.
            hours: The hours of each game of the history, None if unknown.
            without: Games to leave out.
            shown: Games of the pages before. They count among the best games that an order sorts, so that the list
                is in order from page to page.

        Raises:
            ValueError: `recommended` or `hours` is not as long as `history`.
        """
        among = self.passing(filters, today)
        is_list = filters.rank_by in LISTS
        left_out = self._positions([*without, *shown] if is_list else without)
        among[left_out[left_out >= 0]] = False
        knows_taste = bool((self._positions(history) >= 0).any())
        wanted = filters if is_list else filters.model_copy(update={"limit": filters.limit + len(shown)})
        found = self._best(history, wanted, among, recommended, hours, knows_taste=knows_taste)
        rows = self._order(self._positions([game.game_id for _, game in found]), filters)
        following = [found[row] for row in rows.tolist() if found[row][1].game_id not in shown]
        return self._with_reasons(following[: filters.limit], filters, knows_taste=knows_taste)

    def compare(
        self,
        history: Sequence[int],
        filters: Filters,
        today: date,
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
        without: Sequence[int] = (),
    ) -> tuple[list[RankedGame], list[RankedGame], list[RankedGame]]:
        """Return the model's best games, the most popular ones, and those that are played together with a history's.

        The arguments are as in `recommend`; the other lists than the model's have their own order.
        """
        own = self.recommend(history, filters, today, recommended=recommended, hours=hours, without=without)
        plain = filters.model_copy(update={"rank_by": RELEVANCE, "popularity": None})
        popular = self.recommend([], plain, today, without=[*history, *without])
        among, left_out = self.passing(filters, today), self._positions(without)
        among[left_out[left_out >= 0]] = False
        together = self._online.played_together(
            history, filters.limit, recommended=recommended, hours=hours, among=among
        )
        return own, popular, [RankedGame(game_id) for game_id in together]

    def similar(self, game_id: int, k: int, today: date) -> list[tuple[RankedGame, float]]:
        """Return the k available games with the nearest vectors, and the cosines; none if the game has no vector."""
        cached = self._cached
        (position,) = positions_of(np.array([game_id]), cached.game_ids)
        if position < 0:
            return []
        positions, cosines = cached.scorer.nearest(int(position), k, self.passing(Filters(), today))
        return [
            (
                RankedGame(
                    int(cached.game_ids[near]),
                    "similar",
                    reason=f"similar to {self._name(game_id)}{self._shared(near, position)}",
                    because=game_id,
                ),
                cosine,
            )
            for near, cosine in zip(positions.tolist(), cosines.tolist(), strict=True)
        ]

    def passing(self, filters: Filters, today: date) -> BoolArray:
        """Return the available games that pass, bool [N]; unknown values pass."""
        facts = self._cached.facts
        among = self._available & (facts.delisted > day_of(today))
        if filters.genre is not None:
            among &= facts.catalogue.with_genres([filters.genre])
        if filters.include:
            among &= facts.catalogue.with_genres(filters.include)
        if filters.exclude:
            among &= ~facts.catalogue.with_genres(filters.exclude)
        undated = facts.released_year == UNDATED
        if filters.released_from is not None:
            among &= undated | (facts.released_year >= filters.released_from)
        if filters.released_to is not None:
            among &= undated | (facts.released_year <= filters.released_to)
        if filters.max_ram_gb is not None:
            among &= ~(facts.ram_gb > np.float32(filters.max_ram_gb))  # False for NaN
        if filters.max_storage_gb is not None:
            among &= ~(facts.storage_gb > np.float32(filters.max_storage_gb))
        if filters.os is not None:
            among &= (facts.systems == 0) | (facts.systems & (1 << SYSTEMS.index(filters.os)) != 0)
        return among

    def _best(
        self,
        history: Sequence[int],
        filters: Filters,
        among: BoolArray,
        recommended: Sequence[bool] | None,
        hours: Sequence[float | None] | None,
        *,
        knows_taste: bool,
    ) -> list[tuple[str, Recommendation]]:
        """Return the games that an order is made from, the best first, each with the name of the list that it is from.

        Without a taste, what is best is what is popular.
        """
        popularity = 1.0 if filters.popularity is None else filters.popularity
        wanted = self._lists.get(filters.rank_by if filters.rank_by in LISTS else INTERESTS)
        found: list[tuple[str, Recommendation]] = []
        if filters.rank_by != RELEVANCE and wanted is not None:
            games = replace(
                wanted,
                length=max(filters.limit, wanted.length),
                popularity_weight=popularity * wanted.popularity_weight,
                allowed=among if wanted.allowed is None else among & wanted.allowed,
            )
            name = POPULAR_LIST if wanted.name == INTERESTS and not knows_taste else wanted.name
            best = self._online.recommend_list(games, history, recommended=recommended, hours=hours)
            found = [(name, game) for game in best]
        if filters.rank_by in (DISCOVERY, NEW_RELEASES) or len(found) >= filters.limit:
            return found
        # Too few games are of the user's taste: the most relevant ones fill up the list.
        among[self._positions([game.game_id for _, game in found])] = False
        pages = math.ceil((filters.limit - len(found)) / PAGE_GAMES)  # reasons depend on whole pages
        best = self._online.recommend(
            history, pages * PAGE_GAMES, recommended=recommended, hours=hours, among=among, popularity=popularity
        )
        name = RELEVANCE if knows_taste else POPULAR_LIST
        return found + [(name, game) for game in best[: filters.limit - len(found)]]

    def _order(self, positions: Int32Array, filters: Filters) -> Int64Array:
        """Return the rows of the most relevant games in the wanted order; equal ones stay in order of relevance."""
        facts = self._cached.facts
        if filters.rank_by in LISTS:
            return np.arange(len(positions))
        if filters.rank_by == "newest":
            return np.argsort(-facts.catalogue.released[positions].astype(np.int64), kind="stable")
        rank_type = RANK_TYPES[filters.rank_by]
        genre = (filters.genre or "").lower()
        ranking = facts.ranks.get((genre, rank_type)) or facts.ranks.get(("", rank_type))
        if ranking is None:
            return np.arange(len(positions))
        rows = positions_of(positions, ranking[0])
        return np.argsort(np.where(rows >= 0, ranking[1][rows], _UNRANKED), kind="stable")

    def _name(self, game_id: int) -> str:
        return self._cached.facts.names[self._position(game_id)]

    def _with_reasons(
        self, games: Sequence[tuple[str, Recommendation]], filters: Filters, *, knows_taste: bool
    ) -> list[RankedGame]:
        """Give games their match and their reasons as text; a game is the reason of two of them at most.

        Without a taste there is no match: the games are popular ones.
        """
        named: Counter[int] = Counter()
        shown = []
        for name, game in games:
            because = game.because if game.because is not None and named[game.because] < REASONS_PER_GAME else None
            if because is not None:
                named[because] += 1
            shown.append(
                RankedGame(
                    game_id=game.game_id,
                    kind="personal" if knows_taste else "popular",
                    taste=game.taste if knows_taste else None,
                    popularity=game.popularity if knows_taste else None,
                    match=game.match if knows_taste else None,
                    reason=self._reason(name, self._position(game.game_id), because, filters.genre or ""),
                    because=because,
                )
            )
        return shown

    def _reason(self, name: str, position: int, because: int | None, genre: str) -> str:
        """Return a reason as `recsys.reasons` does.

        Args:
            name: The list that the game is from.
            position: The game.
            because: The game that the user liked, if it is the reason.
            genre: The genre that all games have; empty for any.
        """
        facts = self._cached.facts
        if because is not None:
            return f"because you liked {self._name(because)}{self._shared(position, self._position(because))}"
        if name == DISCOVERY:
            return "hidden gem"
        if name == NEW_RELEASES:
            return f"new and popular in {facts.popular_in[position]}" if position in facts.popular_in else "new"
        if name == POPULAR_LIST:
            return f"popular in {self._genre_names[genre.lower()]}" if genre else "popular now"
        if name == RELEVANCE and position in self._popular_now:
            return "popular now"
        if name == RELEVANCE and position in facts.popular_in:
            return f"popular in {facts.popular_in[position]}"
        return "fits your taste"

    def _shared(self, position: int, other: int) -> str:
        """Return the tags that two games share, in brackets; empty if they share none."""
        tags = self._cached.facts.tags_of(other)
        shared = [tag for tag in self._cached.facts.tags_of(position) if tag in tags][:MOST_SHARED_TAGS]
        return f" ({', '.join(shared)})" if shared else ""

    def _positions(self, game_ids: Sequence[int]) -> Int32Array:
        """Return the positions of games, -1 for unknown ones."""
        return positions_of(np.array(game_ids, dtype=np.int32), self._cached.game_ids)

    def _position(self, game_id: int) -> int:
        return int(np.searchsorted(self._cached.game_ids, np.int32(game_id)))  # of one type: no copy of all ids


class LiveModel:
    """The model of the current publication, loaded in the background whenever another one becomes current.

    Its answers raise `HTTPException` (503) without a model store, before the first model is loaded, and if too many
    requests wait.
    """

    def __init__(self, settings: Settings, repository: Repository) -> None:
        self._settings = settings
        self._repository = repository
        self._model: PublicationModel | None = None
        self._obstacle = LOADING
        self._control_share = 0.0
        # One at a time: there is a worker per core, and two at a time would each take twice as long.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="answers")
        self._waiting = 0

    @property
    def model(self) -> PublicationModel | None:
        """The loaded model; None before the first one."""
        return self._model

    @property
    def is_loading(self) -> bool:
        """Whether there is a store, but no model yet."""
        return self._settings.store is not None and self._model is None

    def check(self) -> PublicationModel:
        """Return the loaded model.

        Raises:
            ProblemError: No model is loaded; it says why (503).
        """
        if self._settings.store is None:
            raise ProblemError(503, "no_model", "There is no model store: set EXPLORER_STORE.")
        if self._model is None:
            raise ProblemError(503, *self._obstacle)
        return self._model

    async def recommend(
        self, history: Sequence[HistoryGame], filters: Filters, exclude_ids: Sequence[int] = (), cursor: str = ""
    ) -> LiveRecommendations:
        """Return the best games for a history, the newest game last; see `PublicationModel.recommend`.

        Raises:
            ProblemError: The cursor is not one of recommendations (409).
        """
        model = self.check()
        shown = decode_cursor(RECOMMENDATIONS, cursor)
        games = await self._run(
            lambda: model.recommend(
                [game.game_id for game in history],
                filters,
                _today(),
                recommended=[game.recommended for game in history],
                hours=[game.hours for game in history],
                without=exclude_ids,
                shown=shown,
            )
        )
        cards = await self._repository.cards(games, len(shown) + 1)
        following = next_recommendations(shown, cards, filters.limit)
        return LiveRecommendations(model.version, model.model_version, filters, cards, following)

    async def recommendations(
        self, user_id: int, filters: Filters, exclude_ids: Sequence[int] = (), cursor: str = ""
    ) -> Recommendations:
        """Return the best games for a user, from the reviews and dismissed games that the database has now.

        A user of the control group gets popular games.
        """
        history = await self._repository.live_history(user_id)
        without = [*exclude_ids, *await self._repository.dismissed_games(user_id)]
        if in_control_group(np.array([user_id]), self._control_share)[0]:
            without += [game.game_id for game in history]
            history = []
        answer = await self.recommend(history, filters, without, cursor)
        return Recommendations(user_id, filters, answer.version, answer.games, answer.next)

    async def compare(
        self, history: Sequence[HistoryGame], filters: Filters, without: Sequence[int] = ()
    ) -> Comparison:
        """Return three lists for a history, the newest game last; see `PublicationModel.compare`."""
        model = self.check()
        lists = await self._run(
            lambda: model.compare(
                [game.game_id for game in history],
                filters,
                _today(),
                recommended=[game.recommended for game in history],
                hours=[game.hours for game in history],
                without=without,
            )
        )
        own, popular, together = [await self._repository.cards(games) for games in lists]
        return Comparison(own, popular, together)

    async def similar(self, game_id: int, k: int) -> SimilarGames:
        """Return the k games nearest to a game; none if the model does not know it."""
        model = self.check()
        games = await self._run(lambda: model.similar(game_id, k, _today()))
        similarity = {game.game_id: round(100 * cosine) for game, cosine in games}
        cards = await self._repository.cards([game for game, _ in games])
        similar = [SimilarGame(**vars(card), similarity=similarity[card.game_id]) for card in cards]
        return SimilarGames(model.version, model.model_version, game_id, similar)

    async def follow(self, cache: Path) -> None:
        """Load the model of each publication that becomes current, until cancelled.

        Args:
            cache: The folder that the workers of this machine share.
        """
        if self._settings.store is None:
            return
        logged, removed, delisted_at = None, False, -math.inf
        while True:
            pause = POLL_SECONDS
            try:
                publication = await self._repository.publication()
                if publication is None:
                    self._obstacle = "nothing_published", NOTHING_PUBLISHED
                elif self._model is None or self._model.version != publication.version:
                    pause = RETRY_SECONDS
                    if self._obstacle != NOT_LOADED:
                        self._obstacle = LOADING
                    self._model = await self._load(cache, self._settings.store, publication)
                    self._control_share = publication.control_share
                    delisted_at = -math.inf
                    LOG.info("Answers come from publication %s now.", publication.version)
                if self._model is not None and time.monotonic() - delisted_at >= DELISTED_SECONDS:
                    delisted_at = time.monotonic()
                    self._model.leave_out(await self._repository.delisted_games(_today()))
                pause, logged, removed = POLL_SECONDS, None, False
            except Exception as error:
                if isinstance(error, FileNotFoundError | ArtifactError) and not removed:
                    removed = True  # damaged, or removed by a worker that already caches the next publication's model
                    continue
                if isinstance(error, HTTPException):  # of the database
                    pause, message = POLL_SECONDS, error.detail
                    self._obstacle = getattr(error, "code", CODES[503]), message
                else:
                    message = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                    self._obstacle = NOT_LOADED
                known = isinstance(error, HTTPException | UserError)
                if message != logged and not (self._model and isinstance(error, HTTPException)):
                    LOG.warning(  # once, not every few seconds
                        "The current publication's model is not loaded: %s", message, exc_info=None if known else error
                    )
                logged = message
            await asyncio.sleep(pause)

    async def _load(self, cache: Path, store: str, publication: Publication) -> PublicationModel:
        arguments = (publication.version, publication.model_version, publication.as_of.isoformat())
        process = subprocess.Popen(
            [sys.executable, "-m", "explorer.model_cache", str(cache), store, *arguments],
            env={**os.environ, "EXPLORER_DATABASE_URL": self._settings.database_url.get_secret_value()},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            async with asyncio.timeout(CACHE_SECONDS):
                _, errors = await asyncio.to_thread(process.communicate)
        except TimeoutError:
            raise UserError(f"It was not cached within {CACHE_SECONDS:.0f} s.") from None
        finally:
            process.terminate()  # if it still runs
        if process.returncode:
            lines = errors.strip().splitlines()
            raise UserError(lines[-1] if lines else f"Caching it ended with {process.returncode}.")
        folder = model_folder(cache, publication.version)
        return await asyncio.to_thread(lambda: PublicationModel(CachedModel.load(folder)))

    async def _run(self, work: Callable[[], Answer]) -> Answer:
        if self._waiting >= LONGEST_QUEUE:
            raise ProblemError(503, "overloaded", "Too many requests are waiting for an answer: try again in a moment.")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        finally:
            self._waiting -= 1


def _today() -> date:
    return datetime.now(UTC).date()
