"""The raw files: found, checked and read row by row, each row with the line that it starts on."""

from __future__ import annotations

import csv
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from steam_recsys.errors import UserError

if TYPE_CHECKING:
    import _csv

FIELD_LIMIT = 1 << 20
"""Characters: no field of a real file comes near it, a quote that never closes does."""


_UTF16 = "is UTF-16: convert it with iconv -f UTF-16 -t UTF-8."
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


@dataclass(frozen=True)
class RawFile:
    """One file of the raw layout: its name and the columns that are read, in this order, whatever the file's."""

    name: str
    columns: tuple[str, ...]


REVIEWS = RawFile(
    "steam_game_reviews.csv",
    ("review", "hours_played", "helpful", "funny", "recommendation", "date", "game_name", "username"),
)
GAMES = RawFile(
    "games_description.csv",
    (
        "name", "short_description", "long_description", "genres", "minimum_system_requirement",
        "recommend_system_requirement", "release_date", "developer", "publisher", "overall_player_rating",
        "number_of_reviews_from_purchased_people", "number_of_english_reviews", "link",
    ),
)  # fmt: skip
RANKINGS = RawFile("games_ranking.csv", ("game_name", "genre", "rank_type", "rank"))
RAW_FILES = (GAMES, REVIEWS, RANKINGS)


@dataclass(frozen=True)
class RawRow:
    """A row as the file has it: the line on which it starts, its text, and its fields or what is wrong with it."""

    line: int
    text: str
    fields: tuple[str, ...]
    problem: str | None = None


def check_folder(folder: Path) -> None:
    """Check that a folder holds the raw layout, before anything is read.

    Raises:
        UserError: the folder or one of its three files is missing, empty, or lacks a column.
    """
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist: give one that holds the raw layout's three CSV files.")
    for raw in RAW_FILES:
        path = folder / raw.name
        if not path.is_file():
            raise UserError(f"{path} is missing: the raw layout has {', '.join(file.name for file in RAW_FILES)}.")
        next(read_rows(folder, raw), None)


def read_rows(folder: Path, raw: RawFile) -> Iterator[RawRow]:
    """Read a raw file's rows.

    Raises:
        UserError: the file is empty, not UTF-8, lacks a column, or has a quote that never closes.
    """
    path = folder / raw.name
    csv.field_size_limit(FIELD_LIMIT)
    lines: list[str] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_remembered(file, lines), strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise UserError(f"{path} is empty: it must hold at least the header {','.join(raw.columns)}.")
            pick = itemgetter(*_positions(path, raw, header))
            yield from _rows(path, reader, lines, len(header), pick)
        except UnicodeDecodeError:
            raise _undecodable(path) from None


def _undecodable(path: Path) -> UserError:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                return UserError(f"{path} {_UTF16}")
            try:
                line.decode()
            except UnicodeDecodeError:
                break
    return UserError(
        f"{path} is not UTF-8 on line {number}: convert it, for example with iconv -f WINDOWS-1252 -t UTF-8."
    )


def _positions(path: Path, raw: RawFile, header: list[str]) -> list[int]:
    names = [name.strip() for name in header]
    missing = [column for column in raw.columns if column not in names]
    if missing:
        if "\0" in "".join(header):
            raise UserError(f"{path} {_UTF16}")
        for separator, separators in _OTHER_SEPARATORS.items():
            if len(header) == 1 and separator in header[0]:
                raise UserError(f"{path} has {separators} between its columns: write it with commas.")
        raise UserError(f"{path} lacks the column {', '.join(missing)}: its header must name {', '.join(raw.columns)}.")
    return [names.index(column) for column in raw.columns]


def _remembered(file: Iterable[str], lines: list[str]) -> Iterator[str]:
    for line in file:
        lines.append(line)
        yield line


def _rows(
    path: Path, reader: _csv.Reader, lines: list[str], width: int, pick: Callable[[Sequence[str]], tuple[str, ...]]
) -> Iterator[RawRow]:
    while True:
        lines.clear()
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error) or "field larger" in str(error):
                raise UserError(f"{path} has a quote that opens near line {line} and never closes: mend it.") from None
            yield RawRow(line, "".join(lines), (), "the row is not CSV")
            continue
        if len(fields) == width:
            yield RawRow(line, "".join(lines), pick(fields))
        elif fields:
            yield RawRow(line, "".join(lines), (), f"the row has {len(fields)} fields, the header {width}")
