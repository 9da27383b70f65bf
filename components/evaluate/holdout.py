"""What a model is measured on: users with a history before a day, and the games that they recommend from it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.histories import Histories, positions_of
from components.shared.interactions import Bools, Interactions, Ints, Longs


@dataclass(frozen=True)
class HeldOut:
    """Users with what they had before the cutoff and the games, new to them, that they recommended from it on.

    Attributes:
        history: B users' games before the cutoff.
        relevant: the same users' new games, each at least one.
        left_out: held-out interactions that cannot be asked for: by users without a history, or with games that
            nobody had reviewed before the cutoff, which may not have been on sale.
    """

    history: Histories
    relevant: Histories
    left_out: int

    def __len__(self) -> int:
        return len(self.history)


def hold_out(past: Interactions, future: Interactions, game_ids: Ints) -> HeldOut:
    """Set up the evaluation of what was learnt from `past` on `future`; `game_ids` int32 [N], ascending.

    A game is relevant to whoever recommends it; a review that does not is part of the history only.
    """
    future = future.where(future.recommended)
    history = Histories.of(past, game_ids)
    known = np.zeros(len(game_ids), dtype=bool)
    known[history.games] = True
    games = positions_of(future.games, game_ids)
    rows = positions_of(future.users, history.users)
    seen = np.isin(_pairs(rows, games, len(game_ids)), _pairs(*_flat(history), len(game_ids)))
    asked = (rows >= 0) & known[games] & ~seen
    relevant = Histories.of(future.where(asked), game_ids)
    return HeldOut(history.take(np.searchsorted(history.users, relevant.users)), relevant, int((~asked & ~seen).sum()))


def relevant_at(ranked: Ints, relevant: Histories) -> Bools:
    """Whether the game at each place of each user's ranking is relevant: bool [B, k] from int32 [B, k] positions."""
    width = 1 + max(int(ranked.max(initial=-1)), int(relevant.games.max(initial=-1)))
    rows = np.arange(len(ranked))[:, None]
    # A place that is left empty, -1, must not pass for the last game of the user before.
    return (ranked >= 0) & np.isin(rows * width + ranked, _pairs(*_flat(relevant), width))


def _flat(histories: Histories) -> tuple[Longs, Ints]:
    return np.repeat(np.arange(len(histories)), histories.lengths), histories.games


def _pairs(rows: npt.NDArray[Any], games: Ints, n_games: int) -> Longs:
    return rows.astype(np.int64) * n_games + games
