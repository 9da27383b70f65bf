"""What is known of a game besides its reviews, as named attributes: what a game that nobody reviewed is placed by."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log2

import numpy as np
import pyarrow as pa

from steam_recsys.arrays import Int32Array
from steam_recsys.data.histories import positions_of

COLUMNS = [
    "game_id", "genres", "developers", "publishers", "released_on", "ram_gb", "storage_gb", "os", "description",
]  # fmt: skip
"""The columns of the games that are read here."""

LEAST_GAMES = 2
"""Games that an attribute must be shared by: one of a single game says no more than the game's own vector."""

LEAST_GAMES_WORD = 5
LARGEST_SHARE_WORD = 0.2
MOST_WORDS = 2_000
WORD = "word "

_WORD = re.compile(r"[^\W\d_]{3,}")

Attributes = Mapping[str, float]
"""A game's attributes by name, each with its weight; the weights' squares sum to one for each kind, but for genres,
developers and publishers, of which the mean is taken."""


@dataclass(frozen=True)
class Games:
    """N games and what is known of them; none of it changes with their reviews.

    Attributes:
        ids: int32 [N], distinct.
        attributes: each game's.
    """

    ids: Int32Array
    attributes: Sequence[Attributes]

    @classmethod
    def from_table(cls, table: pa.Table) -> Games:
        """Read the columns `COLUMNS` of a snapshot's games; in the order of their ids."""
        ordered = table.select(COLUMNS).sort_by("game_id")
        return cls(ordered["game_id"].to_numpy(), [_attributes(game) for game in ordered.to_pylist()])

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, ids: Int32Array) -> Games:
        """Those with some ids, in their order; these here are in that of ids. Of a missing one nothing is known."""
        rows = positions_of(ids, self.ids).tolist()
        return Games(np.asarray(ids, dtype=np.int32), [self.attributes[row] if row >= 0 else {} for row in rows])


def shared_names(attributes: Sequence[Attributes]) -> tuple[str, ...]:
    """The names that are worth a vector, sorted: shared by some games, and of the words neither rare nor everywhere."""
    counts = Counter(name for game in attributes for name in game)
    names = {name for name, count in counts.items() if count >= LEAST_GAMES and not name.startswith(WORD)}
    most = LARGEST_SHARE_WORD * len(attributes)
    words = [
        (-count, name) for name, count in counts.items() if name.startswith(WORD) and LEAST_GAMES_WORD <= count <= most
    ]
    return tuple(sorted(names | {name for _, name in sorted(words)[:MOST_WORDS]}))


def _attributes(game: Mapping[str, object]) -> Attributes:
    found: dict[str, float] = {}
    for column, kind in (("genres", "genre"), ("developers", "developer"), ("publishers", "publisher")):
        names = game[column]
        assert isinstance(names, list)
        found |= {f"{kind} {name}": 1 / len(set(names)) for name in names}
    if released := game["released_on"]:
        found[f"released {released:%Y}"] = 1.0
    for column, kind in (("ram_gb", "memory"), ("storage_gb", "storage")):
        size = game[column]
        if isinstance(size, float) and 0 < size < inf:
            found[f"{kind} 2^{round(log2(size))} GB"] = 1.0
    if system := game["os"]:
        found[f"os {system}"] = 1.0
    words = set(_WORD.findall(str(game["description"] or "").lower()))
    return found | {WORD + word: len(words) ** -0.5 for word in words}
