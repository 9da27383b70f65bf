"""A recommender for notebooks: it takes and returns names of games. Install the extra `notebook`.

Example:
    >>> recommender = Recommender.from_store("local/store/shop")
    >>> recommender.recommend(["Portal 2", "Half-Life"])
    >>> recommender.similar("Portal")
    >>> recommender.explain("Half-Life 2", ["Portal 2", "Half-Life"])
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd

from steam_recsys.data.games import GAME_COLUMNS, Games, available
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import UNDATED, date_of, load_interactions
from steam_recsys.data.popularity import popularity, popularity_as_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.frames import interactions_frame
from steam_recsys.model.online import CatalogueFacts, OnlineRecommender
from steam_recsys.model.scorer import Contributions, item_item_terms, segment_sums
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import champion, stored_model

CLOSE_NAMES = 5
"""Names that an error suggests."""

History = Iterable[str] | Mapping[str, bool] | int
"""Names of games that the user likes, the newest last; names with whether the user likes each; or a user's id, for the
reviews of that user."""


class Recommender:
    """Recommends, compares and explains games by name, as a model does on the day after the newest review.

    A name may be written in any case. It answers with the arrays of the model, without TensorFlow.
    """

    def __init__(self, model: TwoTowerArrays, snapshot: Snapshot) -> None:
        """Prepare a model for a snapshot's games, with the popularity and the availability of the day.

        Args:
            model: The model.
            snapshot: Games and reviews.
        """
        table = snapshot.table("games", ["name", "delisted_on", *GAME_COLUMNS]).sort_by("game_id")
        games, self._reviews = Games.from_table(table), load_interactions(snapshot)
        newest = int(self._reviews.days.max(initial=UNDATED))
        as_of = 0 if newest == UNDATED else newest + 1
        self._names: list[str] = table["name"].to_pylist()
        self._ids = games.ids
        self._scorer = model.for_catalogue(games, popularity_as_of(self._reviews, games.ids, as_of)).with_available(
            available(table, None if newest == UNDATED else date_of(as_of))
        )
        facts = CatalogueFacts.from_games(
            table["released_on"].to_pylist(), table["genres"].to_pylist(),
            popularity(self._reviews, games.ids).astype(np.int64),
        )  # fmt: skip
        self._online = OnlineRecommender(games.ids, self._scorer, facts)

    @classmethod
    def from_store(cls, store: str, version: str | None = None) -> Recommender:
        """Load a model of a store, for the games and reviews of the store's newest snapshot.

        Args:
            store: Folder or bucket that the pipelines write to.
            version: Version of the model; None for the champion.

        Raises:
            UserError: The store has no champion, no such model or no snapshot, or one of their files is damaged.
        """
        with stored_model(store, version or champion(store).version) as folder:
            return cls(TwoTowerArrays.load(folder), Snapshot.from_store(store))

    def recommend(
        self,
        history: History,
        k: int = 10,
        *,
        popularity: float = 1.0,
        released: tuple[date | None, date | None] | None = None,
        include: Collection[str] = (),
        exclude: Collection[str] = (),
    ) -> pd.DataFrame:
        """Recommend the k best games for a history, see `OnlineRecommender.recommend`.

        Args:
            history: The user's games, or the user's id.
            k: Number of games; the result has fewer if fewer are left.
            popularity: From 0, taste alone, to 1, the model's own balance of taste and popularity.
            released: First and last release date, each None for no limit.
            include: Genres of which a game must have at least one; empty for any.
            exclude: Genres of which a game may have none.

        Returns:
            A frame with one row per game, the best first, and these columns:

            - `rank`: int64, from 1, the index.
            - `game`: str, and `game_id`: int64.
            - `taste`, `popularity`: float64, the personal part of the score and what popularity adds to it.
            - `score`: float64, their sum; comparable only within one list.
            - `because`: str, a game that the user likes and without which this one would not be on the list; missing
              if there is none.

        Raises:
            UserError: There is no game of such a name, or no such user.
            ValueError: `popularity` is not from 0 to 1.
        """
        known = self._history(history)
        found = self._online.recommend(
            self._ids[known.games].tolist(),
            k,
            recommended=known.recommended.tolist(),
            hours=known.hours.tolist(),
            popularity=popularity,
            released=released,
            include=include,
            exclude=exclude,
        )
        reasons = [None if game.because is None else self._name(game.because) for game in found]
        columns = {
            "game": pd.Series([self._name(game.game_id) for game in found], dtype="str"),
            "game_id": pd.Series([game.game_id for game in found], dtype="int64"),
            "taste": pd.Series([game.taste for game in found], dtype="float64"),
            "popularity": pd.Series([game.popularity for game in found], dtype="float64"),
            "score": pd.Series([game.score for game in found], dtype="float64"),
            "because": pd.Series(reasons, dtype="str"),
        }
        return _ranked(pd.DataFrame(columns))

    def similar(self, game: str, k: int = 10) -> pd.DataFrame:
        """Return the k available games whose candidate vectors are nearest to a game's.

        Args:
            game: Name of the game.
            k: Number of games; the result is empty if the model knows nothing of the game.

        Returns:
            A frame with one row per game, the nearest first, and the columns `rank`, int64, from 1, the index; `game`,
            str; `game_id`, int64; and `similarity`, float64, the cosine, from -1 to 1.

        Raises:
            UserError: There is no game of that name.
        """
        assert self._scorer.available is not None
        positions, cosines = self._scorer.nearest(self._position(game), k, self._scorer.available)
        return _ranked(
            pd.DataFrame(
                {
                    "game": pd.Series([self._names[each] for each in positions.tolist()], dtype="str"),
                    "game_id": self._ids[positions].astype(np.int64),
                    "similarity": cosines.astype(np.float64),
                }
            )
        )

    def explain(self, game: str, history: History) -> pd.DataFrame:
        """Divide the taste for a game among the games of a history.

        The two towers' cosine is a sum over the history's games, and item-item weights are a sum too. The sequential
        tower's score, if the model has that tower, is divided as `Contributions` says. So each game of the history has
        its own share, and the shares add up to the `taste` of `recommend`.

        Args:
            game: Name of the game to explain.
            history: The user's games, or the user's id.

        Returns:
            A frame with one row per game of the history, the largest contribution first, and these columns:

            - `game`: str, and `game_id`: int64.
            - `recommended`: bool, whether the user likes it.
            - `hours_played`: float64, in hours; NaN if unknown.
            - `weight`: float64, how much the game counts; negative if the user dislikes it.
            - `vectors`, `sequence`, `item_item`: float64, what the game adds by the two towers, by the sequential tower
              and by the item-item weights.
            - `contribution`: float64, their sum.

        Raises:
            UserError: There is no game of such a name, or no such user.
        """
        known, scorer = self._history(history), self._scorer
        position = np.array([[self._position(game)]], dtype=np.int32)
        tables = scorer.item_item_tables(known)
        weights = tables[0][1]
        terms = scorer.history[known.games] * weights[:, None]
        length = float(np.linalg.norm(segment_sums(terms, known.offsets))) or 1.0
        vectors = terms @ scorer.candidates[position[0, 0]] * (scorer.scale / length)
        item_item = item_item_terms(tables, known, position)[:, 0]
        sequence = np.zeros(len(known.games), dtype=np.float32)
        contributions = Contributions.from_histories(scorer, known, scorer.queries(known, weights), tables)
        sequence[known.recommended] = contributions.of_sequence(position)[:, 0]
        frame = pd.DataFrame(
            {
                "game": pd.Series([self._names[each] for each in known.games.tolist()], dtype="str"),
                "game_id": self._ids[known.games], "recommended": known.recommended, "hours_played": known.hours,
                "weight": weights, "vectors": vectors, "sequence": sequence, "item_item": item_item,
                "contribution": vectors + sequence + item_item,
            }
        )  # fmt: skip
        floats = ("hours_played", "weight", "vectors", "sequence", "item_item", "contribution")
        frame = frame.astype({"game_id": "int64", **dict.fromkeys(floats, "float64")})
        return frame.sort_values("contribution", ascending=False, kind="stable", ignore_index=True)

    def history(self, user_id: int) -> pd.DataFrame:
        """Return the reviews of a user, the newest last, with the columns of `frames.interactions` and `game`, str.

        Raises:
            UserError: The user has no review.
        """
        rows = self._reviews.take(self._rows_of(user_id))
        frame = interactions_frame(rows)
        frame.insert(1, "game", pd.Series([self._name(game) for game in rows.games.tolist()], dtype="str"))
        return frame

    def _history(self, history: History) -> Histories:
        """Convert a history to positions; if a game appears several times, the last one counts."""
        if isinstance(history, int | np.integer):
            return Histories.from_interactions(self._reviews.take(self._rows_of(int(history))), self._ids)
        if isinstance(history, str):
            raise UserError(f"A history is a list of games: write ['{history}'].")
        liked: dict[int, bool] = {}
        for name, verdict in history.items() if isinstance(history, Mapping) else ((name, True) for name in history):
            position = self._position(name)
            liked.pop(position, None)
            liked[position] = verdict
        one_user = Histories.from_games([*liked])
        recommended = np.array([*liked.values()], dtype=bool)
        return Histories(one_user.users, one_user.offsets, one_user.games, recommended, one_user.hours)

    def _rows_of(self, user_id: int) -> slice:
        start, end = np.searchsorted(self._reviews.users, [user_id, user_id + 1]).tolist()
        if start == end:
            raise UserError(f"The user {user_id} has no review: give an id from frames.interactions.")
        return slice(start, end)

    def _name(self, game_id: int) -> str:
        return self._names[int(np.searchsorted(self._ids, game_id))]

    def _position(self, name: str) -> int:
        """Find a game by its exact name, or else by its name in any case."""
        exact, any_case = self._positions
        if (position := exact.get(name)) is not None:
            return position
        folded = any_case.get(name.casefold(), [])
        if len(folded) == 1:
            return folded[0]
        if folded:
            names = ", ".join(self._names[each] for each in folded)
            raise UserError(f"Several games are called {name}: write {names} exactly.")
        close = [self._names[any_case[each][0]] for each in _close_names(name.casefold(), [*any_case])]
        hint = f"did you mean {', '.join(close)}?" if close else "frames.games lists all names."
        raise UserError(f"There is no game {name}: {hint}")

    @cached_property
    def _positions(self) -> tuple[dict[str, int], dict[str, list[int]]]:
        """Positions by name, and by name without case."""
        any_case: dict[str, list[int]] = {}
        for position, name in enumerate(self._names):
            any_case.setdefault(name.casefold(), []).append(position)
        return {name: position for position, name in enumerate(self._names)}, any_case


def _close_names(name: str, names: list[str]) -> list[str]:
    """Return names that are spelt like a name or contain it, the closest first."""
    close = difflib.get_close_matches(name, names, CLOSE_NAMES)
    return [*close, *(each for each in names if name and name in each and each not in close)][:CLOSE_NAMES]


def _ranked(frame: pd.DataFrame) -> pd.DataFrame:
    frame.index = pd.RangeIndex(1, len(frame) + 1, name="rank")
    return frame
