"""The demo's first night: what the shop's raw files held before the newest weeks of reviews arrived."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path

from components.ingest.columns import parse_columns
from components.ingest.csv_rows import RawRow, read_rows
from components.ingest.fields import (
    FieldError,
    ReviewDay,
    parse_author,
    parse_name,
    parse_release_day,
    parse_review_day,
)
from components.ingest.raw_files import GAMES, RANKINGS, RAW_FILES, REVIEWS, RawFile, RawSource, open_raw

WEEKS = 4
"""Weeks of reviews that arrive in the second night: enough for realised quality and drift to decide something."""

MIN_SHARE = 0.5
"""Share of the dated reviews that the first night needs at least: younger shops have one night."""


class OneNightError(Exception):
    """Why a shop's reviews cannot arrive in two nights."""


@dataclass(frozen=True)
class FirstNight:
    """What the first of two nights has.

    Attributes:
        until: Last day whose reviews it has; reviews without a date belong to it too.
        lacking_days: Days from its newest review by a known user to the newest review of the second night.
        arriving: Number of reviews after `until`.
        year: Year of dates without one, for both nights.
    """

    until: date
    lacking_days: int
    arriving: int
    year: int


def find_first_night(raw: str, columns: str = "", year: int = 0) -> FirstNight:
    """Find the day `WEEKS` before a shop's newest review.

    Args:
        raw: As in `components.ingest.ingestion.ingest`.
        columns: As in `ingest`.
        year: Year of dates without one; 0 for the year of the file's newest date.

    Raises:
        OneNightError: No review has a date, or most of those that have one are newer than that day.
    """
    with open_raw(raw) as sources:
        read = _ReviewDays()
        rows = read_rows(sources[REVIEWS.name], REVIEWS, parse_columns(columns))
        days = Counter((read(row), _has_author(row)) for row in rows)
    year = year or max((day.day.year for day, _ in days if day.day), default=0)
    dated = Counter[tuple[date, bool]]()
    for (each, by_user), reviews in days.items():
        if day := _resolve(each, year, read.tomorrow):
            dated[day, by_user] += reviews
    if not dated:
        raise OneNightError("no review has a date")
    newest, _ = max(dated)
    until = newest - timedelta(weeks=WEEKS)
    kept = Counter({key: reviews for key, reviews in dated.items() if key[0] <= until})
    if kept.total() < MIN_SHARE * dated.total():
        raise OneNightError(f"more than half of the dated reviews are of the newest {WEEKS} weeks")
    learnt_until = max((day for day, by_user in kept if by_user), default=until)
    return FirstNight(until, (newest - learnt_until).days, dated.total() - kept.total(), year)


def write_first_night(first: FirstNight, raw: str, folder: Path, columns: str = "") -> None:
    """Write the rows of the raw files that a shop had in the first night, in the layout of its own files.

    These are the reviews up to the night's last day and those without a date, the games that were out or reviewed by
    then, and their ranks. Rows are copied as they are, those that cannot be read too.

    Args:
        first: The night.
        raw: As in `find_first_night`.
        folder: Folder to write to; created if missing.
        columns: As in `find_first_night`.
    """
    mapping, read = parse_columns(columns), _ReviewDays()
    reviewed, later = set(), set()
    folder.mkdir(parents=True, exist_ok=True)
    for file in RAW_FILES:
        (folder / file.name).unlink(missing_ok=True)

    def is_reviewed(row: RawRow) -> bool:
        day = _resolve(read(row), first.year, read.tomorrow)
        if day and day > first.until:
            return False
        reviewed.add(_field(row, REVIEWS, "game_name"))
        return True

    def is_out(row: RawRow) -> bool:
        name, released = _field(row, GAMES, "name"), parse_release_day(_field(row, GAMES, "release_date"))
        if released and released > first.until and name not in reviewed:
            later.add(name)
            return False
        return True

    def is_ranked(row: RawRow) -> bool:
        return _field(row, RANKINGS, "game_name") not in later

    with open_raw(raw) as sources:
        for file, keep in ((REVIEWS, is_reviewed), (GAMES, is_out), (RANKINGS, is_ranked)):
            if source := sources.get(file.name):
                with (folder / file.name).open("w", encoding="utf-8", newline="") as copy:
                    copy.write(_header(source))
                    rows = read_rows(source, file, mapping)
                    copy.writelines(row.text.removesuffix("\n") + "\n" for row in rows if keep(row))


class _ReviewDays:
    """Reads the dates of reviews; a row that ingestion rejects for its date has none."""

    def __init__(self) -> None:
        self.tomorrow = datetime.now(UTC).date() + timedelta(days=1)  # as ingestion allows
        self._parse = lru_cache(maxsize=1 << 16)(self._parse_text)

    def __call__(self, row: RawRow) -> ReviewDay:
        return self._parse(_field(row, REVIEWS, "date"))

    def _parse_text(self, text: str) -> ReviewDay:
        try:
            return parse_review_day(text, self.tomorrow)
        except FieldError:
            return ReviewDay(None)


def _resolve(day: ReviewDay, year: int, newest: date) -> date | None:
    """Return a review's day. Without a year, one after `newest` (tomorrow) is of the year before, as in ingestion."""
    if day.month_and_day is None or not year:
        return day.day
    for each in (year, year - 1):
        try:
            resolved = date(each, *day.month_and_day)
        except ValueError:  # February 29
            return None
        if resolved <= newest:
            return resolved
    return None


def _has_author(row: RawRow) -> bool:
    """Return whether a review's author is known: the model learns from no others."""
    try:
        return parse_author(_field(row, REVIEWS, "username")) is not None
    except FieldError:
        return False


def _field(row: RawRow, file: RawFile, column: str) -> str:
    """Return one of a row's values, a name in the form that identifies it; empty if the row cannot be read."""
    text = row.fields[file.columns.index(column)] if row.fields else ""
    try:
        return parse_name(text) if column in ("name", "game_name") else text
    except FieldError:
        return ""


def _header(source: RawSource) -> str:
    """Return a file's header as it is written, with the blank lines before it."""
    taken: list[str] = []

    def lines(file: Iterator[str]) -> Iterator[str]:
        for line in file:
            taken.append(line)
            yield line

    with source.open() as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        next(fields for fields in csv.reader(lines(text)) if fields)
    return "".join(taken)
