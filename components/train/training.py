"""The training stage: tunes and fits a two-tower model on a snapshot and writes its folder."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any

import numpy as np

from components.train import PERSONAL_BUDGET
from components.train.artifact import FittedModel, write_model
from components.train.assembly import assemble_model, fit_item_item, fit_sequential_tower
from components.train.deadline import Deadline
from components.train.tensorflow_runtime import get_workers, tf
from components.train.trainer import Checkpoints, Trainer
from components.train.training_data import TrainingData
from components.train.tuning import TuningResult, tune
from components.train.two_tower_model import ModelConfig
from components.train.validation_data import Validation
from steam_recsys import code_version
from steam_recsys.arrays import Float32Array, Int32Array
from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import Interactions, cutoff_day, date_of, day_after_newest, day_of, load_sample
from steam_recsys.data.popularity import popularity, popularity_as_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.evaluation.splits import HeldOut, Split, hold_out, snapshot_by_time
from steam_recsys.logging import log
from steam_recsys.model.lists import MIN_LIKES
from steam_recsys.model.two_tower import Towers, TwoTowerArrays
from steam_recsys.storage.model_store import current_champion, evaluated_part, read_description, stored_model

HELD_OUT_SHARE = 0.1
"""Share of the reviews that is held out for the evaluation, and of the others for validation."""

LIBRARIES = ("numpy", "scipy", "tensorflow")
"""Another version of one of these may round differently, and so fit other weights."""


@dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """Key figures of a trained model.

    Attributes:
        version: The model's version.
        scale: Tuned factor of the cosine.
        popularity_weight: Tuned factor of the popularity prior.
        interests_weight: The same in the lists of games of the user's taste.
        top_weight: Tuned; popularity above that of the tenth most popular game counts 1 + this times.
        regression_weight: Tuned factor of the item-item weights by regression.
        neighbour_weight: Tuned factor of those by item-kNN.
        next_weight: Tuned factor of those from the newest games to the next ones.
        sequence_weight: Tuned factor of the sequential tower; 0 for no tower.
        ndcg_at_10: Mean NDCG@10 on the validation data, before the final fit.
        overlap_at_10: Mean Jaccard index of the first ten games of two users there.
        effective_games_at_10: How many games, all shown equally often, would be as varied as the users' first ten.
        best_ndcg_at_10: NDCG@10 of the most accurate setting there, and so what the chosen one gives up.
        best_overlap_at_10: Its overlap.
        best_effective_games_at_10: Its effective games, and so what the chosen one gains.
        as_of: The day after the newest review of the snapshot, ISO date.
        parameters: Number of weights.
        games: Number of games in the vocabulary.
        users: Number of users it learnt from.
    """

    version: str
    scale: float
    popularity_weight: float
    interests_weight: float
    top_weight: float
    regression_weight: float
    neighbour_weight: float
    next_weight: float
    sequence_weight: float
    ndcg_at_10: float
    overlap_at_10: float
    effective_games_at_10: float
    best_ndcg_at_10: float
    best_overlap_at_10: float
    best_effective_games_at_10: float
    as_of: str
    parameters: int
    games: int
    users: int

    def facts(self) -> dict[str, Any]:
        """Return plain values for the journal and artifacts."""
        return asdict(self)


@dataclass(frozen=True)
class WarmStart:
    """The champion whose weights a training starts from.

    Attributes:
        version: The champion's version.
        model: The champion as it was evaluated, before its refit.
    """

    version: str
    model: TwoTowerArrays


def train_model(
    snapshot: str | Path,
    model: str | Path,
    store: str,
    *,
    seed: int = 0,
    personal_budget: float = PERSONAL_BUDGET,
    training_minutes: float = 0.0,
) -> TrainedModel | None:
    """Train the two towers on a snapshot and write the model folder; what was in the folder is replaced.

    The newest `HELD_OUT_SHARE` of the dated reviews is left to the evaluation. Of the rest, the newest share is the
    validation period, on which hyperparameters are tuned. The model is then fitted again, with the same seed, to
    everything before the evaluation period. That fit starts from the champion's weights, unless the champion has seen
    the evaluation period. The same snapshot, champion, seed and code give the same weights, also if training is
    interrupted and started again.

    With a time budget, the search for settings ends in time for the final fit, so how much is tried depends on the
    speed of the machine, and the weights with it. An interrupted training starts from the beginning then.

    Several workers share the fits of the towers, which gives the weights of one worker, except for rounding. The chief
    makes all choices and everything else, and is the only one that writes.

    Args:
        snapshot: Folder of the snapshot.
        model: The folder to write: `saved_model/`, `arrays.npz`, `vocabulary.json`, `model.json`, and the
            manifest last.
        store: Store with the champion, if there is one, and the checkpoints of an interrupted training.
        seed: Random seed; the same seed gives identical weights.
        personal_budget: Largest share of the best validation NDCG@10 to give up for lists that differ more between
            users; 0 takes the most accurate setting.
        training_minutes: Largest duration of the training, with its final fit, in minutes; 0 for no limit. One fit for
            tuning and the final fit are always made, even if they take longer.

    Returns:
        The model's figures; None on a worker other than the chief.

    Raises:
        UserError: A budget is out of range, the snapshot has too few dated reviews, users or games to learn from, the
            loss is not finite, or another worker ended too early.
    """
    # 1. Read the snapshot and split it by time.
    if not 0 <= personal_budget <= 1:
        raise UserError(f"personal_budget is {personal_budget:g}: give a share from 0 to 1.")
    deadline = Deadline(training_minutes)
    tf.config.experimental.enable_op_determinism()
    workers = get_workers()
    opened, config = Snapshot.open(snapshot), ModelConfig()
    interactions, cutoff, past = _before_the_cutoff(opened)
    catalogue = opened.table("games", GAME_COLUMNS)
    games = Games.from_table(catalogue)
    validation = _validation(opened, past, games)
    if not workers.is_chief:
        with workers.lost_workers():
            for learnt in (validation.past, past):
                Trainer(seed, workers).follow(TrainingData.from_interactions(learnt, games, config, seed))
        workers.finish()
        return None

    # 2. Find the champion to start from; the version follows from all inputs.
    warm_start = _find_warm_start(store, opened.manifest.snapshot_id, cutoff)
    version = _version(interactions, opened, config, seed, personal_budget, training_minutes, warm_start)
    # With a time budget, the fits of an interrupted training may have had other settings.
    checkpoints = None if training_minutes else Checkpoints.for_version(store, version)
    trainer = Trainer(seed, workers, checkpoints)

    # 3. Tune on the validation period, then fit to the whole past.
    champion = warm_start.model if warm_start else None
    with workers.lost_workers():
        fitted, tuned = tune_and_fit(
            past, validation, games, config, trainer, version, personal_budget, champion, deadline
        )
    trained = TrainedModel(
        version=version,
        scale=fitted.config.scale,
        popularity_weight=fitted.config.popularity_weight,
        interests_weight=fitted.config.interests_weight,
        top_weight=fitted.config.top_weight,
        regression_weight=fitted.config.regression_weight,
        neighbour_weight=fitted.config.neighbour_weight,
        next_weight=fitted.config.next_weight,
        sequence_weight=fitted.config.sequence.weight,
        ndcg_at_10=round(tuned.chosen.mean, 6),
        overlap_at_10=round(tuned.chosen.overlap, 6),
        effective_games_at_10=round(tuned.chosen.effective_games, 3),
        best_ndcg_at_10=round(tuned.most_accurate.mean, 6),
        best_overlap_at_10=round(tuned.most_accurate.overlap, 6),
        best_effective_games_at_10=round(tuned.most_accurate.effective_games, 3),
        as_of=day_after_newest(opened).isoformat(),
        parameters=fitted.parameters,
        games=len(fitted.data.games),
        users=fitted.data.examples.users,
    )

    # 4. Write the model.
    description = {
        **asdict(trained),
        "config": asdict(fitted.config),
        "steps": fitted.steps,
        "losses": fitted.losses,
        "snapshot_id": opened.manifest.snapshot_id,
        "cutoff": date_of(cutoff).isoformat(),
        "held_out_share": HELD_OUT_SHARE,
        "personal_budget": personal_budget,
        "training_minutes": training_minutes,
        "search_cut_short": tuned.cut_short,
        "catalogue_games": len(games),
        "seed": seed,
        "warm_start": warm_start.version if warm_start else None,
        "new_rows": _new_rows(fitted.model, warm_start.model) if warm_start else None,
        "code_version": code_version(),
        "history": [asdict(trial) for trial in tuned.trials],
    }
    write_model(Path(model), fitted, catalogue, past, cutoff, description)
    trainer.clear_checkpoints()
    workers.finish()
    log("train", f"model {version}: {trained.games:,} games, {trained.parameters:,} parameters")
    return trained


def tune_and_fit(
    past: Interactions,
    validation: Split,
    games: Games,
    config: ModelConfig,
    trainer: Trainer,
    version: str,
    personal_budget: float = PERSONAL_BUDGET,
    champion: TwoTowerArrays | None = None,
    deadline: Deadline | None = None,
) -> tuple[FittedModel, TuningResult]:
    """Tune on the validation data, then fit to the whole past with the same seed.

    Args:
        past: All interactions that the model may know.
        validation: The same interactions, split like the evaluation splits them.
        games: The catalogue, sorted by ID.
        config: Hyperparameters; tuned ones are replaced.
        trainer: Makes the fits.
        version: Version of the model.
        personal_budget: See `train_model`.
        champion: Model that the final fit starts from; it may know no more than the past. The fits before it start from
            random weights, since the champion knows the validation data.
        deadline: Ends the search for settings in time for the final fit; None for no limit.

    Raises:
        UserError: The loss is not finite.
    """
    held_out = hold_out(validation.past, validation.future, games.ids)
    held_out = _sample_users(held_out, config.choice_limit(len(games)), trainer.seed)
    likes = popularity(validation.past, games.ids)
    deadline = deadline or Deadline()
    deadline.growth = len(past) / len(validation.past)
    with deadline.measure("data"):
        data = TrainingData.from_interactions(validation.past, games, config, trainer.seed)
    tuned_on = Validation(
        held_out, games, popularity_as_of(validation.past, games.ids, validation.as_of), likes >= MIN_LIKES
    )
    log("train", f"tuning on the new games of {len(held_out):,} users")
    tuned = tune(data, tuned_on, config, trainer, personal_budget, deadline)
    trainer.end_fits()
    fitted = fit_model(past, games, tuned.chosen.config, trainer, "final", version, start=champion)
    return fitted, tuned


def fit_model(
    interactions: Interactions,
    games: Games,
    config: ModelConfig,
    trainer: Trainer,
    name: str,
    version: str,
    *,
    start: TwoTowerArrays | None = None,
    steps: int | None = None,
) -> FittedModel:
    """Fit all towers and the item-item weights to interactions, with tuned hyperparameters.

    The sequential tower has random initial weights in each fit: it is regularised by when its fit stops.

    Args:
        interactions: Interactions to learn from.
        games: The catalogue, sorted by ID.
        config: Tuned hyperparameters.
        trainer: Makes the fit.
        name: Name of the fit, for its checkpoints.
        version: Version of the model.
        start: Model whose weights are the initial ones; None for random weights.
        steps: Number of steps; None for the number that fits the data.

    Raises:
        UserError: The loss is not finite.
    """
    data = TrainingData.from_interactions(interactions, games, config, trainer.seed)
    steps = steps or data.steps(config)
    initial = warm_towers(data, config, start, trainer.seed) if start else None
    fit = trainer.fit(name, data, config, steps, initial)
    trainer.end_fits()
    log("train", f"{name} fit: loss {fit.losses[-1]:.4f} after {steps:,} steps")
    item_item, next_games = fit_item_item(data, config)
    sequence = fit_sequential_tower(data, config, trainer, f"{name}-sequence") if config.sequence.weight else None
    tower = sequence.tower if sequence else None
    model = assemble_model(data, fit.towers, item_item, config, version, next_games, tower)
    return FittedModel(model, data, config, steps, fit.losses)


def warm_towers(data: TrainingData, config: ModelConfig, champion: TwoTowerArrays, seed: int) -> Towers | None:
    """Initialise towers from the champion's: its rows for the games and attributes it knows, random rows for new ones.

    Args:
        data: Training data, whose games and attributes are the rows.
        config: Hyperparameters.
        champion: The champion.
        seed: Random seed of the new rows.

    Returns:
        The towers; None if the champion's vectors have another width.
    """
    if champion.towers.history_games.shape[1] != config.dimensions:
        log("train", f"cold start: the vectors of {champion.version} have another width")
        return None
    games = positions_of(data.games.ids, champion.game_ids)
    names = {name: row for row, name in enumerate(champion.attribute_names)}
    attributes = np.array([names.get(name, -1) for name in data.attribute_names], dtype=np.int32)
    random = np.random.default_rng(seed)
    size = config.dimensions**-0.5
    towers = Towers(
        history_games=_warm_rows(champion.towers.history_games, games, 0.1 * size, random),
        history_attributes=_warm_rows(champion.towers.history_attributes, attributes, size, random),
        candidate_games=_warm_rows(champion.towers.candidate_games, games, 0.1 * size, random),
        candidate_attributes=_warm_rows(champion.towers.candidate_attributes, attributes, size, random),
    )
    new = data.games.ids[games < 0]
    shown = ", ".join(map(str, new[:10])) + (", …" if len(new) > 10 else "")
    log(
        "train",
        f"warm start from {champion.version}; new are {len(new):,} of {len(games):,} games "
        f"{f'({shown}) ' if shown else ''}and {int((attributes < 0).sum()):,} of {len(attributes):,} attributes",
    )
    return towers


def _warm_rows(table: Float32Array, rows: Int32Array, size: float, random: np.random.Generator) -> Float32Array:
    """Return the given rows of a table; rows of -1 get random values with the standard deviation `size`."""
    fresh: Float32Array = (random.standard_normal((len(rows), table.shape[1])) * size).astype(np.float32)
    fresh[rows >= 0] = table[rows[rows >= 0]]
    return fresh


def _find_warm_start(store: str, snapshot_id: str, cutoff: int) -> WarmStart | None:
    """Find a champion to start from: one that did not learn from the reviews that are held out now.

    If the champion was trained on this very snapshot, training starts where the champion's training started. A model
    that cannot be read is no start: training is how it is replaced.
    """
    pointer = current_champion(store)
    version = pointer.version if pointer else None
    try:
        while version:
            with stored_model(store, version) as folder:
                description = read_description(folder)
                if description["snapshot_id"] != snapshot_id:
                    if day_of(date.fromisoformat(description["cutoff"])) > cutoff:
                        return None
                    return WarmStart(version, TwoTowerArrays.load(evaluated_part(folder)))
                version = description.get("warm_start")
    except ArtifactError as error:
        log("train", f"cold start: {error}")
    return None


def _new_rows(model: TwoTowerArrays, champion: TwoTowerArrays) -> dict[str, list[Any]]:
    """List the games and attributes that the champion did not know and whose weights started at random."""
    return {
        "games": np.setdiff1d(model.game_ids, champion.game_ids).tolist(),
        "attributes": sorted(set(model.attribute_names) - set(champion.attribute_names)),
    }


def _before_the_cutoff(snapshot: Snapshot) -> tuple[Interactions, int, Interactions]:
    """Read all dated interactions, the first day of the evaluation period, and the interactions before it."""
    interactions = load_sample(snapshot)
    if not interactions.dated.any():
        raise UserError(
            f"The snapshot {snapshot.root} has no dated review by a known user: ingest reviews with dates and users."
        )
    cutoff = cutoff_day(interactions, HELD_OUT_SHARE)
    past = load_sample(snapshot, before=cutoff)
    if not len(past):
        raise UserError(
            f"The snapshot {snapshot.root} has no review before {date_of(cutoff)}, the first day of the evaluation "
            f"period: ingest reviews of more than one day."
        )
    if not past.recommended.any():
        raise UserError(
            f"No review of the snapshot {snapshot.root} before {date_of(cutoff)} recommends its game, so there is "
            f"nothing to learn: ingest reviews that do."
        )
    if len(np.unique(past.games)) < 2:
        raise UserError(
            f"The snapshot {snapshot.root} has reviews of only one game before {date_of(cutoff)}: ingest reviews of "
            f"more games."
        )
    return interactions, cutoff, past


def _validation(snapshot: Snapshot, past: Interactions, games: Games) -> Split:
    """Hold out the newest share of the past, like the evaluation holds out the newest share of all reviews."""
    cutoff = cutoff_day(past, HELD_OUT_SHARE)
    split = snapshot_by_time(snapshot, past, cutoff)
    if not split.past.recommended.any():
        raise UserError(
            f"No review of the snapshot {snapshot.root} before {date_of(cutoff)} recommends its game, so the model "
            f"cannot be tuned: ingest reviews that do."
        )
    if not len(hold_out(split.past, split.future, games.ids)):
        raise UserError(
            f"No user of the snapshot {snapshot.root} has a review before {date_of(cutoff)} and one of another known "
            f"game on or after it, so the model cannot be tuned: ingest more reviews."
        )
    log("train", f"the validation period begins on {date_of(cutoff)}")
    return split


def _sample_users(held_out: HeldOut, limit: int, seed: int) -> HeldOut:
    """Sample enough users to tune on: ranking for millions of users would take longer than the fits."""
    if len(held_out) <= limit:
        return held_out
    return held_out.take(np.sort(np.random.default_rng(seed).permutation(len(held_out))[:limit]))


def _version(
    interactions: Interactions,
    snapshot: Snapshot,
    config: ModelConfig,
    seed: int,
    personal_budget: float,
    training_minutes: float,
    warm_start: WarmStart | None,
) -> str:
    """Name the model by the day of the newest review and a hash of its inputs."""
    inputs = [
        snapshot.manifest.snapshot_id,
        asdict(config),
        seed,
        personal_budget,
        training_minutes,
        warm_start.version if warm_start else None,
        code_version(),
        {name: version_of(name) for name in LIBRARIES},
    ]
    digest = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()
    return f"{date_of(int(interactions.days.max())):%Y%m%d}-{digest[:8]}"
