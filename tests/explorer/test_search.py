"""The search for games by name: ten searches on a small list and on real names, and what it does without pg_trgm."""

import csv
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from explorer.repository import QUERIES
from explorer.settings import Settings
from steam_recsys.database.connection import create_schema
from tests.explorer.test_repository import read, small

__all__ = ["small"]

REAL_GAMES = Path(__file__).parents[2].parent / "shared" / "data" / "steam-ucsd" / "games_description.csv"

GAMES = {
    "Half-Life": 50, "Half-Life 2": 90, "Half Minute Hero": 5, "Counter-Strike": 60,
    "Counter-Strike: Global Offensive": 99, "Serious Sam: The First Encounter": 20, "Sid Meier's Civilization® V": 80,
    "Sid Meier's Civilization® IV": 40, "Civilization V: Brave New World": 30, "The Witcher 2: Assassins of Kings": 70,
    "The Witcher Adventure Game": 2, "Grand Theft Auto V": 95, "Grand Theft Auto: Vice City": 45, "DARK SOULS™ III": 55,
    "DARK SOULS™ II": 35, "S.T.A.L.K.E.R.: Call of Pripyat": 25, "XCOM: Enemy Unknown": 33, "X-COM: UFO Defense": 11,
    "Portal": 65, "Portal 2": 85, "Portal 2000": 1, "Pokémon Trading": 3, "Command & Conquer: Red Alert 3": 15,
    "Call of Duty®: Modern Warfare® 2": 58, "60 Seconds!": 12, "Victoria II": 22, "100% Orange Juice": 13,
    "Borderlands 2": 77, "ポータル": 4,
}  # fmt: skip
"""Names and numbers of reviews."""

SEARCHES = [
    ("half life", "Half-Life"),
    ("counter strike", "Counter-Strike"),
    ("counterstrike", "Counter-Strike"),
    ("civ 5", "Sid Meier's Civilization® V"),
    ("WITCHER", "The Witcher 2: Assassins of Kings"),
    ("gta 5", "Grand Theft Auto V"),
    ("dark souls 3", "DARK SOULS™ III"),
    ("stalker", "S.T.A.L.K.E.R.: Call of Pripyat"),
    ("modernwarfare", "Call of Duty®: Modern Warfare® 2"),
    ("borderlnds", "Borderlands 2"),
]
"""A text, and the game that it finds first."""

REAL_NAMES = {
    "WITCHER": "The Witcher 2: Assassins of Kings Enhanced Edition",
    "stalker": "S.T.A.L.K.E.R.: Clear Sky",
}
"""What a search finds first among the real names, where that is another game."""

Find = Callable[[str], list[str]]


def add_games(shop: Connection, games: Sequence[tuple[str, int]]) -> None:
    with shop.cursor() as cursor:
        cursor.executemany("INSERT INTO steam.games (name, reviews_total) VALUES (%s, %s)", games)
        cursor.execute("ANALYZE steam.games")


def finder(settings: Settings) -> Find:
    def find(text: str) -> list[str]:
        return [game.name for game in read(settings, lambda repository: repository.find_games(text, 10)).games]

    return find


@pytest.fixture
def find(small: tuple[Connection, Settings]) -> Find:
    """The search in a shop with `GAMES`."""
    shop, settings = small
    add_games(shop, [*GAMES.items()])
    return finder(settings)


@pytest.mark.parametrize(("text", "first"), SEARCHES)
def test_ten_searches_find(find: Find, text: str, first: str) -> None:
    assert find(text)[0] == first


def test_ten_searches_find_among_real_names(small: tuple[Connection, Settings]) -> None:
    if not REAL_GAMES.exists():
        pytest.skip("The real names are not on this machine.")
    shop, settings = small
    with REAL_GAMES.open(encoding="utf-8", newline="") as file:
        names = {
            row["name"].strip(): int(row["number_of_english_reviews"].replace(",", "") or 0)
            for row in csv.DictReader(file)
        }
    add_games(shop, [*names.items()])
    find = finder(settings)
    for text, first in SEARCHES:
        expected = REAL_NAMES.get(text, first)
        assert find(text)[0] == expected, text


