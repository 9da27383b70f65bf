"""Predictions in the store: the folder of a version, the names of its files, its plan, and its finished shards."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import Folder

PLAN_FILE = "plan.json"
"""The plan, written once all the files that the shards read are complete."""

POPULAR_FILE = "popular.parquet"
"""The fallback lists, in the schema `POPULAR`."""

CATALOGUE_FILE = "catalogue.parquet"
"""The games with their attributes, their recent popularity on the plan's day, and whether they are available."""

SHARDS = "recommendations"
"""The folder of the shards' predictions."""


def predictions_uri(store: str, version: str) -> str:
    """Return the folder with the predictions of a version."""
    return f"{store.rstrip('/')}/predictions/{version}"


def histories_name(number: int) -> str:
    """Return the name of a shard's input, in the schema `HISTORIES`: all users by id, with or without reviews."""
    return f"histories/shard-{number:05}.parquet"


def shard_name(number: int) -> str:
    """Return the name of a shard's predictions, in the schema `RECOMMENDATIONS`."""
    return f"{SHARDS}/shard-{number:05}.parquet"


@dataclass(frozen=True)
class Plan:
    """What to predict.

    Attributes:
        version: Version of the publication.
        model_version: The champion.
        snapshot_id: The snapshot that users and games come from.
        as_of: ISO date of the day after the newest review.
        shards: The first and the last user id of each shard.
    """

    version: str
    model_version: str
    snapshot_id: str
    as_of: str
    shards: list[tuple[int, int]]

    def facts(self) -> dict[str, Any]:
        """Return the plan as plain values for the journal and artifacts."""
        return {**asdict(self), "shards": len(self.shards)}

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.content())

    def content(self) -> bytes:
        """Return the plan as JSON."""
        return f"{json.dumps(asdict(self), indent=2)}\n".encode()

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan from a file.

        Raises:
            UserError: The file does not exist.
        """
        try:
            content = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise UserError(f"{path} holds no plan: run the inference pipeline.") from None
        shards = [(first, last) for first, last in content.pop("shards")]
        return cls(**content, shards=shards)


@dataclass(frozen=True)
class ShardManifest:
    """A finished shard. The manifest is written after the shard's file: a shard without a manifest is not finished.

    Attributes:
        version: Version of the publication.
        model_version: The model that made the predictions.
        snapshot_id: The snapshot that the users and games come from.
        shard: Number of the shard.
        users: The first and the last user id of its range.
        rows: Number of users with recommendations.
        search: How games were retrieved: exactly, or approximately with which recall.
        sha256: Checksum of its file.
    """

    version: str
    model_version: str
    snapshot_id: str
    shard: int
    users: tuple[int, int]
    rows: int
    search: str
    sha256: str

    def describes(self, path: Path) -> bool:
        """Return whether a file is the shard's, byte for byte."""
        return path.exists() and sha256_of(path) == self.sha256

    def write(self, folder: Folder) -> None:
        """Write the manifest to a folder of predictions."""
        folder.write(_manifest_name(self.shard), f"{json.dumps(asdict(self), indent=2)}\n".encode())

    @classmethod
    def read(cls, folder: Folder, shard: int) -> ShardManifest | None:
        """Read a shard's manifest; None if the shard is not finished."""
        content = folder.read(_manifest_name(shard))
        if content is None:
            return None
        fields = json.loads(content)
        first, last = fields.pop("users")
        return cls(**fields, users=(first, last))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_name(number: int) -> str:
    return f"manifests/shard-{number:05}.json"
