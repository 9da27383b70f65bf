"""The raw files of the demo's first night."""

import csv
from datetime import date
from pathlib import Path

import pytest

from components.ingest.ingestion import ingest
from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS, RawFile
from demo.nights import FirstNight, OneNightError, find_first_night, write_first_night
from tests.raw_files import game, ranking, review, write_file, write_raw

OLD = [review("Portal", "ann"), review("Portal", "ben"), review("Early", "eve"), review("Portal", "cat", "")]
NEW = [review("Portal", "dan", "December 4, 2011"), review("Late", "dan", "25 December, 2011")]


def column(folder: Path, raw: RawFile, name: str) -> list[str]:
    with (folder / raw.name).open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def written(raw: str, folder: Path, columns: str = "") -> FirstNight:
    """Find the first night and write its files."""
    first = find_first_night(raw, columns)
    write_first_night(first, raw, folder, columns)
    return first


def test_the_first_night_has_only_what_the_shop_had_by_then(tmp_path):
    games = [
        game("Portal", release_date="9 Oct, 2007"),
        game("Early", release_date="1 Jan, 2012"),
        game("Late", release_date="20 Dec, 2011"),
        game("Unknown", release_date="soon"),
    ]
    by_nobody = review("Portal", "NA", "November 20, 2011")
    raw = write_raw(tmp_path / "raw", [*NEW, *OLD, by_nobody], games, [ranking("Late"), ranking("Portal", rank="2")])
    first = written(raw, tmp_path / "first")
    assert (first.until, first.arriving, first.year) == (date(2011, 11, 27), 2, 2011)
    assert first.lacking_days == (date(2011, 12, 25) - date(2011, 11, 5)).days
    assert column(tmp_path / "first", REVIEWS, "username") == ["ann", "ben", "eve", "cat", "NA"]
    assert column(tmp_path / "first", GAMES, "name") == ["Portal", "Early", "Unknown"]
    assert column(tmp_path / "first", RANKINGS, "game_name") == ["Portal"]


def test_rows_are_copied_as_they_are_written_also_those_that_cannot_be_read(tmp_path):
    header = "\ufeff\nusername,date,game_name,recommendation,review,hours_played,helpful,funny\n"
    kept = 'ann,"November 5, 2011",Portal,1,"two\nlines ""quoted""",1,0,0\n' + "ben,a,b\n" + "cat,,Portal,1,,,0,0\n"
    (tmp_path / "mine.csv").write_text(f'{header}dan,"December 24, 2011",Portal,1,,,0,0\n{kept}'.removesuffix("\n"))
    written(str(tmp_path / "mine.csv"), tmp_path / "first")
    assert (tmp_path / "first" / REVIEWS.name).read_text() == header.removeprefix("\ufeff") + kept


def test_dates_without_a_year_are_split_in_the_year_that_ingestion_gives_them(tmp_path, database, connection):
    reviews = [*OLD, *OLD, review("Portal", "old", "March 4"), review("Portal", "new", "December 20"), *NEW]
    raw = write_raw(tmp_path / "raw", reviews)
    first = written(raw, tmp_path / "first")
    loaded = []
    for folder in (str(tmp_path / "first"), raw):
        ingest(folder, database, year=first.year)
        with connection.cursor() as cursor:
            cursor.execute("SELECT max(reviewed_on), count(*) FROM steam.reviews")
            loaded.append(cursor.fetchone())
    assert loaded == [(date(2011, 11, 5), 9), (date(2011, 12, 25), 12)]
    assert first.arriving == 3


def test_the_second_night_changes_nothing_that_the_first_loaded(tmp_path, database):
    raw = write_raw(tmp_path / "raw", [*OLD, *NEW])
    first = written(raw, tmp_path / "first")
    ingest(str(tmp_path / "first"), database)
    second = ingest(raw, database)
    assert (second.inserted, second.updated) == (first.arriving, 0)


def test_columns_of_another_layout_are_read(tmp_path):
    text = "app,user,voted,when\n" + "Portal,ann,1,1320451200\n" * 3 + "Portal,ben,1,1324684800\n"
    (tmp_path / "mine.csv").write_text(text)
    columns = "game_name=app,username=user,recommendation=voted,date=when,review=,hours_played=,helpful=,funny="
    written(str(tmp_path / "mine.csv"), tmp_path / "first", columns)
    assert (tmp_path / "first" / REVIEWS.name).read_text() == text.replace("Portal,ben,1,1324684800\n", "")


def test_a_young_shop_has_one_night(tmp_path):
    raw = write_raw(tmp_path / "raw", [*NEW, review("Portal", "ann"), *[review("Portal", name, "") for name in "abc"]])
    with pytest.raises(OneNightError, match=r"^more than half of the dated reviews are of the newest 4 weeks$"):
        find_first_night(raw)


def test_a_shop_whose_reviews_have_no_dates_has_one_night(tmp_path):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann", ""), review("Portal", "ben", "November 5")])
    with pytest.raises(OneNightError, match=r"^no review has a date$"):
        find_first_night(raw)


def test_files_of_an_earlier_first_night_are_removed(tmp_path):
    raw = Path(write_raw(tmp_path / "raw", [*OLD, *NEW], [game("Portal")]))
    assert written(str(raw), tmp_path / "first")
    (raw / GAMES.name).unlink()
    write_file(raw, REVIEWS, [*OLD, *NEW])
    assert written(str(raw), tmp_path / "first")
    assert not (tmp_path / "first" / GAMES.name).exists()
