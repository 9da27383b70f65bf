"""The model's answers from plain arrays: no TensorFlow, the same scores as the SavedModel.

A user is the weighted sum of the vectors of the games in the history, a candidate a vector of its own; a game's vector
is an id vector plus the weighted sum of its attributes' vectors, so a game that training never saw still has one. The
score is

    scale * cos(user, candidate) + links from the history's games to the candidate
        + popularity weight * log(smoothed share of recent popularity)

(two towers: Covington et al. 2016, "Deep Neural Networks for YouTube Recommendations", section 3; cosine with a
temperature: Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling", section 3; towers that generalise beside links
that remember: Cheng et al. 2016, "Wide & Deep Learning for Recommender Systems", section 3.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.predict.links import Links
from components.predict.query import UNIFORM, HistoryWeights
from components.predict.ranking import top_k
from components.shared.errors import UserError
from components.shared.games import Attributes, Games
from components.shared.histories import Histories, positions_of
from components.shared.interactions import Floats, Ints, Longs

BLOCK_SCORES = 1 << 24
"""Scores held at a time, 64 MB of float32: what bounds the memory, whatever the number of users."""

LAST_RESORT = -1e9
"""Added to what a game contributed that its user does not recommend, so that another one is named as the reason."""


@dataclass(frozen=True)
class Towers:
    """The weights of both towers: a row a game of the vocabulary, a row an attribute, float32, of the same width d.

    Attributes:
        history_games: [V, d], a game as part of a history.
        history_attributes: [A, d].
        candidate_games: [V, d], a game as a candidate.
        candidate_attributes: [A, d].
    """

    history_games: Floats
    history_attributes: Floats
    candidate_games: Floats
    candidate_attributes: Floats


@dataclass(frozen=True)
class Recommender:
    """A trained model: its towers, its links, what their rows stand for, and the score's constants."""

    version: str
    game_ids: Ints
    attribute_names: tuple[str, ...]
    towers: Towers
    links: Links
    scale: float
    popularity_weight: float
    popularity_smoothing: float
    history_weights: HistoryWeights = UNIFORM

    @classmethod
    def load(cls, path: str | Path) -> Recommender:
        """Load a model folder as training writes it.

        Raises:
            UserError: the folder holds no complete model.
        """
        root = Path(path)
        try:
            described = json.loads((root / "model.json").read_text())
            vocabulary = json.loads((root / "vocabulary.json").read_text())
            with np.load(root / "arrays.npz", allow_pickle=False) as arrays:
                towers = Towers(**{name: arrays[name] for name in Towers.__dataclass_fields__})
                links = Links(**{name: arrays[f"link_{name}"] for name in Links.__dataclass_fields__})
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(
                f"{root} holds no complete model ({Path(error.filename).name} is missing): train it again."
            ) from None
        except KeyError as error:
            raise UserError(
                f"{root} holds a model of another version of this project ({error.args[0]}): train again, in a store "
                f"without it."
            ) from None
        config = described["config"]
        return cls(
            described["version"],
            np.asarray(vocabulary["games"], dtype=np.int32),
            tuple(vocabulary["attributes"]),
            towers,
            links,
            config["scale"],
            config["popularity_weight"],
            config["popularity_smoothing"],
            HistoryWeights(**config["history_weights"]),
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Towers and links by the names that `load` reads."""
        return {**vars(self.towers), **{f"link_{name}": array for name, array in vars(self.links).items()}}

    def for_catalogue(self, catalogue: Games, popularity: npt.NDArray[np.float64]) -> Catalogue:
        """Prepare the ranking of a catalogue, which may hold games that training never saw, and lack some that it saw.

        Args:
            catalogue: N games; attributes that training never saw are passed over.
            popularity: float64 [N], each game's recent popularity as of the day of serving.
        """
        games = positions_of(catalogue.ids, self.game_ids)
        known, towers = AttributeTable.of(self.attribute_names, catalogue.attributes), self.towers
        return Catalogue(
            history=_item_vectors(towers.history_games, towers.history_attributes, games, known),
            candidates=_normalised(_item_vectors(towers.candidate_games, towers.candidate_attributes, games, known)),
            links=self.links.for_positions(games, len(catalogue)),
            popularity_offset=popularity_offset(popularity, self.popularity_weight, self.popularity_smoothing),
            scale=self.scale,
            history_weights=self.history_weights,
        )


@dataclass(frozen=True)
class AttributeTable:
    """The attributes of N games as rows of a vocabulary of names, CSR.

    Attributes:
        offsets: int64 [N + 1].
        rows: int64.
        weights: float32.
    """

    offsets: Longs
    rows: Longs
    weights: Floats

    @classmethod
    def of(cls, names: Sequence[str], attributes: Sequence[Attributes]) -> AttributeTable:
        """Look the names up; unknown ones are passed over."""
        row_of = {name: row for row, name in enumerate(names)}
        known = [[(row_of[name], weight) for name, weight in game.items() if name in row_of] for game in attributes]
        offsets = np.zeros(len(known) + 1, dtype=np.int64)
        np.cumsum([len(rows) for rows in known], out=offsets[1:])
        flat = np.array([pair for rows in known for pair in rows], dtype=np.float64).reshape(-1, 2)
        return cls(offsets, flat[:, 0].astype(np.int64), flat[:, 1].astype(np.float32))


@dataclass(frozen=True)
class Catalogue:
    """A catalogue of N games, ready for ranking; games are meant by their position in it.

    Attributes:
        history: float32 [N, d], each game's vector as part of a history.
        candidates: float32 [N, d], each game's vector as a candidate, of length one (zero where nothing is known).
        links: between the catalogue's positions.
        popularity_offset: float32 [N], what recent popularity adds to each game's score.
        scale: what the cosine is multiplied by.
        history_weights: how much each game of a history counts.
    """

    history: Floats
    candidates: Floats
    links: Links
    popularity_offset: Floats
    scale: float
    history_weights: HistoryWeights

    def __len__(self) -> int:
        return len(self.candidates)

    def queries(self, history: Histories) -> Floats:
        """The query tower: float32 [B, d] of length one, zero for an empty history."""
        vectors = self.history[history.games] * self.history_weights.of(history)[:, None]
        return _normalised(_segment_sums(vectors, history.offsets))

    def scores(self, history: Histories) -> Floats:
        """Every user's score of every game, float32 [B, N]."""
        scores: Floats = np.matmul(self.queries(history) * np.float32(self.scale), self.candidates.T)
        scores += self.popularity_offset
        if len(self.links.games):
            source, places = self.links.from_rows(history.games)
            users = np.repeat(np.arange(len(history)), history.lengths)
            weights = self.links.weights[places] * self.history_weights.of(history)[source]
            np.add.at(scores, (users[source], self.links.games[places]), weights)
        return scores

    def recommend(self, history: Histories, k: int, *, excluded: Histories | None = None) -> tuple[Ints, Floats, Ints]:
        """The k best games for each of B users, best first; equal scores in the order of the catalogue.

        Args:
            history: of the users, as positions in the catalogue.
            k: how many to recommend.
            excluded: games that must not be recommended to the same users; the history's where left out.

        Returns:
            The games as positions, int32 [B, k], -1 where fewer than k are left; their scores, float32 [B, k], -inf
            there; and the position of the history's game that contributed most to each, int32 [B, k], the earliest of
            equals, -1 where there is no recommendation or no history. A game that the user does not recommend is a
            reason only where there is no other.
        """
        excluded = history if excluded is None else excluded
        n_users = len(history)
        positions = np.full((n_users, k), -1, dtype=np.int32)
        values = np.full((n_users, k), -np.inf, dtype=np.float32)
        because = np.full((n_users, k), -1, dtype=np.int32)
        block = max(1, BLOCK_SCORES // max(1, len(self)))
        for start in range(0, n_users, block):
            users = np.arange(start, min(start + block, n_users))
            known, without = history.take(users), excluded.take(users)
            scores = self.scores(known)
            scores[np.repeat(np.arange(len(users)), without.lengths), without.games] = -np.inf
            positions[users], values[users] = top_k(scores, k)
            because[users] = self._because(known, positions[users])
        return positions, values, because

    def _because(self, history: Histories, positions: Ints) -> Ints:
        # The cosine is a sum over the history's games, divided by one length, and the links are a sum: the largest term
        # contributed most.
        because = np.full(positions.shape, -1, dtype=np.int32)
        lengths, games = history.lengths, history.games
        filled = np.flatnonzero(lengths)
        if not len(filled):
            return because
        weights = self.history_weights.of(history)
        vectors = self.history[games] * weights[:, None]
        users = np.repeat(np.arange(len(lengths)), lengths)
        sums = np.linalg.norm(_segment_sums(vectors, history.offsets), axis=1)
        factors = (self.scale / np.where(sums > 0, sums, 1))[users]
        starts = history.offsets[filled]
        last_resort = np.where(history.recommended, 0.0, LAST_RESORT)
        for rank in range(positions.shape[1]):
            recommended = positions[users, rank]
            terms = factors * np.einsum("nd,nd->n", vectors, self.candidates[recommended])
            terms += self.links.between(games, recommended) * weights
            terms = terms + last_resort
            best = np.repeat(np.maximum.reduceat(terms, starts), lengths[filled])
            largest = np.flatnonzero(terms == best)
            _, first = np.unique(users[largest], return_index=True)
            because[filled, rank] = games[largest[first]]
        return np.where(positions >= 0, because, np.int32(-1))


def popularity_offset(popularity: npt.NDArray[np.float64], weight: float, smoothing: float) -> Floats:
    """`weight * log((p + smoothing) / sum(p + smoothing))`, float32 of the shape [N] of `popularity`."""
    smoothed = popularity + smoothing
    offset: Floats = (weight * np.log(smoothed / smoothed.sum())).astype(np.float32)
    return offset


def _item_vectors(ids: Floats, attributes: Floats, rows: Ints, known: AttributeTable) -> Floats:
    vectors = _segment_sums(attributes[known.rows] * known.weights[:, None], known.offsets)
    trained = rows >= 0
    vectors[trained] += ids[rows[trained]]
    return vectors


def _segment_sums(vectors: Floats, offsets: Longs) -> Floats:
    """The sum of each segment's vectors, float32 [B, d]; zero for an empty one."""
    sums = np.zeros((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        sums[filled] = np.add.reduceat(vectors, offsets[filled], axis=0)
    return sums


def _normalised(vectors: Floats) -> Floats:
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    lengths[lengths == 0] = 1
    normalised: Floats = vectors / lengths[:, None]
    return normalised
