"""The model's answers from plain arrays: no TensorFlow, the same scores as the SavedModel.

A user is the sum of the vectors of the games in the history, a candidate a vector of its own; a game's vector is an id
vector plus the mean of its genres' vectors, so a game that training never saw still has one. The score is

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
from components.predict.ranking import top_k
from components.shared.errors import UserError
from components.shared.histories import positions_of
from components.shared.interactions import Floats, Ints, Longs

BLOCK_SCORES = 1 << 24
"""Scores held at a time, 64 MB of float32: what bounds the memory, whatever the number of users."""


@dataclass(frozen=True)
class Towers:
    """The weights of both towers: a row a game of the vocabulary, a row a genre, float32, of the same width d.

    Attributes:
        history_games: [V, d], a game as part of a history.
        history_genres: [G, d].
        candidate_games: [V, d], a game as a candidate.
        candidate_genres: [G, d].
    """

    history_games: Floats
    history_genres: Floats
    candidate_games: Floats
    candidate_genres: Floats


@dataclass(frozen=True)
class Recommender:
    """A trained model: its towers, its links, the game ids and genre names of their rows, and the score's constants."""

    version: str
    game_ids: Ints
    genre_names: tuple[str, ...]
    towers: Towers
    links: Links
    scale: float
    popularity_weight: float
    popularity_smoothing: float

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
            tuple(vocabulary["genres"]),
            towers,
            links,
            config["scale"],
            config["popularity_weight"],
            config["popularity_smoothing"],
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Towers and links by the names that `load` reads."""
        return {**vars(self.towers), **{f"link_{name}": array for name, array in vars(self.links).items()}}

    def for_catalogue(
        self, game_ids: Ints, genres: Sequence[Sequence[str]], popularity: npt.NDArray[np.float64]
    ) -> Catalogue:
        """Prepare the ranking of a catalogue, which may hold games that training never saw, and lack some that it saw.

        Args:
            game_ids: int32 [N], distinct.
            genres: each game's genre names, N sequences; names that training never saw are passed over.
            popularity: float64 [N], each game's recent popularity as of the day of serving.
        """
        games = positions_of(game_ids, self.game_ids)
        offsets, genre_rows = genre_table(self.genre_names, genres)
        towers = self.towers
        return Catalogue(
            history=_item_vectors(towers.history_games, towers.history_genres, games, offsets, genre_rows),
            candidates=_normalised(
                _item_vectors(towers.candidate_games, towers.candidate_genres, games, offsets, genre_rows)
            ),
            links=self.links.for_positions(games, len(game_ids)),
            popularity_offset=popularity_offset(popularity, self.popularity_weight, self.popularity_smoothing),
            scale=self.scale,
        )


@dataclass(frozen=True)
class Catalogue:
    """A catalogue of N games, ready for ranking; games are meant by their position in it.

    Attributes:
        history: float32 [N, d], each game's vector as part of a history.
        candidates: float32 [N, d], each game's vector as a candidate, of length one (zero where nothing is known).
        links: between the catalogue's positions.
        popularity_offset: float32 [N], what recent popularity adds to each game's score.
        scale: what the cosine is multiplied by.
    """

    history: Floats
    candidates: Floats
    links: Links
    popularity_offset: Floats
    scale: float

    def __len__(self) -> int:
        return len(self.candidates)

    def queries(self, offsets: npt.NDArray[Any], games: npt.NDArray[Any]) -> Floats:
        """The query tower: float32 [B, d] of length one, zero for an empty history (arguments as in `recommend`)."""
        return _normalised(_segment_sums(self.history[games], np.asarray(offsets, dtype=np.int64)))

    def scores(self, offsets: Longs, games: Ints) -> Floats:
        """Every user's score of every game, float32 [B, N] (arguments as in `recommend`)."""
        scores: Floats = np.matmul(self.queries(offsets, games) * np.float32(self.scale), self.candidates.T)
        scores += self.popularity_offset
        if len(self.links.games):
            source, places = self.links.from_rows(games)
            users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
            np.add.at(scores, (users[source], self.links.games[places]), self.links.weights[places])
        return scores

    def recommend(
        self, offsets: Longs, games: Ints, k: int, *, excluded: tuple[Longs, Ints] | None = None
    ) -> tuple[Ints, Floats, Ints]:
        """The k best games for each of B users, best first; equal scores in the order of the catalogue.

        Args:
            offsets: int64 [B + 1]; user b's history is `games[offsets[b]:offsets[b + 1]]`.
            games: int32, the histories' games as positions in the catalogue, one after the other.
            k: how many to recommend.
            excluded: offsets and games, in the same form, that must not be recommended; the history where left out.

        Returns:
            The games as positions, int32 [B, k], -1 where fewer than k are left; their scores, float32 [B, k], -inf
            there; and the position of the history's game that contributed most to each, int32 [B, k], the earliest of
            equals, -1 where there is no recommendation or no history.
        """
        offsets = np.asarray(offsets, dtype=np.int64)
        excluded_offsets, excluded_games = (offsets, games) if excluded is None else excluded
        n_users = len(offsets) - 1
        positions = np.full((n_users, k), -1, dtype=np.int32)
        values = np.full((n_users, k), -np.inf, dtype=np.float32)
        because = np.full((n_users, k), -1, dtype=np.int32)
        block = max(1, BLOCK_SCORES // max(1, len(self)))
        for start in range(0, n_users, block):
            users = slice(start, min(start + block, n_users))
            history = _rows(offsets, games, users)
            scores = self.scores(*history)
            without = _rows(excluded_offsets, excluded_games, users)
            scores[np.repeat(np.arange(len(scores)), np.diff(without[0])), without[1]] = -np.inf
            positions[users], values[users] = top_k(scores, k)
            because[users] = self._because(*history, positions[users])
        return positions, values, because

    def _because(self, offsets: Longs, games: Ints, positions: Ints) -> Ints:
        # The cosine is a sum over the history's games, divided by one length, and the links are a sum: the largest term
        # contributed most.
        because = np.full(positions.shape, -1, dtype=np.int32)
        lengths = np.diff(offsets)
        filled = np.flatnonzero(lengths)
        if not len(filled):
            return because
        vectors = self.history[games]
        users = np.repeat(np.arange(len(lengths)), lengths)
        sums = np.linalg.norm(_segment_sums(vectors, offsets), axis=1)
        factors = (self.scale / np.where(sums > 0, sums, 1))[users]
        starts = offsets[filled]
        for rank in range(positions.shape[1]):
            recommended = positions[users, rank]
            terms = factors * np.einsum("nd,nd->n", vectors, self.candidates[recommended])
            terms += self.links.between(games, recommended)
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


def genre_table(genre_names: Sequence[str], genres: Sequence[Sequence[str]]) -> tuple[Longs, Longs]:
    """Each game's genres as rows of `genre_names`, CSR: int64 [N + 1] and int64; unknown names are passed over."""
    row_of = {name: row for row, name in enumerate(genre_names)}
    known = [[row_of[name] for name in names if name in row_of] for names in genres]
    offsets = np.zeros(len(known) + 1, dtype=np.int64)
    np.cumsum([len(rows) for rows in known], out=offsets[1:])
    return offsets, np.fromiter((row for rows in known for row in rows), dtype=np.int64, count=int(offsets[-1]))


def _item_vectors(ids: Floats, genres: Floats, rows: Ints, genre_offsets: Longs, genre_rows: Longs) -> Floats:
    means = _segment_sums(genres[genre_rows], genre_offsets)
    means /= np.maximum(np.diff(genre_offsets), 1)[:, None].astype(np.float32)
    known = rows >= 0
    means[known] += ids[rows[known]]
    return means


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


def _rows(offsets: Longs, games: Ints, users: slice) -> tuple[Longs, Ints]:
    chosen = np.asarray(offsets[users.start : users.stop + 1], dtype=np.int64)
    return chosen - chosen[0], np.asarray(games)[chosen[0] : chosen[-1]]
