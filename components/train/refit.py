"""The stage: a model that passed the gate → the same, fitted to all that is known, which is what serves.

What was evaluated goes along, in `evaluated/`: the next challenger is compared with that, on reviews that neither has
seen.
"""

from __future__ import annotations

import json
from pathlib import Path

import tensorflow as tf

from components.train.artifact import write_model
from components.train.checkpoints import Checkpoints
from components.train.learning import fit_all
from components.train.model import Config
from components.train.trainer import Trainer
from components.train.workers import workers
from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.interactions import date_of, load_interactions
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import DESCRIPTION, model_version


def refit_model(snapshot: str | Path, model: str | Path, refitted: str | Path, store: str) -> str:
    """Fit a model to all dated reviews, the held-out period included, from its own weights and for as many steps.

    Nothing is chosen anew. The same model and snapshot make the same weights, also after an interruption.

    Args:
        snapshot: the one that the model was trained on.
        model: the folder of the model that was evaluated.
        refitted: the folder to write, in the form of the model's, with the model that was evaluated in `evaluated/`.
        store: for the checkpoints.

    Returns:
        The version, which stays the same.

    Raises:
        UserError: the folder holds no model, or the loss is not finite.
    """
    tf.config.experimental.enable_op_determinism()
    crew, version = workers(), model_version(model)
    opened, evaluated = Snapshot.open(snapshot), TwoTowerArrays.load(model)
    described = json.loads((Path(model) / DESCRIPTION).read_text())
    config = Config.read(described["config"])
    interactions = load_interactions(opened)
    interactions = interactions.take(interactions.dated)
    trainer = Trainer(described["seed"], crew, Checkpoints.for_version(store, version))
    learned = fit_all(
        interactions, Games.from_table(opened.table("games", GAME_COLUMNS)), config, trainer, "refit", version,
        start=evaluated, steps=described["steps"],
    )  # fmt: skip
    crew.meet()
    if crew.chief:
        newest = int(interactions.days.max())
        described["trained_until"] = date_of(newest).isoformat()
        described |= {
            "games": len(learned.corpus.games),
            "users": learned.corpus.training_set.users,
            "parameters": sum(array.size for array in learned.recommender.arrays().values()),
        }
        write_model(Path(refitted), learned, interactions, newest + 1, described, evaluated=Path(model))
        trainer.clear()
    return version
