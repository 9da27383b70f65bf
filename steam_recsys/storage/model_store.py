"""The model store: one folder a version, `<store>/models/<version>/`, and `champion.json`, which names the one in use.

A model is added whole or not at all and never changes afterwards. Only promotion moves the pointer, and only if the
champion is still the one that the new model was compared with, so that of two promotions at once one wins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder

POINTER = "models/champion.json"
DESCRIPTION = "model.json"
EVALUATION = "evaluation.json"
EVALUATED = "evaluated"
"""The folder in that of a refitted model with the one that was evaluated, and did not learn from what was held out."""


@dataclass(frozen=True)
class Champion:
    """The pointer: the version in use, since when (ISO 8601, UTC), the one before it, and its metrics at promotion."""

    version: str
    promoted_at: str
    previous: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def stored_model(store: str, version: str) -> Iterator[Path]:
    """The folder of a version of the model, on this machine for as long as the context lasts.

    Raises:
        UserError: it is not in the store.
    """
    with open_folder(store).fetched(f"models/{version}") as folder:
        if not (folder / DESCRIPTION).is_file():
            raise UserError(f"The model store {store} has no model {version}: promote it again.")
        yield folder


def evaluated_part(model: Path) -> Path:
    """The folder, in that of a model, of the model that was evaluated; the same where it was not refitted."""
    return model / EVALUATED if (model / EVALUATED).is_dir() else model


def model_version(model: str | Path) -> str:
    """The version of the model in a folder of this machine.

    Raises:
        UserError: the folder holds no model.
    """
    path = Path(model) / DESCRIPTION
    try:
        version: str = json.loads(path.read_text())["version"]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{model} holds no complete model ({DESCRIPTION} is missing): train it again.") from None
    return version


def champion(store: str) -> Champion:
    """The pointer to the model in use.

    Raises:
        UserError: no model was promoted yet, or the pointer cannot be read.
    """
    pointer = current_champion(store)
    if pointer is None:
        raise UserError(
            f"The model store {store} has no champion: run the training pipeline first, until a model passes its gate."
        )
    return pointer


def current_champion(store: str) -> Champion | None:
    """The pointer, None where no model was promoted yet.

    Raises:
        UserError: the pointer's file cannot be read as one.
    """
    return _pointer(store, open_folder(store).read(POINTER))


def add_model(store: str, model: str | Path, evaluation: str | Path | None = None) -> None:
    """Copy a model's folder into the store under its version, with its evaluation's file, if any.

    Its description goes last, and a folder without one is not a model; a version that is there stays as it is.

    Raises:
        UserError: the folder holds no model.
    """
    source, target = Path(model), f"models/{model_version(model)}"
    folder = open_folder(store)
    if folder.read(f"{target}/{DESCRIPTION}") is not None:
        return
    files = sorted(path for path in source.rglob("*") if path.is_file() and path != source / DESCRIPTION)
    for path in files:
        folder.put(path, f"{target}/{path.relative_to(source)}")
    if evaluation is not None:
        folder.put(Path(evaluation), f"{target}/{EVALUATION}")
    folder.put(source / DESCRIPTION, f"{target}/{DESCRIPTION}")


def move_champion(
    store: str, version: str, *, expected: str | None, metrics: Mapping[str, float] | None = None
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
    folder = open_folder(store)
    if folder.read(f"models/{version}/{DESCRIPTION}") is None:
        raise UserError(f"The model store {store} has no model {version}: promote it again.")
    while True:
        content = folder.read(POINTER)
        before = _pointer(store, content)
        found = before.version if before else None
        if before and found == version:
            return before
        if found != expected:
            raise UserError(
                f"The champion of the model store {store} is {found or 'not there'}, no longer {expected or 'none'}, "
                f"since another run promoted at the same time: look at it, then run again."
            )
        pointer = Champion(version, datetime.now(UTC).isoformat(timespec="seconds"), expected, dict(metrics or {}))
        if folder.swap(POINTER, f"{json.dumps(asdict(pointer), indent=2)}\n".encode(), content):
            return pointer


def _pointer(store: str, content: bytes | None) -> Champion | None:
    if content is None:
        return None
    try:
        return Champion(**json.loads(content))
    except (ValueError, TypeError):
        raise UserError(
            f"{store}/{POINTER} is no champion pointer: restore it, or delete it and promote a model again."
        ) from None
