"""The history that a visitor builds on the page `/try`, and how its address holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pydantic_core import PydanticCustomError

from explorer.filters import Filters, HistoryGame, filter_parameters, page_address
from explorer.templating import exact

TRY_PATH = "/try"

_PLAYED = re.compile(r"(?P<game_id>-?[0-9]+)(?P<disliked>-?)(:(?P<hours>[0-9]+(\.[0-9]+)?))?")


@dataclass(frozen=True)
class Trial:
    """A history that is being built: its games, the oldest first, the text that is searched, and the filters."""

    games: list[HistoryGame]
    text: str
    filters: Filters
    further: Mapping[str, object]

    @property
    def ids(self) -> list[int]:
        """The games' ids."""
        return [game.game_id for game in self.games]

    @property
    def encoded(self) -> str:
        """The history as its address has it."""
        return ",".join(map(encode_played, self.games))

    @property
    def address(self) -> str:
        """The address of this history."""
        return self._address(self.games)

    def with_game(self, game_id: int, recommended: bool = True) -> str:
        """Return the address of the history with a verdict on a game, which is added if it is new."""
        changed = [game.model_copy(update={"recommended": recommended}) if game.game_id == game_id else game
                   for game in self.games]  # fmt: skip
        if game_id not in self.ids:
            changed.append(HistoryGame(game_id=game_id, recommended=recommended))
        return self._address(changed)

    def with_hours(self, game_id: int, hours: float | None) -> str:
        """Return the address of the history with the hours of a game."""
        return self._address(
            [game.model_copy(update={"hours": hours}) if game.game_id == game_id else game for game in self.games]
        )

    def without(self, game_id: int) -> str:
        """Return the address of the history without a game."""
        return self._address([game for game in self.games if game.game_id != game_id])

    def _address(self, games: Sequence[HistoryGame]) -> str:
        history = ",".join(map(encode_played, games))
        parameters = {"games": history, "q": self.text, **filter_parameters(self.filters), **self.further}
        return page_address(TRY_PATH, parameters)


def encode_played(game: HistoryGame) -> str:
    """Return a game of a history as an address has it; `decode_played` reads it.

    Example:
        >>> encode_played(HistoryGame(game_id=440, recommended=False, hours=12.5))
        '440-:12.5'
    """
    hours = "" if game.hours is None else f":{Decimal(exact(game.hours)):f}"
    return f"{game.game_id}{'' if game.recommended else '-'}{hours}"


def decode_played(value: object) -> object:
    """Return the fields of a game that `encode_played` wrote."""
    if not isinstance(value, str):
        return value
    found = _PLAYED.fullmatch(value)
    if not found:
        raise PydanticCustomError("played", "Write a game's id, with - if it is disliked and :12.5 for the hours")
    hours = found["hours"]
    return {
        "game_id": found["game_id"],
        "recommended": not found["disliked"],
        "hours": None if hours is None else float(hours),
    }
