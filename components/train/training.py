"""The stage: a snapshot → a trained model's folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from components.evaluate.holdout import hold_out
from components.evaluate.protocols import Split, snapshot_by_time
from components.shared.code import code_version
from components.shared.console import log
from components.shared.errors import UserError
from components.shared.histories import positions_of
from components.shared.interactions import Interactions, cutoff_day, load_interactions
from components.shared.popularity import recent_popularity
from components.shared.snapshot import Snapshot
from components.train.learning import Learned, learn
from components.train.model import Config
from components.train.serving import ServingModel


@dataclass(frozen=True)
class TrainedModel:
    """A trained model in a few numbers; the ranking is of the validation period, before the final fit."""

    version: str
    scale: float
    link_weight: float
    ndcg_at_10: float
    parameters: int
    games: int
    users: int

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return asdict(self)


def train_model(snapshot: str | Path, model: str | Path, *, seed: int = 0, held_out_share: float = 0.1) -> TrainedModel:
    """Train the two towers on a snapshot and write the model's folder; what was in the folder is replaced.

    The newest `held_out_share` of the dated reviews are left to the evaluation. Of the rest, the newest share is the
    validation period, on which the scale and the links are chosen; the model is then trained afresh, with the same
    seed, on everything before the evaluation's period. The same snapshot, seed and code make the same weights.

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
    version = _version(interactions, opened, config, seed, held_out_share)
    learned = learn(past, _validation(opened, past, games, held_out_share), games, config, seed, version)
    corpus, choice = learned.corpus, learned.choice
    facts = TrainedModel(
        version,
        choice.scale,
        choice.link_weight,
        round(choice.ndcg_at_10, 6),
        sum(array.size for array in learned.recommender.arrays().values()),
        len(corpus.game_ids),
        len(corpus.histories),
    )
    described = {
        **asdict(facts),
        "config": asdict(learned.config),
        "snapshot_id": opened.manifest.snapshot_id,
        "cutoff": _day(cutoff).isoformat(),
        "held_out_share": held_out_share,
        "seed": seed,
        "code_version": code_version(),
        "history": [asdict(trial) for trial in choice.trials],
    }
    _write(Path(model), learned, past, cutoff, described)
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


def _validation(snapshot: Snapshot, past: Interactions, games: pa.Table, share: float) -> Split:
    """The newest share of the past held out, as the evaluation holds out the newest share of everything."""
    cutoff = cutoff_day(past, share)
    split = snapshot_by_time(snapshot, past, cutoff)
    if not len(hold_out(split.past, split.future, games["game_id"].to_numpy())):
        raise UserError(
            f"No user of the snapshot {snapshot.root} has a review before {_day(cutoff)} and one of another known game "
            f"from then on, which the choice of the model needs: ingest more reviews."
        )
    log("train", f"the validation period begins on {_day(cutoff)}")
    return split


def _version(interactions: Interactions, snapshot: Snapshot, config: Config, seed: int, share: float) -> str:
    made_from = [snapshot.manifest.snapshot_id, asdict(config), seed, share, code_version()]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    return f"{_day(int(interactions.days.max())):%Y%m%d}-{digest[:8]}"


def _write(folder: Path, learned: Learned, past: Interactions, cutoff: int, described: dict[str, Any]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    corpus, trained = learned.corpus, learned.recommender
    np.savez(folder / "arrays.npz", allow_pickle=False, **trained.arrays())
    vocabulary = {"games": corpus.game_ids.tolist(), "genres": list(corpus.genre_names)}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary) + "\n")
    rows = positions_of(past.games, corpus.game_ids)
    recent = recent_popularity(rows, past.days, cutoff, len(corpus.game_ids))
    catalogue = trained.for_catalogue(corpus.game_ids, corpus.genres, recent)
    ServingModel(corpus.game_ids, catalogue).save(folder / "saved_model")
    # Last: a folder without it is not a model.
    (folder / "model.json").write_text(json.dumps(described, indent=2) + "\n")


def _day(day: int) -> date:
    return date(1970, 1, 1) + timedelta(days=day)
