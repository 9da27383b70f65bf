"""A model's folder: what training writes, refitting replaces, and every other stage reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.shared.interactions import Interactions
from components.shared.model_store import DESCRIPTION
from components.shared.popularity import recent_popularity
from components.train.learning import Learned
from components.train.serving import ServingModel


def write_model(folder: Path, learned: Learned, past: Interactions, as_of: int, described: Mapping[str, Any]) -> None:
    """Write `saved_model/`, `arrays.npz`, `vocabulary.json`, and `model.json` last; what was there is replaced.

    Args:
        folder: where to.
        learned: the model.
        past: what it learnt from, for the popularity that the SavedModel has by itself.
        as_of: the day of that popularity, in days since 1970-01-01.
        described: the content of `model.json`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    games, model = learned.corpus.games, learned.recommender
    np.savez(folder / "arrays.npz", allow_pickle=False, **model.arrays())
    vocabulary = {"games": games.ids.tolist(), "attributes": list(learned.corpus.attribute_names)}
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary) + "\n")
    catalogue = model.for_catalogue(games, recent_popularity(past, games.ids, as_of))
    ServingModel(games.ids, catalogue).save(folder / "saved_model")
    # Last: a folder without it is not a model.
    (folder / DESCRIPTION).write_text(json.dumps(described, indent=2) + "\n")
