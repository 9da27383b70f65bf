"""The model store: one folder per version, `<store>/models/<version>/`, and `champion.json`, which names the champion.

Models are added atomically and never change. Only promotion moves the pointer, and only if the champion is still the
one that the new model was compared with: of two promotions at the same time, one wins.
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
"""The subfolder of a refitted model for the model that was evaluated, which was not trained on the held-out data."""


@dataclass(frozen=True)
class Champion:
    """The pointer to the model in use.

    Attributes:
        version: Version in use.
        promoted_at: Time of its promotion, ISO 8601 in UTC.
        previous: Version before it; None for the first.
        metrics: Metrics at promotion.
    """

    version: str
    promoted_at: str
    previous: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def stored_model(store: str, version: str) -> Iterator[Path]:
    """Give the folder of a model as a local path.

    Raises:
        UserError: The store does not hold the version.
    """
    with open_folder(store).local_path(f"models/{version}") as folder:
        if not (folder / DESCRIPTION).is_file():
            raise UserError(f"The model store {store} has no model {version}: promote it again.")
        yield folder


def evaluated_part(model: Path) -> Path:
    """Return the subfolder of the model that was evaluated, or the model's own folder if it was not refitted."""
    return model / EVALUATED if (model / EVALUATED).is_dir() else model


def model_version(model: str | Path) -> str:
    """Return the version of the model in a local folder.

    Raises:
        UserError: The folder holds no complete model.
    """
    path = Path(model) / DESCRIPTION
    try:
        version: str = json.loads(path.read_text())["version"]
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{model} holds no complete model ({DESCRIPTION} is missing): train it again.") from None
    return version


def champion(store: str) -> Champion:
    """Return the pointer to the model in use.

    Raises:
        UserError: No model has been promoted yet, or the pointer cannot be read.
    """
    pointer = current_champion(store)
    if pointer is None:
        raise UserError(
            f"The model store {store} has no champion: run the training pipeline first, until a model passes its gate."
        )
    return pointer


def current_champion(store: str) -> Champion | None:
    """Return the pointer to the model in use; None if no model has been promoted yet.

    Raises:
        UserError: The pointer cannot be read.
    """
    return _pointer(store, open_folder(store).read(POINTER))


def add_model(store: str, model: str | Path, evaluation: str | Path | None = None) -> None:
    """Copy a model into the store under its version. A version that the store already holds stays as it is.

    The description is copied last: a folder without one is not a model.

    Args:
        store: The model store.
        model: Local folder of the model.
        evaluation: File of its evaluation, if any.

    Raises:
        UserError: The folder holds no complete model.
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
    """Make a version the champion if the champion is still the expected one.

    Promoting the champion again changes nothing, so a promotion can be retried.

    Args:
        store: The model store.
        version: The new champion.
        expected: The version that it was compared with; None if there was no champion.
        metrics: Metrics of the new champion.

    Raises:
        UserError: The store does not hold the version, or another run moved the pointer meanwhile.
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
                f"The champion of the model store {store} is {found or 'missing'}, no longer {expected or 'none'}, "
                f"since another run promoted at the same time: check it, then run again."
            )
        pointer = Champion(version, datetime.now(UTC).isoformat(timespec="seconds"), expected, dict(metrics or {}))
        if folder.compare_and_swap(POINTER, f"{json.dumps(asdict(pointer), indent=2)}\n".encode(), content):
            return pointer


def _pointer(store: str, content: bytes | None) -> Champion | None:
    if content is None:
        return None
    try:
        return Champion(**json.loads(content))
    except (ValueError, TypeError):
        raise UserError(
            f"{store}/{POINTER} is not a champion pointer: restore it, or delete it and promote a model again."
        ) from None
