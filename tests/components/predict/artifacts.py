"""A hand-made model folder, for tests of the stages after training."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from steam_recsys.storage.manifest import complete_artifact
from steam_recsys.storage.model_store import add_model, move_champion


def write_model(root: Path, vectors: Sequence[Sequence[float]], version: str = "model-1") -> Path:
    """A model of games 1, 2, … with the given history and candidate vectors and no attributes."""
    root.mkdir(parents=True)
    table = np.array(vectors, dtype=np.float32)
    none = np.zeros((0, table.shape[1]), dtype=np.float32)
    np.savez(
        root / "arrays.npz",
        history_games=table, candidate_games=table, history_attributes=none, candidate_attributes=none,
        item_item_offsets=np.zeros(len(table) + 1, np.int64), item_item_games=np.zeros(0, np.int32),
        item_item_weights=np.zeros(0, np.float32), decay_weights=np.array([0.0, 0.1, 0.0]),
    )  # fmt: skip
    (root / "vocabulary.json").write_text(json.dumps({"games": list(range(1, len(table) + 1)), "attributes": []}))
    weights = {"popularity_weight": 1.0, "interests_weight": 0.5, "top_weight": 0.0}
    config = {
        "scale": 4.0,
        "popularity_smoothing": 1.0,
        "history_weights": {},
        "next_weight": 0.0,
        "sequence": {"weight": 0.0, "scale": 1.0},
        **weights,
    }
    (root / "model.json").write_text(json.dumps({"version": version, "config": config}))
    complete_artifact(root)
    return root


def promote_model(store: str, model: Path, version: str = "model-1") -> None:
    """Make a model the first champion of a store."""
    add_model(store, model)
    move_champion(store, version, expected=None)
