"""Recommendations for one user while the user waits, from game IDs to game IDs, without TensorFlow.

online = OnlineRecommender.load(folder)
online.recommend([620, 440], k=10)
online.recommend([620, 440], k=10, popularity=0.3, include=["strategy"])
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import BoolArray, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import UNDATED, day_of
from steam_recsys.errors import other_version_error
from steam_recsys.model.history_weights import MAX_HOURS
from steam_recsys.model.lists import MIN_LIKES
from steam_recsys.model.retrieval import GameList
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import ITEMS, VOCABULARY, open_model


@dataclass(frozen=True)
class CatalogueFacts:
    """What the dial and the filters need to know of a catalogue of N games, by position.

    Attributes:
        released: int32 [N], days since 1970-01-01, `UNDATED` if unknown.
        genres: Positions of each genre's games, int32, by lower-case genre.
        positive_reviews: int64 [N], the number of users who recommend each game.
    """

    released: Int32Array
    genres: Mapping[str, Int32Array]
    positive_reviews: Int64Array

    @classmethod
    def from_games(
        cls, released: Sequence[date | None], genres: Sequence[Collection[str]], positive_reviews: Int64Array
    ) -> CatalogueFacts:
        """Build the facts from the columns of N games.

        Args:
            released: Release dates.
            genres: Each game's genres.
            positive_reviews: int64 [N], the number of users who recommend each game.
        """
        members: dict[str, list[int]] = {}
        for position, names in enumerate(genres):
            for name in {name.lower() for name in names}:
                members.setdefault(name, []).append(position)
        return cls(
            np.array([UNDATED if day is None else day_of(day) for day in released], dtype=np.int32),
            {name: np.array(members[name], dtype=np.int32) for name in sorted(members)},
            positive_reviews,
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays that a model folder keeps in `items.npz`; `vocabulary.json` keeps `list(self.genres)`."""
        games = [*self.genres.values()]
        return {
            "released": self.released,
            "positive_reviews": self.positive_reviews,
            "genre_offsets": offsets_from_lengths(np.array([len(each) for each in games], dtype=np.int64)),
            "genre_games": np.concatenate([np.zeros(0, np.int32), *games]),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], genres: Sequence[str]) -> CatalogueFacts:
        """Read what `arrays` returned, and the genres' names.

        Raises:
            KeyError: An array is missing.
        """
        games = np.split(arrays["genre_games"], arrays["genre_offsets"][1:-1]) if genres else []
        return cls(arrays["released"], dict(zip(genres, games, strict=True)), arrays["positive_reviews"])

    def with_genres(self, genres: Collection[str]) -> BoolArray:
        """Return the games that have at least one of the genres, bool [N]; upper and lower case are the same."""
        members = np.zeros(len(self.released), dtype=bool)
        for genre in genres:
            members[self.genres.get(genre.lower(), np.zeros(0, np.int32))] = True
        return members

    def released_within(self, first: date | None, last: date | None) -> BoolArray:
        """Return the games not known to be released before the first or after the last day, bool [N]."""
        allowed = np.ones(len(self.released), dtype=bool)
        if first is not None:
            allowed &= (self.released >= day_of(first)) | (self.released == UNDATED)
        if last is not None:
            allowed &= self.released <= day_of(last)  # also true for UNDATED
        return allowed


@dataclass(frozen=True)
class Recommendation:
    """A recommended game.

    Attributes:
        game_id: The game.
        taste: How well it fits the history.
        popularity: What its popularity adds, the same for all users.
        because: A liked game of the history without which this game would not be on its page of ten; None if there is
            none, as for an empty history.
        best_taste: The highest taste of all available games that are not excluded, whatever the filters are.
    """

    game_id: int
    taste: float
    popularity: float
    because: int | None
    best_taste: float = field(compare=False)

    @property
    def score(self) -> float:
        """What a list is sorted by."""
        return self.taste + self.popularity

    @property
    def match(self) -> int:
        """How well the game fits compared with the best match of all games, in percent; see `match_percent`."""
        return match_percent(self.taste, self.best_taste)


def match_percent(taste: float, best_taste: float) -> int:
    """Compare a game's taste with the user's best match, in percent.

    Taste is in log-odds, so a difference is the logarithm of a ratio of odds.

    Example:
        >>> match_percent(1.5, 1.75)
        78
    """
    return round(100 * math.exp(min(taste - best_taste, 0.0)))


