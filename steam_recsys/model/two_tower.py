"""The two-tower model as plain arrays: the same scores as the SavedModel, without TensorFlow.

A user vector is the weighted sum of the vectors of the games in the history. A game vector, as part of a history or as
a candidate, is an ID vector plus the weighted sum of its attributes' vectors, so a game that training never saw has a
vector too. The score is

    taste = scale * cos(user, candidate) + item-item weights from the history's games to the candidate
            + weights from the newest of these games to the candidate as the next one
            + sequence scale * cos(user, candidate) of the sequential tower, if there is one
    shares = sum over decays of decay weight * log(smoothed share of recent popularity)
    prior = shares + top weight * max(0, shares - shares of the tenth most popular game)
    score = taste + popularity weight * prior

The few most popular games are likely for everybody; for the others, taste matters more. With a top weight, popularity
can count much at the top and little below it, so that the rest of a page is the user's own.

(two towers: Covington et al. 2016, "Deep Neural Networks for YouTube Recommendations", section 3; cosine with a
temperature: Yi et al. 2019, "Sampling-Bias-Corrected Neural Modeling", section 3; towers that generalise beside weights
that memorise: Cheng et al. 2016, "Wide & Deep Learning for Recommender Systems", section 3.)
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import Float32Array, Float64Array, Int32Array, Int64Array, normalised, offsets_from_lengths
from steam_recsys.data.games import Games
from steam_recsys.data.histories import positions_of
from steam_recsys.errors import other_version_error
from steam_recsys.model.history_weights import DEFAULT_HISTORY_WEIGHTS, HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights, NextGames
from steam_recsys.model.scorer import PAGE_GAMES, Scorer, segment_sums
from steam_recsys.model.sequential import SequentialTower
from steam_recsys.storage.model_store import ARRAYS, DESCRIPTION, VOCABULARY, open_model


@dataclass(frozen=True)
class Towers:
    """The weights of both towers, float32: one row per game of the vocabulary or per attribute, all of width d.

    Attributes:
        history_games: [V, d], games as part of a history.
        history_attributes: [A, d].
        candidate_games: [V, d], games as candidates.
        candidate_attributes: [A, d].
    """

    history_games: Float32Array
    history_attributes: Float32Array
    candidate_games: Float32Array
    candidate_attributes: Float32Array


@dataclass(frozen=True)
class TwoTowerArrays:
    """A trained model.

    Attributes:
        version: The model's version.
        game_ids: int32 [V], the vocabulary, ascending.
        attribute_names: The names of the A attributes.
        towers: The weights of both towers.
        item_item: Item-item weights between the games of the vocabulary.
        decay_weights: float64 [D], the weight of each decay in the popularity prior.
        popularity_weight: Factor of the popularity prior in the list of the most relevant games.
        interests_weight: The same in the lists of games of the user's taste.
        scale: Factor of the cosine.
        popularity_smoothing: Number of reviews added to each game's popularity.
        top_weight: Popularity above that of the tenth most popular game counts 1 + this times.
        history_weights: How much each game of a history counts.
        next_games: Weights from the newest games of a history to those that follow; None if the model has none.
        sequence: The sequential tower; None for none.
        sequence_scale: Factor of its cosine, above 0 if there is one.
    """

    version: str
    game_ids: Int32Array
    attribute_names: tuple[str, ...]
    towers: Towers
    item_item: ItemItemWeights
    decay_weights: Float64Array
    popularity_weight: float
    interests_weight: float
    scale: float
    popularity_smoothing: float
    top_weight: float = 0.0
    history_weights: HistoryWeights = DEFAULT_HISTORY_WEIGHTS
    next_games: NextGames | None = None
    sequence: SequentialTower | None = None
    sequence_scale: float = 0.0

    @classmethod
    def load(cls, path: str | Path) -> TwoTowerArrays:
        """Load a model folder that training wrote. What is read is verified.

        Raises:
            ArtifactError: The folder holds no complete model, a damaged one, or one of another version of this project.
        """
        model = open_model(path)
        with model.file(DESCRIPTION) as described, model.file(VOCABULARY) as named, model.file(ARRAYS) as stored:
            try:
                description, vocabulary = json.loads(described.read_text()), json.loads(named.read_text())
                with np.load(stored, allow_pickle=False) as arrays:
                    return cls._decode(description, vocabulary, arrays)
            except (KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
                raise other_version_error(f"{path} holds a model", error) from None

    @classmethod
    def _decode(
        cls, description: Mapping[str, Any], vocabulary: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
    ) -> TwoTowerArrays:
        """Make a model from the content of its files."""
        towers = Towers(**{name: arrays[name] for name in Towers.__dataclass_fields__})
        item_item, next_games = _table(arrays, "item_item_"), None
        config = description["config"]
        if config["next_weight"]:
            next_games = NextGames(_table(arrays, "next_"), config["next_recency"])
        sequence_scale = config["sequence"]["weight"] * config["sequence"]["scale"]
        return cls(
            version=description["version"],
            game_ids=np.asarray(vocabulary["games"], dtype=np.int32),
            attribute_names=tuple(vocabulary["attributes"]),
            towers=towers,
            item_item=item_item,
            decay_weights=arrays["decay_weights"],
            popularity_weight=config["popularity_weight"],
            interests_weight=config["interests_weight"],
            scale=config["scale"],
            popularity_smoothing=config["popularity_smoothing"],
            top_weight=config["top_weight"],
            history_weights=HistoryWeights(**config["history_weights"]),
            next_games=next_games,
            sequence=SequentialTower.from_arrays(arrays, "sequence_") if sequence_scale else None,
            sequence_scale=sequence_scale,
        )

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all weights by the names that `load` reads."""
        parts = {f"item_item_{name}": array for name, array in vars(self.item_item).items()}
        if self.next_games is not None:
            parts |= {f"next_{name}": array for name, array in vars(self.next_games.weights).items()}
        if self.sequence:
            parts |= {f"sequence_{name}": array for name, array in self.sequence.arrays().items()}
        return {**vars(self.towers), **parts, "decay_weights": self.decay_weights}

    def for_catalogue(self, catalogue: Games, popularity: Float64Array) -> Scorer:
        """Prepare a scorer for a catalogue, which need not have the same games as the vocabulary.

        Args:
            catalogue: N games; attributes that training never saw are ignored.
            popularity: float64 [D, N], each game's recent popularity on the day of serving, by decay.
        """
        rows = positions_of(catalogue.ids, self.game_ids)
        prior = popularity_prior(log_shares(popularity, self.popularity_smoothing), self.decay_weights)
        attributes, towers = AttributeTable.from_games(self.attribute_names, catalogue), self.towers
        return Scorer(
            history=_item_vectors(towers.history_games, towers.history_attributes, rows, attributes),
            candidates=normalised(_item_vectors(towers.candidate_games, towers.candidate_attributes, rows, attributes)),
            item_item=self.item_item.reindex(rows),
            popularity_prior=with_top_weight(prior, self.top_weight),
            popularity_weight=self.popularity_weight,
            scale=self.scale,
            history_weights=self.history_weights,
            next_games=None if self.next_games is None else self.next_games.reindex(rows),
            sequence=self.sequence.reindex(rows) if self.sequence else None,
            sequence_scale=self.sequence_scale,
        )


