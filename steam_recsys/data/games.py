"""Attributes of games besides their reviews, and which games are available.

The attributes give a game without reviews its vector.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from math import inf, log2
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import UNDATED

GAME_COLUMNS = [
    "game_id", "genres", "developers", "publishers", "released_on", "ram_gb", "storage_gb", "os", "description",
]  # fmt: skip
"""The columns of a snapshot's games that the attributes are made from."""

MIN_GAMES = 2
"""Games that must share an attribute: an attribute of one game adds nothing to the game's own vector."""

MIN_GAMES_PER_WORD = 5
MAX_WORD_SHARE = 0.2
MAX_WORDS = 2_000
WORD_PREFIX = "word "
_WORD_PATTERN = re.compile(r"[^\W\d_]{3,}")

PLACEHOLDER_NAME = r"^\s*((steam\s+)?app(\s*id)?)?\s*#?\s*[0-9]+\s*$"
"""A name that is only the number of an app, such as "Steam app 72850" or "72850"."""

Attributes = Mapping[str, float]
"""A game's attributes: weight by name. The squared weights of each kind sum to one, except for genres, developers and
publishers, whose weights sum to one."""


class FlatAttributes(NamedTuple):
    """The attributes of N games as a sparse matrix in CSR form, with a column per name.

    Attributes:
        names: The names, each once.
        offsets: int64 [N + 1].
        columns: int64, the attribute of each entry, as an index into `names`.
        weights: float32, the weight of each entry.
    """

    names: Sequence[str]
    offsets: Int64Array
    columns: Int64Array
    weights: Float32Array


@dataclass(frozen=True)
class Games:
    """N games and their attributes, which do not depend on reviews.

    Attributes:
        ids: Distinct game ids, int32 [N].
        attributes: Attributes of each game.
    """

    ids: Int32Array
    attributes: Sequence[Attributes]

    @classmethod
    def from_table(cls, table: pa.Table) -> Games:
        """Read games from the columns `GAME_COLUMNS` of a snapshot's table, ordered by id."""
        ordered = table.select(GAME_COLUMNS).sort_by("game_id")
        return cls(ordered["game_id"].to_numpy(), [_attributes(game) for game in ordered.to_pylist()])

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def flat_attributes(self) -> FlatAttributes:
        """The attributes as arrays; they are made once, as training looks them up for each scorer."""
        column_of: dict[str, int] = {}
        columns = [column_of.setdefault(name, len(column_of)) for game in self.attributes for name in game]
        weights = [weight for game in self.attributes for weight in game.values()]
        offsets = offsets_from_lengths(np.array([len(game) for game in self.attributes], dtype=np.int64))
        return FlatAttributes(
            list(column_of), offsets, np.array(columns, dtype=np.int64), np.array(weights, dtype=np.float32)
        )

    def select(self, ids: Int32Array) -> Games:
        """Return the games with the given ids, in that order. A missing game has no attributes.

        These games must be ordered by id.
        """
        rows = positions_of(ids, self.ids).tolist()
        return Games(np.asarray(ids, dtype=np.int32), [self.attributes[row] if row >= 0 else {} for row in rows])


def available(games: pa.Table, as_of: date | None) -> BoolArray:
    """Select the games that can be recommended on a day: released, still sold, and not just a number.

    Args:
        games: Table with `released_on`, `delisted_on`, `name` and `description`; a game without a release date counts
            as released.
        as_of: The day; None if no day is known, and then every game with a name or a description and without a
            delisting date is available.

    Returns:
        bool [n_games].
    """
    placeholder = is_placeholder(games)
    if as_of is None:
        return np.asarray(pc.and_not(pc.is_null(games["delisted_on"]), placeholder))
    released = pc.fill_null(pc.less_equal(games["released_on"], pa.scalar(as_of)), True)
    delisted = pc.fill_null(pc.less_equal(games["delisted_on"], pa.scalar(as_of)), False)
    return np.asarray(pc.and_not(pc.and_not(released, delisted), placeholder))


def is_placeholder(games: pa.Table) -> pa.ChunkedArray:
    """Return which games of a table have neither a name of their own nor a description, as booleans.

    Reviews may name a game that the catalogue does not have. A user to whom it is recommended learns nothing of it.
    """
    unnamed = pc.match_substring_regex(games["name"], PLACEHOLDER_NAME, ignore_case=True)
    return pc.and_(unnamed, pc.equal(pc.utf8_trim_whitespace(pc.fill_null(games["description"], "")), ""))


def release_days(games: pa.Table) -> Int32Array:
    """Return the release days of a table with `released_on`, int32 [n_games], `UNDATED` if unknown."""
    days: Int32Array = pc.fill_null(games["released_on"].cast(pa.int32()), UNDATED).to_numpy()
    return days


def shared_names(attributes: Sequence[Attributes]) -> tuple[str, ...]:
    """Return the names of attributes that get a vector, sorted: several games share them, and words are not common."""
    counts = Counter(name for game in attributes for name in game)
    names = {name for name, count in counts.items() if count >= MIN_GAMES and not name.startswith(WORD_PREFIX)}
    max_games = MAX_WORD_SHARE * len(attributes)
    words = [
        (-count, name)
        for name, count in counts.items()
        if name.startswith(WORD_PREFIX) and MIN_GAMES_PER_WORD <= count <= max_games
    ]
    return tuple(sorted(names | {name for _, name in sorted(words)[:MAX_WORDS]}))


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
    words = set(_WORD_PATTERN.findall(str(game["description"] or "").lower()))
    return found | {WORD_PREFIX + word: len(words) ** -0.5 for word in words}
