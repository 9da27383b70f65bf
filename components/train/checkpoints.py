"""Checkpoints: what an interrupted training goes on from, in a folder of the store, one file a fit."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.logging import log
from steam_recsys.storage.folder import Folder, open_folder

EVERY_SECONDS = 60.0

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass
class Checkpoints:
    """The checkpoints of one training.

    Attributes:
        folder: of the training alone; gone once the model is written.
        every_seconds: the least time between two of them.
    """

    folder: Folder
    every_seconds: float = EVERY_SECONDS
    _written: float = field(default_factory=time.monotonic)

    @classmethod
    def for_version(cls, store: str, version: str) -> Checkpoints:
        """Those of the training of a version of the model."""
        return cls(open_folder(f"{store.rstrip('/')}/checkpoints/{version}"))

    def read(self, name: str) -> Arrays:
        """The last one of a fit, as it was written; nothing where there is none, or one that cannot be read."""
        content = self.folder.read(f"{name}.npz")
        if content is None:
            return {}
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            log("train", f"the checkpoint {self.folder.uri}/{name}.npz cannot be read ({error}): the fit starts anew")
            return {}

    def due(self) -> bool:
        """Whether it is time for another one."""
        return time.monotonic() - self._written >= self.every_seconds

    def write(self, name: str, arrays: Arrays) -> None:
        """Put one in the place of the fit's last; it appears whole or not at all."""
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        self.folder.write(f"{name}.npz", content.getvalue())
        self._written = time.monotonic()

    def clear(self) -> None:
        """Remove all of them."""
        self.folder.remove("")
