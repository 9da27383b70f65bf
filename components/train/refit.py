"""The refit: fits the model that passed the gate to all reviews, so that the model that serves has seen the newest.

The evaluated model is kept in `evaluated/`: the next challenger is compared with it on reviews that neither has seen.
"""

from __future__ import annotations

from pathlib import Path

from components.train.artifact import write_model
from components.train.tensorflow_runtime import get_workers, tf
from components.train.trainer import Checkpoints, Trainer
from components.train.training import fit_model
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.interactions import date_of, load_sample
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import read_description


def refit_model(snapshot: str | Path, model: str | Path, refitted: str | Path, store: str) -> str:
    """Fit a model to all dated reviews, the held-out period included, from its own weights and for as many steps.

    Nothing is tuned again. The same model and snapshot give the same weights, also after an interruption. Several
    workers share the fit of the towers; the chief alone writes.

    Args:
        snapshot: Folder of the snapshot that the model was trained on.
        model: Folder of the evaluated model.
        refitted: The folder to write, like the model's, with the evaluated model in `evaluated/`.
        store: Store for the checkpoints.

    Returns:
        The model's version, which does not change.

    Raises:
        UserError: The folder holds no complete model, a file of it is damaged, the loss is not finite, or another
            worker ended too early.
    """
    # 1. Read the model and all dated reviews.
    tf.config.experimental.enable_op_determinism()
    workers, description = get_workers(), read_description(model)
    version: str = description["version"]
    config, seed = ModelConfig.from_dict(description["config"]), description["seed"]
    opened, evaluated = Snapshot.open(snapshot), TwoTowerArrays.load(model)
    interactions = load_sample(opened)
    interactions = interactions.take(interactions.dated)
    catalogue = opened.table("games", GAME_COLUMNS)
    games = Games.from_table(catalogue)
    if not workers.is_chief:
        with workers.lost_workers():
            Trainer(seed, workers).follow(TrainingData.from_interactions(interactions, games, config, seed))
        workers.finish()
        return version

    # 2. Fit it.
    # With a time budget, another training may have fitted other weights under this version.
    checkpoints = None if description["training_minutes"] else Checkpoints.for_version(store, version)
    trainer = Trainer(seed, workers, checkpoints)
    with workers.lost_workers():
        fitted = fit_model(
            interactions, games, config, trainer, "refit", version, start=evaluated, steps=description["steps"]
        )

    # 3. Write it.
    newest = int(interactions.days.max())
    description |= {
        "trained_until": date_of(newest).isoformat(),
        "games": len(fitted.data.games),
        "users": fitted.data.examples.users,
        "parameters": fitted.parameters,
    }
    write_model(Path(refitted), fitted, catalogue, interactions, newest + 1, description, evaluated=Path(model))
    trainer.clear_checkpoints()
    workers.finish()
    return version
