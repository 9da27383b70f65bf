"""The raw files of the demo's first night."""

import csv
from datetime import date
from pathlib import Path

from components.ingest.ingestion import ingest
from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS, RawFile
from demo.nights import write_first_night
from tests.raw_files import game, ranking, review, write_file, write_raw

OLD = [review("Portal", "ann"), review("Portal", "ben"), review("Early", "eve"), review("Portal", "cat", "")]
NEW = [review("Portal", "dan", "December 4, 2011"), review("Late", "dan", "25 December, 2011")]


def column(folder: Path, raw: RawFile, name: str) -> list[str]:
    with (folder / raw.name).open(encoding="utf-8", newline="") as file:
        return [row[name] for row in csv.DictReader(file)]


def test_the_first_night_has_only_what_the_shop_had_by_then(tmp_path):
    games = [
        game("Portal", release_date="9 Oct, 2007"),
        game("Early", release_date="1 Jan, 2012"),
        game("Late", release_date="20 Dec, 2011"),
        game("Unknown", release_date="soon"),
    ]
    raw = write_raw(tmp_path / "raw", [*NEW, *OLD], games, [ranking("Late"), ranking("Portal", rank="2")])
    first = write_first_night(raw, tmp_path / "first")
    assert first is not None
    assert (first.until, first.arriving, first.year) == (date(2011, 11, 27), 2, 2011)
    assert column(first.raw, REVIEWS, "username") == ["ann", "ben", "eve", "cat"]
    assert column(first.raw, GAMES, "name") == ["Portal", "Early", "Unknown"]
    assert column(first.raw, RANKINGS, "game_name") == ["Portal"]


def test_rows_are_copied_as_they_are_written_also_those_that_cannot_be_read(tmp_path):
    header = "\ufeff\nusername,date,game_name,recommendation,review,hours_played,helpful,funny\n"
    kept = 'ann,"November 5, 2011",Portal,1,"two\nlines ""quoted""",1,0,0\n' + "ben,a,b\n" + "cat,,Portal,1,,,0,0\n"
    (tmp_path / "mine.csv").write_text(f'{header}dan,"December 24, 2011",Portal,1,,,0,0\n{kept}'.removesuffix("\n"))
    first = write_first_night(str(tmp_path / "mine.csv"), tmp_path / "first")
    assert first is not None
    assert (first.raw / REVIEWS.name).read_text() == header.removeprefix("\ufeff") + kept


def test_dates_without_a_year_are_split_in_the_year_that_ingestion_gives_them(tmp_path, database, connection):
    reviews = [*OLD, *OLD, review("Portal", "old", "March 4"), review("Portal", "new", "December 20"), *NEW]
    raw = write_raw(tmp_path / "raw", reviews)
    first = write_first_night(raw, tmp_path / "first")
    assert first is not None
    loaded = []
    for folder in (str(first.raw), raw):
        ingest(folder, database, year=first.year)
        with connection.cursor() as cursor:
            cursor.execute("SELECT max(reviewed_on), count(*) FROM steam.reviews")
            loaded.append(cursor.fetchone())
    assert loaded == [(date(2011, 11, 5), 9), (date(2011, 12, 25), 12)]
    assert first.arriving == 3


def test_the_second_night_changes_nothing_that_the_first_loaded(tmp_path, database):
    raw = write_raw(tmp_path / "raw", [*OLD, *NEW])
    first = write_first_night(raw, tmp_path / "first")
    assert first is not None
    ingest(str(first.raw), database)
    second = ingest(raw, database)
    assert (second.inserted, second.updated) == (first.arriving, 0)


def test_columns_of_another_layout_are_read(tmp_path):
    text = "app,user,voted,when\n" + "Portal,ann,1,1320451200\n" * 3 + "Portal,ben,1,1324684800\n"
    (tmp_path / "mine.csv").write_text(text)
    columns = "game_name=app,username=user,recommendation=voted,date=when,review=,hours_played=,helpful=,funny="
    first = write_first_night(str(tmp_path / "mine.csv"), tmp_path / "first", columns)
    assert first is not None
    assert (first.raw / REVIEWS.name).read_text() == text.replace("Portal,ben,1,1324684800\n", "")


def test_a_shop_whose_reviews_are_all_new_or_undated_has_one_night(tmp_path):
    new = write_raw(tmp_path / "new", [*NEW, review("Portal", "ann")])
    assert write_first_night(new, tmp_path / "first") is None
    undated = write_raw(tmp_path / "undated", [review("Portal", "ann", "")])
    assert write_first_night(undated, tmp_path / "first") is None


def test_files_of_an_earlier_first_night_are_removed(tmp_path):
    raw = Path(write_raw(tmp_path / "raw", [*OLD, *NEW], [game("Portal")]))
    assert write_first_night(str(raw), tmp_path / "first")
    (raw / GAMES.name).unlink()
    write_file(raw, REVIEWS, [*OLD, *NEW])
    assert write_first_night(str(raw), tmp_path / "first")
    assert not (tmp_path / "first" / GAMES.name).exists()
