"""A model's folder: what training writes, refitting replaces, and every other stage reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.train.learning import Learned
from components.train.serving import ServingModel
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.model.online import ITEMS
from steam_recsys.storage.model_store import DESCRIPTION, EVALUATED

SAVED_MODEL = "saved_model"


def write_model(
    folder: Path,
    learned: Learned,
    past: Interactions,
    as_of: int,
    described: Mapping[str, Any],
    evaluated: Path | None = None,
) -> None:
    """Write a model's folder; what was there is replaced.

    It holds `arrays.npz`, the weights of towers and links, and `items.npz`, the vectors and the popularity of the games
    of its vocabulary, for answers without TensorFlow; `saved_model/`, the same as a SavedModel; `vocabulary.json`; and
    `model.json`, which goes last.

    Args:
        folder: where to.
        learned: the model.
        past: what it learnt from, for the popularity that it has by itself.
        as_of: the day of that popularity, in days since 1970-01-01.
        described: the content of `model.json`.
        evaluated: the folder of the model that was evaluated in this one's place, which goes along but for its
            SavedModel and its items.
    """
    (folder / DESCRIPTION).unlink(missing_ok=True)  # first: what is left of a folder half removed is not a model
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    games, model = learned.corpus.games, learned.recommender
    np.savez(folder / "arrays.npz", allow_pickle=False, **model.arrays())
    vocabulary = {"games": games.ids.tolist(), "attributes": list(learned.corpus.attribute_names)}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary) + "\n")
    catalogue = model.for_catalogue(games, popularity_as_of(past, games.ids, as_of))
    np.savez(folder / ITEMS, allow_pickle=False, **catalogue.arrays())
    ServingModel(games.ids, catalogue).save(folder / SAVED_MODEL)
    if evaluated:
        shutil.copytree(evaluated, folder / EVALUATED, ignore=shutil.ignore_patterns(SAVED_MODEL, ITEMS))
    # Last, and whole: a folder without it is not a model.
    temporary = folder / f".{DESCRIPTION}"
    temporary.write_text(json.dumps(described, indent=2) + "\n")
    temporary.replace(folder / DESCRIPTION)
