from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data import games as module
from steam_recsys.data.games import GAME_COLUMNS, Attributes, Games, available, shared_names
from steam_recsys.data.schemas import TABLES
from tests.snapshots import write_snapshot_of

NOTHING: dict[str, Any] = {
    "name": "Game", "released_on": None, "genres": [], "developers": [], "publishers": [],
    "ram_gb": None, "storage_gb": None, "os": None, "description": None,
}  # fmt: skip
FACTS = pa.schema(
    [("name", pa.string()), ("description", pa.string()), ("released_on", pa.date32()), ("delisted_on", pa.date32())]
)
TODAY = date(2024, 5, 10)


def attributes(**about: Any) -> Attributes:
    """Return the attributes of one game, read from a table with the snapshot's schema."""
    table = pa.Table.from_pylist([{**NOTHING, "game_id": 1, **about}], schema=TABLES["games"])
    return Games.from_table(table).attributes[0]


def test_attributes_are_read_from_the_snapshot(tmp_path: Path) -> None:
    about = {
        2: {
            "genres": ["Action", "RPG"], "developers": ["id"], "publishers": ["Valve", "id"],
            "released_on": date(2016, 5, 13), "ram_gb": 8.0, "storage_gb": 55.0, "os": "windows",
            "description": "Rip and tear, and rip again.",
        }
    }  # fmt: skip
    snapshot = write_snapshot_of(tmp_path, [(1, 3, date(2020, 1, 1))], about=about)
    games = Games.from_table(snapshot.table("games", GAME_COLUMNS))
    assert games.ids.tolist() == [1, 2, 3]
    assert games.ids.dtype == np.int32
    assert games.attributes[0] == games.attributes[2] == {}
    assert games.attributes[1] == {
        "genre Action": 0.5, "genre RPG": 0.5, "developer id": 1, "publisher Valve": 0.5, "publisher id": 0.5,
        "released 2016": 1, "memory 2^3 GB": 1, "storage 2^6 GB": 1, "os windows": 1,
        **{f"word {word}": 0.5 for word in ("rip", "and", "tear", "again")},
    }  # fmt: skip


def test_games_are_ordered_by_id() -> None:
    rows = [{**NOTHING, "game_id": game, "os": f"os of {game}"} for game in (7, 1, 5)]
    games = Games.from_table(pa.Table.from_pylist(rows, schema=TABLES["games"]))
    assert games.ids.tolist() == [1, 5, 7]
    assert [next(iter(known)) for known in games.attributes] == ["os os of 1", "os os of 5", "os os of 7"]


@pytest.mark.parametrize(
    ("size", "known"),
    [
        (None, False), (float("nan"), False), (float("inf"), False), (-float("inf"), False), (0.0, False),
        (-4.0, False), (1e-30, True), (0.5, True), (3e38, True),
    ],
)  # fmt: skip
def test_an_invalid_size_is_unknown(size: float | None, known: bool) -> None:
    found = attributes(ram_gb=size, storage_gb=size)
    assert {name.split()[0] for name in found} == ({"memory", "storage"} if known else set())


def test_sizes_are_rounded_to_powers_of_two() -> None:
    found = [next(iter(attributes(ram_gb=size))) for size in (0.25, 0.5, 1, 2.5, 3, 4, 5.5, 6, 8)]
    powers = [-2, -1, 0, 1, 2, 2, 2, 3, 3]
    assert found == [f"memory 2^{power} GB" for power in powers]


@given(st.lists(st.text(max_size=5), max_size=5))
def test_genres_share_the_weight_without_repeats(genres: list[str]) -> None:
    found = attributes(genres=genres)
    assert found == {f"genre {name}": pytest.approx(1 / len(set(genres))) for name in genres}


def test_words_have_three_or_more_letters_of_any_script_and_count_once() -> None:
    found = attributes(description="It's GREAT-great: x2 game_over Ünïcode Привет 日本語版 a1b2c3 <br/>")
    words = ("great", "game", "over", "ünïcode", "привет", "日本語版")
    assert found == {f"word {word}": pytest.approx(6**-0.5) for word in words}


@given(st.one_of(st.none(), st.text(max_size=300)))
def test_any_text_is_a_valid_description(text: str | None) -> None:
    found = attributes(description=text)
    assert all(name.startswith("word ") and len(name) >= 8 for name in found)
    assert sum(weight**2 for weight in found.values()) == pytest.approx(1 if found else 0)


