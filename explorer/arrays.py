"""A publication's model as files that every worker of a machine maps into its memory: read once, held once.

Its folder has an array a file, and `arrays.json`, which goes last.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from explorer.catalogue import Facts
from steam_recsys.arrays import BoolArray, Int32Array
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.retrieval import ExactIndex
from steam_recsys.model.scorer import Scorer

DESCRIPTION = "arrays.json"
_CATALOGUE = ("history", "candidates", "popularity_offset")
_FACTS = ("released", "released_year", "delisted", "ram_gb", "storage_gb", "systems")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Arrays:
    """The games of a publication, as its model places them.

    Attributes:
        version: the publication.
        model_version: its model.
        game_ids: int32 [N], the id of each position, ascending.
        catalogue: for answers, with an index of the games on offer.
        offered: bool [N], the games that the publication could recommend.
        facts: for filters and orders.
    """

    version: str
    model_version: str
    game_ids: Int32Array
    catalogue: Scorer
    offered: BoolArray
    facts: Facts

    def write(self, folder: Path) -> None:
        """Write them to a new folder."""
        folder.mkdir(parents=True)
        catalogue, facts = self.catalogue, self.facts
        assert isinstance(catalogue.index, ExactIndex)
        arrays = {"game_ids": self.game_ids, "offered": self.offered}
        arrays |= {name: getattr(catalogue, name) for name in _CATALOGUE}
        arrays |= {f"link_{name}": array for name, array in vars(catalogue.item_item).items()}
        arrays |= {f"index_{name}": array for name, array in vars(catalogue.index).items()}
        arrays |= {name: getattr(facts, name) for name in _FACTS}
        arrays |= {f"genre_{number}": positions for number, positions in enumerate(facts.genres.values())}
        for number, (positions, ranks) in enumerate(facts.ranks.values()):
            arrays |= {f"ranked_{number}": positions, f"rank_{number}": ranks}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        described = {
            "version": self.version,
            "model_version": self.model_version,
            "scale": catalogue.scale,
            "history_weights": asdict(catalogue.history_weights),
            "names": facts.names,
            "genres": list(facts.genres),
            "ranks": list(facts.ranks),
        }
        (folder / DESCRIPTION).write_text(json.dumps(described))

    @classmethod
    def read(cls, folder: Path) -> Arrays:
        """Map what `write` wrote into memory."""
        described = json.loads((folder / DESCRIPTION).read_text())
        arrays = {path.stem: _mapped(path) for path in folder.glob("*.npy")}
        catalogue = Scorer(
            **{name: arrays[name] for name in _CATALOGUE},
            item_item=ItemItemWeights(**_prefixed("link_", arrays)),
            scale=described["scale"],
            history_weights=HistoryWeights(**described["history_weights"]),
            index=ExactIndex(**_prefixed("index_", arrays)),
        )
        genres = {genre: arrays[f"genre_{number}"] for number, genre in enumerate(described["genres"])}
        ranks = {
            (genre, rank_type): (arrays[f"ranked_{number}"], arrays[f"rank_{number}"])
            for number, (genre, rank_type) in enumerate(described["ranks"])
        }
        facts = Facts(names=described["names"], **{name: arrays[name] for name in _FACTS}, genres=genres, ranks=ranks)
        return cls(
            described["version"], described["model_version"], arrays["game_ids"], catalogue, arrays["offered"], facts
        )


def arrays_folder(cache: Path, version: str) -> Path:
    """Where a publication's arrays are, whatever its name."""
    return cache / hashlib.sha256(version.encode()).hexdigest()[:16]


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _mapped(path: Path) -> Array:
    # An array like any: NumPy's own class for mapped files is slow to take apart. What is empty cannot be mapped.
    array: Array = np.load(path, allow_pickle=False)
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) if array.size else array
