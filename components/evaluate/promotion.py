"""The stage: a challenger that passed the gate → the champion."""

from __future__ import annotations

from pathlib import Path

from components.evaluate.model_registry import open_registry
from components.evaluate.results import Evaluation
from steam_recsys.errors import UserError
from steam_recsys.evaluation.comparison import CHALLENGER
from steam_recsys.logging import log
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.model_store import EVALUATION, champion, model_version, stored_model


def promote(store: str, model: str | Path, evaluation: str | Path, registry: str = "") -> str:
    """Copy a model into the store and make it the champion, if its evaluation allows that; the champion's version.

    It can be repeated, also after a crash half-way: the copy is whole or not there, and the pointer moves last.

    Args:
        store: the model store.
        model: the model's folder.
        evaluation: the file that `Evaluation.write` wrote for this model.
        registry: where models are registered beside the store: nowhere, or vertex://PROJECT/LOCATION.

    Raises:
        UserError: the gate refused the model, the evaluation is another model's, or the champion is no longer the one
            that the model was compared with.
    """
    evaluated = Evaluation.read(evaluation)
    if not evaluated.verdict.promote:
        refused = " ".join(rule.sentence for rule in evaluated.verdict.failures)
        raise UserError(f"Model {evaluated.version} did not pass the gate and stays out of {store}: {refused}")
    if (version := model_version(model)) != evaluated.version:
        raise UserError(f"{evaluation} is about model {evaluated.version}, not {version}: evaluate {model} first.")
    models = open_registry(store, registry)
    metrics = evaluated.means(CHALLENGER)
    models.add(model, evaluation, metrics)
    before = models.make_champion(evaluated.version, evaluated.champion, metrics)
    what = "as it was already" if evaluated.is_champion else f"before it {before or 'none'}"
    log("promote", f"champion {evaluated.version}, {what}")
    return evaluated.version


def roll_back(store: str, version: str | None = None, registry: str = "", expected: str | None = None) -> str:
    """Make an earlier model the champion again; what is published changes with the next inference run.

    Each time goes one further back, to the champion that the present one has beaten: never to a model that was rolled
    back from.

    Args:
        store: the model store.
        version: the model; None takes the champion before the present one.
        registry: as for `promote`.
        expected: the champion that is to go; whichever it is where this is None.

    Returns:
        The version that is the champion now.

    Raises:
        UserError: the champion is not the expected one, there is none before it, the store lacks the model, or another
            run moves the pointer meanwhile.
    """
    now = champion(store).version
    if expected not in (None, now):
        raise UserError(f"The champion of the model store {store} is {now}, not {expected}: it stays.")
    wanted = version or _beaten_by(store, now)
    if wanted is None:
        raise UserError(f"There is no champion before {now} in {store}: name a model with --version.")
    models = open_registry(store, registry)
    with stored_model(store, wanted) as folder:
        evaluation = folder / EVALUATION
        metrics = Evaluation.read(evaluation).means(CHALLENGER)
        models.add(folder, evaluation, metrics)  # which a registry that came later may lack
    models.make_champion(wanted, now, metrics)
    return wanted


def _beaten_by(store: str, version: str) -> str | None:
    """The champion that a model was compared with; None where there was none."""
    with open_folder(store).local_path(f"models/{version}/{EVALUATION}") as evaluation:
        return Evaluation.read(evaluation).champion