def test_kinds_of_attributes_cannot_be_confused() -> None:
    found = attributes(genres=["word great"], developers=["RPG"], os="", description="great")
    assert found == {"genre word great": 1, "developer RPG": 1, "word great": 1}


NAMES = ["genre A", "genre B", "os C", *(f"word {letter * 3}" for letter in "abcd")]
CATALOGUES = st.lists(st.sets(st.sampled_from(NAMES)), max_size=40)


def naive_shared_names(attributes: list[Attributes], most_words: int) -> list[str]:
    counts = Counter(name for game in attributes for name in game)
    kept = [name for name in counts if not name.startswith("word ") and counts[name] >= 2]
    words = [name for name in counts if name.startswith("word ") and 5 <= counts[name] <= len(attributes) / 5]
    words.sort(key=lambda name: (-counts[name], name))
    return sorted(kept + words[:most_words])


@given(CATALOGUES, st.integers(0, 3))
def test_shared_names_agree_with_a_naive_count(catalogue: list[set[str]], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_WORDS", most)
        games = [dict.fromkeys(names, 1.0) for names in catalogue]
        assert list(shared_names(games)) == naive_shared_names(games, most)


def test_words_need_five_games_and_at_most_a_fifth_and_other_names_two() -> None:
    counts = {"word four": 4, "word five": 5, "word six": 6, "word seven": 7, "genre One": 1, "genre Two": 2}
    games = [{name: 1.0 for name, count in counts.items() if game < count} for game in range(30)]
    assert shared_names(games) == ("genre Two", "word five", "word six")


@given(st.sets(st.integers(1, 9)), st.lists(st.integers(1, 12), unique=True))
def test_a_missing_game_has_no_attributes(known: set[int], wanted: list[int]) -> None:
    games = Games(np.array(sorted(known), dtype=np.int32), [{f"os {game}": 1.0} for game in sorted(known)])
    found = games.select(np.array(wanted, dtype=np.int64))
    assert found.ids.tolist() == wanted
    assert found.ids.dtype == np.int32
    assert list(found.attributes) == [{f"os {game}": 1.0} if game in known else {} for game in wanted]
    assert len(games) == len(known)


@pytest.mark.parametrize(
    ("released_on", "delisted_on", "expected"),
    [
        (None, None, True),
        (date(2024, 5, 10), None, True),
        (date(2024, 5, 11), None, False),
        (date(2020, 1, 1), date(2024, 5, 10), False),
        (date(2020, 1, 1), date(2024, 5, 11), True),
        (None, date(2023, 1, 1), False),
        (date(2024, 5, 11), date(2024, 5, 9), False),
    ],
)
def test_games_are_available_from_release_until_delisting(released_on, delisted_on, expected):
    row = {"name": "Portal", "released_on": released_on, "delisted_on": delisted_on}
    games = pa.Table.from_pylist([row], schema=FACTS)
    assert available(games, TODAY).tolist() == [expected]


def test_without_a_date_only_delisted_games_are_unavailable():
    games = pa.Table.from_pylist(
        [{"name": "A", "released_on": date(2030, 1, 1)}, {"name": "B", "delisted_on": date(2030, 1, 1)}, {"name": "C"}],
        schema=FACTS,
    )
    assert available(games, None).tolist() == [True, False, True]


def test_empty_catalogue_has_no_available_games():
    assert available(FACTS.empty_table(), TODAY).tolist() == []


@pytest.mark.parametrize(
    ("name", "description", "expected"),
    [
        ("Steam app 72850", None, False),
        ("steam APP 72850 ", " \n", False),
        ("App 10", "", False),
        ("AppID #10", None, False),
        ("2048", None, False),
        (" #10", None, False),
        ("2048", "Join the numbers.", True),
        ("Steam app 72850", "A maze.", True),
        ("Happy App 10", None, True),
        ("App 10: The Game", None, True),
        ("10 Seconds", None, True),
        ("App", None, True),
        ("Game 7", None, True),
        ("ポータル", None, True),
    ],
)
@pytest.mark.parametrize("as_of", [TODAY, None])
def test_games_without_a_name_of_their_own_or_a_description_are_unavailable(
    name: str, description: str | None, expected: bool, as_of: date | None
) -> None:
    games = pa.Table.from_pylist([{"name": name, "description": description}], schema=FACTS)
    assert available(games, as_of).tolist() == [expected]
