"""The model store: one folder a version, `<store>/models/<version>/`, and `champion.json`, which names the one in use.

A model is added whole or not at all and never changes afterwards. Only promotion moves the pointer, and only if the
champion is still the one that the new model was compared with, so that of two promotions at once one wins.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from components.shared.errors import UserError

POINTER = "champion.json"
DESCRIPTION = "model.json"
EVALUATION = "evaluation.json"


@dataclass(frozen=True)
class Champion:
    """The pointer: the version in use, since when (ISO 8601, UTC), the one before it, and its metrics at promotion."""

    version: str
    promoted_at: str
    previous: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)


def model_folder(store: str | Path, version: str) -> Path:
    """Where a version of the model stands.

    Raises:
        UserError: it is not in the store.
    """
    folder = _models(store) / version
    if not (folder / DESCRIPTION).is_file():
        raise UserError(f"The model store {store} has no model {version}: promote it again.")
    return folder


def model_version(model: str | Path) -> str:
    """The version of the model in a folder, in a store or not yet.

    Raises:
        UserError: the folder holds no model.
    """
    path = Path(model) / DESCRIPTION
    try:
        version: str = json.loads(path.read_text())["version"]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{model} holds no complete model ({DESCRIPTION} is missing): train it again.") from None
    return version


def champion(store: str | Path) -> Path:
    """The folder of the model in use.

    Raises:
        UserError: no model was promoted yet, or the pointer names one that is not in the store.
    """
    pointer = current_champion(store)
    if pointer is None:
        raise UserError(
            f"The model store {store} has no champion: run the training pipeline first, until a model passes its gate."
        )
    return model_folder(store, pointer.version)


def current_champion(store: str | Path) -> Champion | None:
    """The pointer, None where no model was promoted yet.

    Raises:
        UserError: the pointer's file cannot be read as one.
    """
    path = _models(store) / POINTER
    try:
        return Champion(**json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError):
        raise UserError(f"{path} is no champion pointer: restore it, or delete it and promote a model again.") from None


def add_model(store: str | Path, model: str | Path, evaluation: str | Path | None = None) -> Path:
    """Copy a model's folder into the store under its version, with its evaluation's file, if any; the folder there.

    It appears whole or not at all; a version that is there already stays as it is.

    Raises:
        UserError: the folder holds no model.
    """
    source = Path(model)
    version = model_version(source)
    with _locked(store) as models:
        folder = models / version
        if not folder.exists():
            incoming = models / ".incoming"
            shutil.rmtree(incoming, ignore_errors=True)  # what a crash left there
            shutil.copytree(source, incoming)
            if evaluation is not None:
                shutil.copyfile(evaluation, incoming / EVALUATION)
            incoming.replace(folder)
    return folder


def move_champion(
    store: str | Path, version: str, *, expected: str | None, metrics: Mapping[str, float] | None = None
) -> Champion:
    """Make a version that is in the store the champion, if the champion is still the expected one (compare and swap).

    Moving the pointer to where it is already changes nothing, so that a promotion can be repeated.

    Args:
        store: the model store.
        version: the new champion.
        expected: the version that it was compared with, None for no champion at all.
        metrics: what the new champion scored.

    Raises:
        UserError: the version is not in the store, or another run moved the pointer in the meantime.
    """
    model_folder(store, version)
    with _locked(store) as models:
        before = current_champion(store)
        found = before.version if before else None
        if before and found == version:
            return before
        if found != expected:
            raise UserError(
                f"The champion of the model store {store} is {found or 'not there'}, no longer {expected or 'none'}, "
                f"since another run promoted at the same time: run the training pipeline again."
            )
        pointer = Champion(version, datetime.now(UTC).isoformat(timespec="seconds"), expected, dict(metrics or {}))
        temporary = models / f".{POINTER}"
        temporary.write_text(json.dumps(asdict(pointer), indent=2) + "\n")
        temporary.replace(models / POINTER)
    return pointer


@contextmanager
def _locked(store: str | Path) -> Iterator[Path]:
    """One writer at a time; the lock goes with the process that holds it, however that ends."""
    models = _models(store)
    models.mkdir(parents=True, exist_ok=True)
    with (models / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield models


def _models(store: str | Path) -> Path:
    return Path(store) / "models"