class OnlineRecommender:
    """Recommends games to one user at a time, from a history that may end a second ago.

    It is immutable, so threads may share one. If popularity or games have changed, create another one.
    """

    def __init__(self, game_ids: Int32Array, scorer: Scorer, facts: CatalogueFacts | None = None) -> None:
        """Recommend from a scorer.

        Args:
            game_ids: int32 [N], the distinct IDs of the scorer's positions.
            scorer: The scorer.
            facts: Facts of these games; without them there are no filters, and `popularity` must be 1.
        """
        self._game_ids: list[int] = game_ids.tolist()
        self._position_of = {game_id: position for position, game_id in enumerate(self._game_ids)}
        self._scorer = scorer
        self._facts = facts

    @classmethod
    def load(cls, folder: str | Path) -> OnlineRecommender:
        """Load a model folder: the games it was trained on, with their facts and popularity at the time of training.

        For other games or today's popularity, pass the result of `TwoTowerArrays.for_catalogue` to the constructor.

        Raises:
            ArtifactError: The folder holds no complete model, a damaged one, or one of another version of this project.
        """
        model, files = TwoTowerArrays.load(folder), open_model(folder)
        with files.file(VOCABULARY) as named, files.file(ITEMS) as stored:
            try:
                genres = json.loads(named.read_text())["genres"]
                with np.load(stored, allow_pickle=False) as items:
                    facts = CatalogueFacts.from_arrays(items, genres)
                    scorer = Scorer(
                        history=items["history"],
                        candidates=items["candidates"],
                        item_item=model.item_item,
                        popularity_prior=items["popularity_prior"],
                        popularity_weight=model.popularity_weight,
                        scale=model.scale,
                        history_weights=model.history_weights,
                        next_games=model.next_games,
                        sequence=model.sequence,
                        sequence_scale=model.sequence_scale,
                    )
            except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
                raise other_version_error(f"{folder} holds a model", error) from None
        return cls(model.game_ids, scorer, facts)

    def recommend(
        self,
        history: Sequence[int],
        k: int,
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
        without: Iterable[int] = (),
        among: BoolArray | None = None,
        popularity: float = 1.0,
        released: tuple[date | None, date | None] | None = None,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> list[Recommendation]:
        """Recommend the k best games to a user, best first; ties in catalogue order.

        The result is exact over the whole catalogue. By default, games and scores are the same as from
        `Scorer.recommend` and the SavedModel.

        Args:
            history: The user's games in the order of time, the newest last. IDs outside the catalogue are ignored; if a
                game appears several times, the last one counts.
            k: Number of games; the result has fewer if fewer are left.
            recommended: Whether the user recommends each game of the history; None if all of them.
            hours: Hours played of each game of the history, None if unknown; impossible values count as unknown.
            without: Games that must not be recommended, in addition to the history.
            among: bool [N], the catalogue positions that may be recommended; None for all available games.
            popularity: From 0, taste alone, to 1, the model's own balance of taste and popularity. The lower it is, the
                more reviews must recommend a game: `MIN_LIKES` of them at 0. If fewer than k games have as many, the k
                best supported games are recommended. An empty history has no taste, so it gets the popular games.
            released: First and last release date, each None for no limit. Games without a known date pass.
            include: Genres of which a game must have at least one; empty for any. Upper and lower case are the same.
            exclude: Genres of which a game may have none.

        Returns:
            The recommendations; for an empty history, the games that are popular now, without a reason.

        Raises:
            ValueError: `recommended` or `hours` is not as long as `history`, `popularity` is not from 0 to 1, or an
                argument needs facts that this recommender does not have.
        """
        if not 0 <= popularity <= 1:
            raise ValueError(f"popularity is {popularity}: it must be from 0 to 1.")
        known = self._known(history, recommended, hours)
        if not len(known.games):
            popularity = 1.0
        if released is not None or include or exclude or popularity < 1:
            facts = self._known_facts()
            among = self._available(among)
            if released is not None:
                among &= facts.released_within(*released)
            if include:
                among &= facts.with_genres(include)
            if exclude:
                among &= ~facts.with_genres(exclude)
        excluded = self._excluded(known, without)
        if popularity < 1:
            assert among is not None
            among[excluded.games] = False
            among = _supported(among, self._known_facts().positive_reviews, math.ceil(MIN_LIKES * (1 - popularity)), k)
        return self._best(known, k, excluded, among, popularity * self._scorer.popularity_weight)

    def recommend_list(
        self,
        games: GameList,
        history: Sequence[int],
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
    ) -> list[Recommendation]:
        """Recommend the games of a list, such as those that are published; the arguments are as in `recommend`.

        An empty history has no taste, so popularity orders its list, even if it counts for nothing in the list.

        Raises:
            ValueError: `recommended` or `hours` is not as long as `history`.
        """
        known = self._known(history, recommended, hours)
        weight = games.popularity_weight
        if not len(known.games):
            weight = weight or self._scorer.popularity_weight
        return self._best(known, games.length, self._excluded(known, ()), games.allowed, weight)

    def played_together(
        self,
        history: Sequence[int],
        k: int,
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
        among: BoolArray | None = None,
    ) -> list[int]:
        """Return the k games with the largest weights of games that are liked together, without the rest of the model.

        The arguments are as in `recommend`.

        Returns:
            Their ids, best first; fewer if fewer have a positive weight.
        """
        known = self._known(history, recommended, hours)
        allowed = self._available(among)
        allowed[known.games] = False
        added = self._scorer.played_together_scores(known)
        scores = np.where(allowed, np.bincount(added.games, added.weights, len(allowed)), 0)
        found = np.flatnonzero(scores > 0)
        best = found[np.argsort(-scores[found], kind="stable")][:k]
        return [self._game_ids[position] for position in best.tolist()]

    def _best(
        self, known: Histories, k: int, excluded: Histories, among: BoolArray | None, popularity_weight: float
    ) -> list[Recommendation]:
        k = max(0, min(k, len(self._game_ids)))
        if among is not None and not (self._available(None) & ~among).any():
            among = None  # filters that all games pass would take time
        lists = [GameList("", k, popularity_weight, among), GameList("taste", 1, 0.0)]  # in one pass
        found, best = self._scorer.recommend_lists(known, lists, excluded=excluded)
        best_taste = float(best.taste[0, 0])
        columns = (found.positions, found.taste, found.popularity, found.because)
        return [
            Recommendation(
                self._game_ids[position], taste, popularity, None if reason < 0 else self._game_ids[reason], best_taste
            )
            for position, taste, popularity, reason in zip(*(column[0].tolist() for column in columns), strict=True)
            if position >= 0
        ]

    def _known(
        self,
        history: Sequence[int],
        recommended: Sequence[bool] | None,
        hours: Sequence[float | None] | None,
    ) -> Histories:
        """Convert one user's history to catalogue positions, with each game once."""
        recommended = [True] * len(history) if recommended is None else recommended
        hours = [None] * len(history) if hours is None else hours
        if not len(history) == len(recommended) == len(hours):
            lengths = f"{len(recommended)} verdicts and {len(hours)} hours"
            raise ValueError(f"A history of {len(history)} games has {lengths}: give one of each per game.")
        latest: dict[int, tuple[bool, float]] = {}
        for game_id, verdict, played in zip(history, recommended, hours, strict=True):
            position = self._position_of.get(game_id)
            if position is not None:
                latest.pop(position, None)  # so that it moves to the end
                latest[position] = verdict, played if played is not None and 0 <= played <= MAX_HOURS else math.nan
        verdicts = np.array([verdict for verdict, _ in latest.values()], dtype=bool)
        known_hours = np.array([played for _, played in latest.values()], dtype=np.float32)
        offsets = np.array([0, len(latest)], dtype=np.int64)
        return Histories(np.zeros(1, np.int64), offsets, np.array([*latest], dtype=np.int32), verdicts, known_hours)

    def _known_facts(self) -> CatalogueFacts:
        if self._facts is None:
            raise ValueError("This recommender has no facts of its games: pass CatalogueFacts to its constructor.")
        return self._facts

    def _excluded(self, known: Histories, without: Iterable[int]) -> Histories:
        excluded = (self._position_of[game_id] for game_id in without if game_id in self._position_of)
        return Histories.from_games([*known.games.tolist(), *excluded])

    def _available(self, among: BoolArray | None) -> BoolArray:
        """Return a copy of the available games that are in `among`, bool [N]."""
        available = self._scorer.available
        allowed = np.ones(len(self._game_ids), dtype=bool) if available is None else available.copy()
        return allowed if among is None else allowed & among


def _supported(allowed: BoolArray, positive_reviews: Int64Array, floor: int, k: int) -> BoolArray:
    """Return the allowed games that at least `floor` reviews recommend; if these are fewer than k, the k with most."""
    supported = allowed & (positive_reviews >= floor)
    if np.count_nonzero(supported) >= k:
        return supported
    support = np.sort(positive_reviews[allowed])
    return allowed & (positive_reviews >= support[-k]) if len(support) > k > 0 else allowed
