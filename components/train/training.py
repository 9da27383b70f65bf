"""The stage: a snapshot → a trained model's folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from components.evaluate.holdout import HeldOut, hold_out, relevant_at
from components.evaluate.metrics import Recall
from components.predict.recommender import Recommender
from components.shared.code import code_version
from components.shared.console import log
from components.shared.errors import UserError
from components.shared.interactions import Interactions, cutoff_day, load_interactions, split_by_time
from components.shared.popularity import recent_popularity
from components.shared.snapshot import Snapshot
from components.train.corpus import Corpus
from components.train.fitting import Choice, choose, fit, recommender
from components.train.model import Config
from components.train.serving import ServingModel

VALIDATION = Recall(20)


@dataclass(frozen=True)
class TrainedModel:
    """A trained model in a few numbers; the recall is on the validation period, before the final fit."""

    version: str
    epochs: int
    scale: float
    recall_at_20: float
    parameters: int
    games: int
    users: int

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return asdict(self)


def train_model(snapshot: str | Path, model: str | Path, *, seed: int = 0, held_out_share: float = 0.1) -> TrainedModel:
    """Train the two towers on a snapshot and write the model's folder; what was in the folder is replaced.

    The newest `held_out_share` of the dated reviews are left to the evaluation. Of the rest, the newest share is the
    validation period, on which the scale and the number of epochs are chosen; the model is then trained afresh, with
    the same seed, on everything before the evaluation's period. The same snapshot, seed and code make the same weights.

    Args:
        snapshot: the snapshot's folder.
        model: the folder to write: `saved_model/`, `arrays.npz`, `vocabulary.json`, and `model.json` last.
        seed: of everything random.
        held_out_share: between 0 and 1.

    Raises:
        UserError: the snapshot holds too few dated reviews, users or games to learn from, or the loss is not finite.
    """
    tf.config.experimental.enable_op_determinism()
    opened, config = Snapshot.open(snapshot), Config()
    interactions, cutoff, past = _before_the_cutoff(opened, held_out_share)
    games = opened.table("games", ["game_id", "genres"]).sort_by("game_id")
    choice = _choose(opened, past, games, config, seed, held_out_share)
    log("train", f"chosen: scale {choice.scale:g}, {choice.epochs} epochs, recall@20 {choice.recall_at_20:.4f}")
    chosen = replace(config, scale=choice.scale)
    corpus = Corpus.of(past, games, chosen)
    towers = fit(corpus, chosen, seed, choice.epochs)
    version = _version(interactions, opened, config, seed, held_out_share)
    trained = recommender(corpus, towers, chosen, version)
    facts = TrainedModel(
        version,
        choice.epochs,
        choice.scale,
        round(choice.recall_at_20, 6),
        sum(array.size for array in vars(towers).values()),
        len(corpus.game_ids),
        len(corpus.histories),
    )
    described = {
        **asdict(facts),
        "config": asdict(chosen),
        "snapshot_id": opened.manifest.snapshot_id,
        "cutoff": _day(cutoff).isoformat(),
        "held_out_share": held_out_share,
        "seed": seed,
        "code_version": code_version(),
        "history": [asdict(epoch) for epoch in choice.tried],
    }
    _write(Path(model), trained, corpus, past, cutoff, described)
    log("train", f"model {version}: {facts.games:,} games, {facts.parameters:,} parameters")
    return facts


def _before_the_cutoff(snapshot: Snapshot, held_out_share: float) -> tuple[Interactions, int, Interactions]:
    """All dated interactions, the day on which the evaluation's period begins, and the interactions before it."""
    interactions = load_interactions(snapshot)
    if not interactions.dated.any():
        raise UserError(
            f"The snapshot {snapshot.root} holds no dated review by a known user: ingest reviews with dates and users."
        )
    cutoff = cutoff_day(interactions, held_out_share)
    past = load_interactions(snapshot, before=cutoff)
    if not len(past):
        raise UserError(
            f"The snapshot {snapshot.root} holds no review before {_day(cutoff)}, where the evaluation's period "
            f"begins: ingest reviews of more than one day."
        )
    if len(np.unique(past.games)) < 2:
        raise UserError(
            f"The snapshot {snapshot.root} holds reviews of one game only before {_day(cutoff)}: ingest reviews of "
            f"more games."
        )
    return interactions, cutoff, past


def _choose(snapshot: Snapshot, past: Interactions, games: pa.Table, config: Config, seed: int, share: float) -> Choice:
    cutoff = cutoff_day(past, share)
    earlier = load_interactions(snapshot, before=cutoff)
    game_ids = games["game_id"].to_numpy()
    held_out = hold_out(earlier, split_by_time(past, cutoff)[1], game_ids)
    if not len(held_out):
        raise UserError(
            f"No user of the snapshot {snapshot.root} has a review before {_day(cutoff)} and one of another known game "
            f"from then on, which the choice of the model needs: ingest more reviews."
        )
    recent = recent_popularity(np.searchsorted(game_ids, earlier.games), earlier.days, cutoff, len(game_ids))
    genres = games["genres"].to_pylist()

    def recall(model: Recommender) -> float:
        return _recall(model, held_out, game_ids, genres, recent)

    log("train", f"choosing on {len(held_out):,} users' new games from {_day(cutoff)} on")
    return choose(Corpus.of(earlier, games, config), recall, config, seed)


def _recall(model: Recommender, held_out: HeldOut, game_ids: Any, genres: Any, recent: Any) -> float:
    catalogue = model.for_catalogue(game_ids, genres, recent)
    ranked, _, _ = catalogue.recommend(held_out.history.offsets, held_out.history.games, VALIDATION.k)
    hits = relevant_at(ranked, held_out.relevant)
    return float(VALIDATION.per_user(hits, held_out.relevant.lengths).mean())


def _version(interactions: Interactions, snapshot: Snapshot, config: Config, seed: int, share: float) -> str:
    made_from = [snapshot.manifest.snapshot_id, asdict(config), seed, share, code_version()]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    return f"{_day(int(interactions.days.max())):%Y%m%d}-{digest[:8]}"


def _write(
    folder: Path,
    trained: Recommender,
    corpus: Corpus,
    past: Interactions,
    cutoff: int,
    described: dict[str, Any],
) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    np.savez(folder / "arrays.npz", **vars(trained.towers))
    vocabulary = {"games": corpus.game_ids.tolist(), "genres": list(corpus.genre_names)}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary) + "\n")
    rows = np.searchsorted(corpus.game_ids, past.games)
    recent = recent_popularity(rows, past.days, cutoff, len(corpus.game_ids))
    ServingModel(corpus.game_ids, trained.for_catalogue(corpus.game_ids, corpus.genres, recent)).save(
        folder / "saved_model"
    )
    # Last: a folder without it is not a model.
    (folder / "model.json").write_text(json.dumps(described, indent=2) + "\n")


def _day(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)
