"""The chosen settings of the baselines, kept in the store: they are tuned once per snapshot and split.

An evaluation that is repeated, or that compares another model on the same reviews, reads them. A file that is missing
or damaged costs only the time to tune again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from steam_recsys import code_version
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baselines import Parameters
from steam_recsys.logging import log, log_warning
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import UnreadableError, seal, unseal
from steam_recsys.storage.model_store import BASELINES_FOLDER

LIBRARIES = ("implicit", "numpy", "scipy")


@dataclass(frozen=True)
class TuningKey:
    """What the best settings depend on.

    Attributes:
        snapshot_id: Id of the snapshot's content.
        cutoff: First day of the held-out period, ISO date.
        held_out_share: Share of the reviews before it that settings are tuned on.
        code_version: Version of the code that tunes.
        libraries: Versions of the libraries that it computes with.
    """

    snapshot_id: str
    cutoff: str
    held_out_share: float
    code_version: str
    libraries: str

    @classmethod
    def from_split(cls, snapshot_id: str, cutoff: str, held_out_share: float) -> TuningKey:
        """Return the key of a split with the present code and libraries."""
        libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
        return cls(snapshot_id, cutoff, held_out_share, code_version(), libraries)

    @property
    def file(self) -> str:
        """Name of the file in the store."""
        digest = hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()
        return f"{BASELINES_FOLDER}/{digest[:24]}.json"


def stored_or_tuned(store: str, key: TuningKey, tune: Callable[[], dict[str, Parameters]]) -> dict[str, Parameters]:
    """Return the settings from the store, or else tune and store them.

    Args:
        store: The store.
        key: What the settings depend on.
        tune: Returns the setting of each baseline by its name.

    Raises:
        UserError: The store cannot be read.
    """
    folder = open_folder(store)
    content = folder.read(key.file)
    if content is not None:
        try:
            chosen = unseal(content, lambda fields: _decode(fields, key))
        except UnreadableError as error:
            log("evaluate", f"the baselines are tuned again: {folder.uri}/{key.file} {error}")
        else:
            log("evaluate", f"settings of the baselines from {folder.uri}/{key.file}")
            return chosen
    chosen = tune()
    try:
        folder.write(key.file, seal({**asdict(key), "chosen": chosen}))
    except (UserError, OSError) as error:
        log_warning(
            "evaluate", f"the baselines' settings could not be stored, the next evaluation tunes again: {error}"
        )
    return chosen


def _decode(fields: dict[str, Any], key: TuningKey) -> dict[str, Parameters]:
    chosen = fields.pop("chosen")
    if fields != asdict(key):
        raise ValueError("it belongs to another snapshot or split")
    return {str(name): {axis: float(value) for axis, value in setting.items()} for name, setting in chosen.items()}
