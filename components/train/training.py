"""The stage: a snapshot → a trained model's folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from components.train.artifact import write_model
from components.train.checkpoints import Checkpoints
from components.train.learning import learn
from components.train.model import Config
from components.train.trainer import Trainer
from components.train.workers import workers
from steam_recsys import code_version
from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.interactions import Interactions, cutoff_day, date_of, day_of, load_interactions
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.evaluation.holdout import hold_out
from steam_recsys.evaluation.splits import Split, snapshot_by_time
from steam_recsys.logging import log
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import DESCRIPTION, current_champion, evaluated_part, stored_model


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


@dataclass(frozen=True)
class WarmStart:
    """The champion whose weights a training starts from: its version and the model that was evaluated."""

    version: str
    model: TwoTowerArrays


def train_model(
    snapshot: str | Path, model: str | Path, store: str, *, seed: int = 0, held_out_share: float = 0.1
) -> TrainedModel:
    """Train the two towers on a snapshot and write the model's folder; what was in the folder is replaced.

    The newest `held_out_share` of the dated reviews are left to the evaluation. Of the rest, the newest share is the
    validation period, on which the scale, the links and the history's weights are chosen; the model is then trained
    afresh, with the same seed, on everything before the evaluation's period, from the champion's weights where there is
    a champion that knows nothing of that period. The same snapshot, champion, seed and code make the same weights, also
    when training is interrupted and started again.

    Args:
        snapshot: the snapshot's folder.
        model: the folder to write: `saved_model/`, `arrays.npz`, `vocabulary.json`, and `model.json` last.
        store: with the champion, if there is one, and the checkpoints of an interrupted training.
        seed: of everything random.
        held_out_share: between 0 and 1.

    Raises:
        UserError: the snapshot holds too few dated reviews, users or games to learn from, or the loss is not finite.
    """
    tf.config.experimental.enable_op_determinism()
    crew = workers()
    opened, config = Snapshot.open(snapshot), Config()
    interactions, cutoff, past = _before_the_cutoff(opened, held_out_share)
    games = Games.from_table(opened.table("games", GAME_COLUMNS))
    warm = _warm_start(store, opened.manifest.snapshot_id, cutoff)
    version = _version(interactions, opened, config, seed, held_out_share, warm)
    trainer = Trainer(seed, crew, Checkpoints.for_version(store, version))
    validation = _validation(opened, past, games, held_out_share)
    learned, choice = learn(past, validation, games, config, trainer, version, warm.model if warm else None)
    facts = TrainedModel(
        version,
        choice.config.scale,
        choice.config.link_weight,
        round(choice.ndcg_at_10, 6),
        sum(array.size for array in learned.recommender.arrays().values()),
        len(learned.corpus.games),
        learned.corpus.training_set.users,
    )
    described = {
        **asdict(facts),
        "config": asdict(learned.config),
        "steps": learned.steps,
        "losses": learned.losses,
        "snapshot_id": opened.manifest.snapshot_id,
        "cutoff": date_of(cutoff).isoformat(),
        "held_out_share": held_out_share,
        "catalogue_games": len(games),
        "seed": seed,
        "warm_start": warm.version if warm else None,
        "new_rows": _new_rows(learned.recommender, warm.model) if warm else None,
        "code_version": code_version(),
        "history": [asdict(trial) for trial in choice.trials],
    }
    crew.meet()
    if crew.chief:
        write_model(Path(model), learned, past, cutoff, described)
        trainer.clear()
    log("train", f"model {version}: {facts.games:,} games, {facts.parameters:,} parameters")
    return facts


def _warm_start(store: str, snapshot_id: str, cutoff: int) -> WarmStart | None:
    """The champion to start from: one that was evaluated on, and so did not learn from, what is held out now.

    Training that is repeated on the champion's own snapshot starts where the champion did.
    """
    pointer = current_champion(store)
    version = pointer.version if pointer else None
    while version:
        with stored_model(store, version) as folder:
            described = json.loads((folder / DESCRIPTION).read_text())
            if described["snapshot_id"] != snapshot_id:
                if day_of(date.fromisoformat(described["cutoff"])) > cutoff:
                    return None
                return WarmStart(version, TwoTowerArrays.load(evaluated_part(folder)))
            version = described.get("warm_start")
    return None


def _new_rows(model: TwoTowerArrays, champion: TwoTowerArrays) -> dict[str, list[Any]]:
    """The games and attributes that the champion did not know, and whose weights therefore started by chance."""
    return {
        "games": np.setdiff1d(model.game_ids, champion.game_ids).tolist(),
        "attributes": sorted(set(model.attribute_names) - set(champion.attribute_names)),
    }


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
            f"The snapshot {snapshot.root} holds no review before {date_of(cutoff)}, where the evaluation's period "
            f"begins: ingest reviews of more than one day."
        )
    if not past.recommended.any():
        raise UserError(
            f"No review of the snapshot {snapshot.root} before {date_of(cutoff)} recommends its game, so there is "
            f"nothing to learn to recommend: ingest reviews that do."
        )
    if len(np.unique(past.games)) < 2:
        raise UserError(
            f"The snapshot {snapshot.root} holds reviews of one game only before {date_of(cutoff)}: ingest reviews of "
            f"more games."
        )
    return interactions, cutoff, past


def _validation(snapshot: Snapshot, past: Interactions, games: Games, share: float) -> Split:
    """The newest share of the past held out, as the evaluation holds out the newest share of everything."""
    cutoff = cutoff_day(past, share)
    split = snapshot_by_time(snapshot, past, cutoff)
    if not split.past.recommended.any():
        raise UserError(
            f"No review of the snapshot {snapshot.root} before {date_of(cutoff)} recommends its game, which the choice "
            f"of the model needs: ingest reviews that do."
        )
    if not len(hold_out(split.past, split.future, games.ids)):
        raise UserError(
            f"No user of the snapshot {snapshot.root} has a review before {date_of(cutoff)} and one of another known "
            f"game from then on, which the choice of the model needs: ingest more reviews."
        )
    log("train", f"the validation period begins on {date_of(cutoff)}")
    return split


def _version(
    interactions: Interactions, snapshot: Snapshot, config: Config, seed: int, share: float, warm: WarmStart | None
) -> str:
    made_from = [
        snapshot.manifest.snapshot_id, asdict(config), seed, share, warm.version if warm else None, code_version(),
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()
    return f"{date_of(int(interactions.days.max())):%Y%m%d}-{digest[:8]}"