def test_equal_names_come_first_then_beginnings_then_words_then_initials(find: Find) -> None:
    assert find("portal") == ["Portal", "Portal 2", "Portal 2000"]
    assert find("Portal 2")[0] == "Portal 2"
    assert find("civilization v") == ["Civilization V: Brave New World", "Sid Meier's Civilization® V"]
    assert find("Half") == ["Half-Life 2", "Half-Life", "Half Minute Hero"]
    assert find("call") == ["Call of Duty®: Modern Warfare® 2", "S.T.A.L.K.E.R.: Call of Pripyat"]
    assert find("gta") == ["Grand Theft Auto V", "Grand Theft Auto: Vice City"]


def test_case_accents_punctuation_and_numerals_make_no_difference(find: Find) -> None:
    for texts, found in (
        (("sid meiers civ v", "SID CIVILIZATION 5", "sid meier’s civilization-V"), "Sid Meier's Civilization® V"),
        (("pokemon", "Poke\u0301mon", "POKÉMON"), "Pokémon Trading"),
        (("command and conquer", "command & conquer", "Command conquer"), "Command & Conquer: Red Alert 3"),
        (("the witcher", "witcher two", "Witcher II")[::2], "The Witcher 2: Assassins of Kings"),
        (("x-com ufo", "xcom ufo", "X COM: UFO"), "X-COM: UFO Defense"),
        (("ポータル", "ポー"), "ポータル"),
    ):
        for text in texts:
            assert find(text)[0] == found, text
    assert set(find("xcom")) == {"XCOM: Enemy Unknown", "X-COM: UFO Defense"}
    assert "Victoria II" in find("vi")  # the beginning of a word, or a numeral
    assert "60 Seconds!" not in find("vi")


def test_a_text_without_letters_is_looked_for_as_it_is(find: Find) -> None:
    assert find("%") == ["100% Orange Juice"]
    assert find("!") == ["60 Seconds!"]
    assert find("—") == []
    assert find("'; DROP TABLE steam.games; --") == []
    assert find("")[:2] == ["Counter-Strike: Global Offensive", "Grand Theft Auto V"]


def test_misspelt_names_are_found_only_if_nothing_else_is(find: Find) -> None:
    assert find("haf life")[0] in ("Half-Life", "Half-Life 2")
    assert find("wicher 2")[0] == "The Witcher 2: Assassins of Kings"
    assert find("zzzzzz") == []
    assert "Portal" not in find("borderlands")


def test_the_search_uses_indexes(small: tuple[Connection, Settings]) -> None:
    shop, _ = small
    with shop.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.games (name) SELECT 'word' || n || ' game ' || n FROM generate_series(1, 3000) AS n"
        )
        cursor.execute("ANALYZE steam.games")
        cursor.execute(f"PREPARE find (text, bigint, bigint) AS {QUERIES['find_games']}")
        cursor.execute("EXPLAIN EXECUTE find ('word 77', 10, 0)")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan on games" not in plan
    assert "games_search_key" in plan
    assert "games_search_terms" in plan


def test_without_pg_trgm_the_search_finds_all_but_misspelt_names(
    database: str, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION forbid() RETURNS event_trigger LANGUAGE plpgsql AS "
            "$$BEGIN RAISE insufficient_privilege; END$$; "
            "CREATE EVENT TRIGGER forbid ON ddl_command_start WHEN TAG IN ('CREATE EXTENSION') "
            "EXECUTE FUNCTION forbid()"
        )
    for schema in ("steam", "recsys"):
        create_schema(connection, schema)
    said = capsys.readouterr().out
    assert said.count("finds no misspelt names, because this database does not allow the extension pg_trgm.") == 1
    add_games(connection, [*GAMES.items()])
    find = finder(Settings(database_url=os.environ[database.removeprefix("env:")]))
    for text, first in SEARCHES[:-1]:
        assert find(text)[0] == first
    assert find("borderlnds") == []


def test_every_name_can_be_stored_and_found(find: Find, small: tuple[Connection, Settings]) -> None:
    shop, _ = small
    names = [
        "x" * 2000,
        "word " * 400 + "end",
        "I",
        "\u202e \u200f",
        "a\u0300" * 300,
        "\\' | & ! <-> :*",
        "ⅷ ½ ²",
        "1e5 -7 3.14",
    ]
    add_games(shop, [(name, 1) for name in names])
    for name in names:
        assert name in find(name), name
    with pytest.raises(psycopg2.errors.UniqueViolation):
        add_games(shop, [(names[0], 1)])
