"""The model's answers from plain arrays: no TensorFlow, the same scores as the SavedModel.

A user is the weighted sum of the vectors of the games in the history, a candidate a vector of its own; a game's vector
is an id vector plus the weighted sum of its attributes' vectors, so a game that training never saw still has one. The
score is

    scale * cos(user, candidate) + links from the history's games to the candidate
        + sum over decays of popularity weight * log(smoothed share of recent popularity)

(two towers: Covington et al. 2016, "Deep Neural Networks for YouTube Recommendations", section 3; cosine with a
temperature: Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling", section 3; towers that generalise beside links
that remember: Cheng et al. 2016, "Wide & Deep Learning for TwoTowerArrays Systems", section 3.)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from steam_recsys.data.games import Attributes, Games
from steam_recsys.data.histories import positions_of
from steam_recsys.errors import UserError, other_version_error
from steam_recsys.model.history_weights import UNIFORM, HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.scorer import Scorer, normalised, segment_sums


@dataclass(frozen=True)
class Towers:
    """The weights of both towers: a row a game of the vocabulary, a row an attribute, float32, of the same width d.

    Attributes:
        history_games: [V, d], a game as part of a history.
        history_attributes: [A, d].
        candidate_games: [V, d], a game as a candidate.
        candidate_attributes: [A, d].
    """

    history_games: Float32Array
    history_attributes: Float32Array
    candidate_games: Float32Array
    candidate_attributes: Float32Array


@dataclass(frozen=True)
class TwoTowerArrays:
    """A trained model: its towers, its links, what their rows stand for, and the score's constants.

    `popularity_weights` is float64 [D], one for each decay of popularity.
    """

    version: str
    game_ids: Int32Array
    attribute_names: tuple[str, ...]
    towers: Towers
    links: ItemItemWeights
    popularity_weights: Float64Array
    scale: float
    popularity_smoothing: float
    history_weights: HistoryWeights = UNIFORM

    @classmethod
    def load(cls, path: str | Path) -> TwoTowerArrays:
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
                links = ItemItemWeights(
                    **{name: arrays[f"link_{name}"] for name in ItemItemWeights.__dataclass_fields__}
                )
                popularity_weights = arrays["popularity_weights"]
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(
                f"{root} holds no complete model ({Path(error.filename).name} is missing): train it again."
            ) from None
        except KeyError as error:
            raise other_version_error(f"{root} holds a model", error) from None
        config = described["config"]
        return cls(
            described["version"],
            np.asarray(vocabulary["games"], dtype=np.int32),
            tuple(vocabulary["attributes"]),
            towers,
            links,
            popularity_weights,
            config["scale"],
            config["popularity_smoothing"],
            HistoryWeights(**config["history_weights"]),
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Towers, links and popularity weights by the names that `load` reads."""
        links = {f"link_{name}": array for name, array in vars(self.links).items()}
        return {**vars(self.towers), **links, "popularity_weights": self.popularity_weights}

    def for_catalogue(self, catalogue: Games, popularity: Float64Array) -> Scorer:
        """Prepare the ranking of a catalogue, which may hold games that training never saw, and lack some that it saw.

        Args:
            catalogue: N games; attributes that training never saw are passed over.
            popularity: float64 [D, N], each game's recent popularity as of the day of serving, under each decay.
        """
        games = positions_of(catalogue.ids, self.game_ids)
        known, towers = AttributeTable.from_names(self.attribute_names, catalogue.attributes), self.towers
        return Scorer(
            history=_item_vectors(towers.history_games, towers.history_attributes, games, known),
            candidates=normalised(_item_vectors(towers.candidate_games, towers.candidate_attributes, games, known)),
            links=self.links.for_positions(games, len(catalogue)),
            popularity_offset=popularity_offset(
                log_shares(popularity, self.popularity_smoothing), self.popularity_weights
            ),
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

    offsets: Int64Array
    rows: Int64Array
    weights: Float32Array

    @classmethod
    def from_names(cls, names: Sequence[str], attributes: Sequence[Attributes]) -> AttributeTable:
        """Look the names up; unknown ones are passed over."""
        row_of = {name: row for row, name in enumerate(names)}
        known = [[(row_of[name], weight) for name, weight in game.items() if name in row_of] for game in attributes]
        offsets = np.zeros(len(known) + 1, dtype=np.int64)
        np.cumsum([len(rows) for rows in known], out=offsets[1:])
        flat = np.array([pair for rows in known for pair in rows], dtype=np.float64).reshape(-1, 2)
        return cls(offsets, flat[:, 0].astype(np.int64), flat[:, 1].astype(np.float32))


def log_shares(popularity: Float64Array, smoothing: float) -> Float32Array:
    """`log((p + smoothing) / sum(p + smoothing))` over the last axis, float32 of the shape of `popularity`."""
    smoothed = popularity + smoothing
    shares: Float32Array = np.log(smoothed / smoothed.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def popularity_offset(shares: Float32Array, weights: Float64Array) -> Float32Array:
    """What popularity adds to the scores, float32 [..., N]: the weighted sum of log shares, float32 [D, ..., N]."""
    return np.tensordot(weights.astype(np.float32), shares, axes=1)


def _item_vectors(ids: Float32Array, attributes: Float32Array, rows: Int32Array, known: AttributeTable) -> Float32Array:
    vectors = segment_sums(attributes[known.rows] * known.weights[:, None], known.offsets)
    trained = rows >= 0
    vectors[trained] += ids[rows[trained]]
    return vectors