@dataclass(frozen=True)
class AttributeTable:
    """The attributes of N games as a sparse matrix in CSR form; its columns are a vocabulary of names.

    Attributes:
        offsets: int64 [N + 1].
        rows: int64, the attribute of each entry, as a row of the attributes' weights.
        weights: float32, the value of each entry.
    """

    offsets: Int64Array
    rows: Int64Array
    weights: Float32Array

    @classmethod
    def from_games(cls, names: Sequence[str], games: Games) -> AttributeTable:
        """Look up the attributes of N games in a vocabulary; names outside it are ignored."""
        row_of = {name: row for row, name in enumerate(names)}
        flat = games.flat_attributes
        rows = np.array([row_of.get(name, -1) for name in flat.names], dtype=np.int64)[flat.columns]
        known = rows >= 0
        return cls(offsets_from_lengths(known)[flat.offsets], rows[known], flat.weights[known])


def _table(arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> ItemItemWeights:
    """Return the item-item weights whose arrays have names that begin with a prefix."""
    return ItemItemWeights(**{name: arrays[f"{prefix}{name}"] for name in ItemItemWeights.__dataclass_fields__})


def log_shares(popularity: Float64Array, smoothing: float) -> Float32Array:
    """Compute `log((p + smoothing) / sum(p + smoothing))` over the last axis, float32 of the shape of `popularity`."""
    smoothed = popularity + smoothing
    shares: Float32Array = np.log(smoothed / smoothed.sum(axis=-1, keepdims=True)).astype(np.float32)
    return shares


def popularity_prior(shares: Float32Array, weights: Float64Array) -> Float32Array:
    """Compute the popularity prior: the weighted sum of log shares.

    Args:
        shares: float32 [D, ..., N], log shares by decay.
        weights: float64 [D].

    Returns:
        float32 [..., N].
    """
    return np.tensordot(weights.astype(np.float32), shares, axes=1)


def with_top_weight(prior: Float32Array, weight: float) -> Float32Array:
    """Let popularity above that of the tenth most popular game count 1 + weight times.

    The order of the games by popularity stays.

    Args:
        prior: float32 [N], the popularity prior.
        weight: The top weight, at least 0.

    Returns:
        float32 [N].
    """
    if not len(prior):
        return prior
    rank = min(PAGE_GAMES, len(prior))
    above = np.maximum(prior - np.partition(prior, -rank)[-rank], 0)
    raised: Float32Array = prior + np.float32(weight) * above
    return raised


def _item_vectors(ids: Float32Array, attributes: Float32Array, rows: Int32Array, table: AttributeTable) -> Float32Array:
    """Compute the vectors of N games.

    Args:
        ids: float32 [V, d], ID vectors of the vocabulary.
        attributes: float32 [A, d], attribute vectors.
        rows: int32 [N], each game's row of the vocabulary; -1 if training never saw it.
        table: The games' attributes.

    Returns:
        float32 [N, d].
    """
    vectors = segment_sums(attributes[table.rows] * table.weights[:, None], table.offsets)
    trained = rows >= 0
    vectors[trained] += ids[rows[trained]]
    return vectors
