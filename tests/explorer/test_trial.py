"""A history in an address."""

from hypothesis import given
from hypothesis import strategies as st

from explorer.filters import Filters, HistoryGame
from explorer.trial import Trial, decode_played, encode_played


@given(st.integers(-(2**31), 2**31 - 1), st.booleans(), st.none() | st.floats(0, 99_999))
def test_a_game_of_a_history_survives_the_address(game_id: int, recommended: bool, hours: float | None) -> None:
    encoded = encode_played(HistoryGame(game_id=game_id, recommended=recommended, hours=hours))
    assert decode_played(encoded) == {"game_id": str(game_id), "recommended": recommended, "hours": hours}


def test_each_change_leads_to_the_address_of_the_changed_history() -> None:
    played = [HistoryGame(game_id=3), HistoryGame(game_id=7, recommended=False, hours=12.5)]
    trial = Trial(played, "halo", Filters(genre="Indie"), {"known": "1"})
    rest = "&q=halo&genre=Indie&known=1"
    assert trial.address == f"/try?games=3,7-:12.5{rest}"
    assert trial.with_game(9) == f"/try?games=3,7-:12.5,9{rest}"
    assert trial.with_game(3, recommended=False) == f"/try?games=3-,7-:12.5{rest}"
    assert trial.with_hours(7, None) == f"/try?games=3,7-{rest}"
    assert trial.without(3) == f"/try?games=7-:12.5{rest}"
