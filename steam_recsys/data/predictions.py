"""A publication's predictions in the store: where they are, what the files are called, and when a shard is finished."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import Folder

PLAN_FILE = "plan.json"
"""What the predictions are made from, written when all that they are made from is there."""

POPULAR_FILE = "popular.parquet"
"""The fallback lists, in the schema POPULAR."""

CATALOGUE_FILE = "catalogue.parquet"
"""The games with what is known of them, their recent popularity as of the plan, and whether they may be recommended."""

SHARDS = "recommendations"
"""The folder of the shards' files."""


def predictions_uri(store: str, version: str) -> str:
    """The folder of a publication to be."""
    return f"{store.rstrip('/')}/predictions/{version}"


def histories_name(number: int) -> str:
    """What a shard is predicted from, in the schema HISTORIES: its users, ordered by id, those without reviews too."""
    return f"histories/shard-{number:05}.parquet"


def shard_name(number: int) -> str:
    """A shard's file in that folder, in the schema RECOMMENDATIONS."""
    return f"{SHARDS}/shard-{number:05}.parquet"


@dataclass(frozen=True)
class Plan:
    """A publication to be: the champion and the snapshot that it is made from, and its shards.

    `as_of` is the ISO date of the day after the newest review, `shards` the first and last user id of each shard.
    """

    version: str
    model_version: str
    snapshot_id: str
    as_of: str
    shards: list[tuple[int, int]]

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return {**asdict(self), "shards": len(self.shards)}

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.content())

    def content(self) -> bytes:
        """The plan as JSON."""
        return f"{json.dumps(asdict(self), indent=2)}\n".encode()

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read what `write` wrote.

        Raises:
            UserError: there is no plan.
        """
        try:
            content = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise UserError(f"{path} holds no plan: run the inference pipeline.") from None
        shards = [(first, last) for first, last in content.pop("shards")]
        return cls(**content, shards=shards)


@dataclass(frozen=True)
class ShardManifest:
    """What a finished shard is: written after its file, so that a shard without a manifest is not finished.

    Attributes:
        version: the publication that it is part of.
        model_version: the model that made it.
        snapshot_id: the snapshot that it was made from.
        shard: its number.
        users: the first and the last user id of its range.
        rows: users with recommendations.
        search: how the games were found: exactly, or approximately, and then how well.
        sha256: of its file.
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
        """Whether a file is the shard's, byte for byte."""
        return path.exists() and sha256_of(path) == self.sha256

    def write(self, folder: Folder) -> None:
        """Write it to a folder of predictions."""
        folder.write(_manifest_name(self.shard), f"{json.dumps(asdict(self), indent=2)}\n".encode())

    @classmethod
    def read(cls, folder: Folder, shard: int) -> ShardManifest | None:
        """Read that of a shard; None where it is not finished."""
        content = folder.read(_manifest_name(shard))
        if content is None:
            return None
        described = json.loads(content)
        first, last = described.pop("users")
        return cls(**described, users=(first, last))


def sha256_of(path: Path) -> str:
    """The checksum of a shard's file, as its manifest has it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _manifest_name(number: int) -> str:
    return f"manifests/shard-{number:05}.json"
