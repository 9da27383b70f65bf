"""The model store: one folder per version, `<store>/models/<version>/`, and `champion.json`, which names the champion.

Models are added atomically, with their manifest last, and never change. Only promotion moves the pointer, and only if
the champion is still the one that the new model was compared with: of two promotions at the same time, one wins.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.logging import log
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.manifest import MANIFEST, Artifact, ArtifactWriter, UnreadableError, seal, unseal

BASELINES_FOLDER = "baselines"
"""The folder of the settings of the baselines, one file per snapshot and split."""

CHECKPOINTS_FOLDER = "checkpoints"
"""The folder of the checkpoints of trainings, one folder per model version."""

POINTER = "models/champion.json"
DESCRIPTION = "model.json"
"""The file in a model folder with its version, hyperparameters and facts of the training."""

VOCABULARY = "vocabulary.json"
"""The file in a model folder with the names of games, attributes and genres."""

ARRAYS = "arrays.npz"
"""The file in a model folder with all weights."""

ITEMS = "items.npz"
"""The file in a model folder with the vectors, the popularity and the facts of the vocabulary's games."""

EVALUATION = "evaluation.json"
"""The file with a model's evaluation, in the evaluation's own folder and in the model's folder in the store."""

USER_METRICS = "user_metrics.parquet"
"""The file beside the evaluation with the metrics of each held-out user."""

PROMOTED = "promoted"
"""The empty file in the folder of each model that was about to be made champion, so that retention keeps it."""

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
    """Give the folder of a model as a local path. Its files are verified by what reads them, see `open_model`.

    Raises:
        ArtifactError: The store does not hold the version.
    """
    with open_folder(store).local_path(f"models/{version}") as folder:
        if not (folder / MANIFEST).is_file():
            raise _no_model(store, version)
        yield folder


def model_uri(store: str, version: str) -> str:
    """Return the folder of a model in a store, of which `open_model` reads single files."""
    return f"{store.rstrip('/')}/models/{version}"


def open_model(model: str | Path) -> Artifact:
    """Open a model's folder, local or in a bucket, to read its files verified.

    Raises:
        ArtifactError: The folder holds no complete model.
    """
    return Artifact.open(str(model), "model", "train it again")


def read_description(model: str | Path) -> dict[str, Any]:
    """Return the content of a model's `model.json`.

    Raises:
        ArtifactError: The folder holds no complete model, or the file is damaged.
    """
    with open_model(model).file(DESCRIPTION) as path:
        description: dict[str, Any] = json.loads(path.read_text())
        return description


def evaluated_part(model: Path) -> Path:
    """Return the subfolder of the model that was evaluated, or the model's own folder if it was not refitted."""
    return model / EVALUATED if (model / EVALUATED).is_dir() else model


def model_version(model: str | Path) -> str:
    """Return the version of the model in a local folder.

    Raises:
        ArtifactError: The folder holds no complete model.
    """
    version: str = read_description(model)["version"]
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
    """Copy a model into the store under its version.

    A version that the store already holds stays as it is, unless it is damaged: then it is replaced.

    Args:
        store: The model store.
        model: Local folder of the model.
        evaluation: Folder of its evaluation, if any.

    Raises:
        ArtifactError: A folder holds no complete model or evaluation, or one of its files is damaged.
    """
    source = open_model(model)
    target = open_folder(f"{store.rstrip('/')}/models/{model_version(model)}")
    if _is_intact(target):
        return
    writer = ArtifactWriter(target)
    for name in source.files:
        with source.file(name) as path:
            writer.put(path, name)
    if evaluation is not None:
        evaluated = Artifact.open(evaluation, "evaluation", "train and evaluate again")
        for name in (EVALUATION, USER_METRICS):
            with evaluated.file(name) as path:
                writer.put(path, name)
    writer.finish()


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
    if folder.read(f"models/{version}/{MANIFEST}") is None:
        raise _no_model(store, version)
    while True:
        content = folder.read(POINTER)
        before = _pointer(store, content)
        found = before.version if before else None
        if found not in (expected, version):
            raise UserError(
                f"The champion of the model store {store} is {found or 'missing'}, no longer {expected or 'none'}, "
                f"since another run promoted at the same time: check it, then run again."
            )
        folder.write(f"models/{version}/{PROMOTED}", b"")  # a model with this file is never removed
        if before and found == version:
            return before
        pointer = Champion(version, datetime.now(UTC).isoformat(timespec="seconds"), expected, dict(metrics or {}))
        if folder.compare_and_swap(POINTER, seal(asdict(pointer)), content):
            return pointer


def _pointer(store: str, content: bytes | None) -> Champion | None:
    if content is None:
        return None
    try:
        return unseal(content, lambda fields: Champion(**fields))
    except UnreadableError as error:
        raise UserError(f"{store}/{POINTER} {error}: restore it, or delete it and promote a model again.") from None


def _is_intact(folder: Folder) -> bool:
    """Return whether a folder holds a complete model; log it if it held one that is damaged now."""
    if folder.read(MANIFEST) is None:
        return False
    try:
        Artifact.open(folder, "model", "it is written again").verify()
    except ArtifactError as error:
        log("promote", str(error))
        return False
    return True


def _no_model(store: str, version: str) -> ArtifactError:
    return ArtifactError(f"The model store {store} has no model {version}: promote it again.")
