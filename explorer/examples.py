"""What is asked and answered, as examples for the API's description: answers are made as the API makes them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from explorer.views import Answer, Filters, LiveAnswer, Recommended

USER_ID, GAME_ID = 1, 620
FILTERS = Filters("newest", "Action", 2005, 2025, 8.0, 16.0, "linux", limit=2)
"""Parameters; all filters, as a description leaves out what is null."""

HISTORY: Final[dict[str, Any]] = {
    "history": [440, {"game_id": 620, "recommended": True, "hours": 12.5}],
    **asdict(FILTERS),
}
"""A body: ids, and objects that say more."""

_VERSION, _MODEL = "20151231-d5763516", "20151231-89ae0662"
_GAMES = [
    Recommended(1, 730, "Counter-Strike: Global Offensive", -2.184712, "because you played Team Fortress 2"),
    Recommended(2, 400, "Portal", -2.930155, "because you played Portal 2"),
]


RECOMMENDATIONS: Final = asdict(Answer(USER_ID, FILTERS, _VERSION, _GAMES))
RECOMMENDED: Final = asdict(LiveAnswer(_VERSION, _MODEL, FILTERS, _GAMES))
"""Answers to a user's id, and to a posted history."""
