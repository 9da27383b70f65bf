"""Which column of a file holds each value: the columns of the raw layout, or those that `--columns` names instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from operator import itemgetter

from components.ingest.raw_files import REVIEWS, RawFile
from steam_recsys.errors import UserError

MAX_SHOWN_CHARACTERS = 500
"""Characters of a file's header that messages show."""

_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}
_DIVIDED = re.compile(r"(.+)/(\d+(?:\.\d+)?)")

Pick = Callable[[Sequence[str]], tuple[str, ...]]
"""A function from the fields of a row to the values of the layout's columns."""


@dataclass(frozen=True)
class ColumnMapping:
    """Where the reviews file differs from the raw layout.

    Attributes:
        sources: The file's column for a column of the layout; empty if the file has none.
        hours_divisor: What `hours_played` is divided by, such as 60 if the file has minutes.
    """

    sources: Mapping[str, str] = field(default_factory=dict)
    hours_divisor: float = 1.0


RAW_LAYOUT = ColumnMapping()


def parse_columns(text: str) -> ColumnMapping:
    """Read the value of `--columns`.

    Raises:
        UserError: A part has another form, or names a column that the layout does not have.

    Example:
        >>> parse_columns("date=timestamp_created,hours_played=author.playtime_forever/60,funny=")
        ColumnMapping(sources={'date': 'timestamp_created', 'hours_played': 'author.playtime_forever', 'funny': ''}, ...
    """
    sources: dict[str, str] = {}
    divisor = 1.0
    for part in filter(None, map(str.strip, text.split(","))):
        column, equals, source = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise UserError(f"--columns has {part!r}: write each part as date=timestamp_created.")
        if column not in REVIEWS.columns:
            near = "".join(f" (is it {name}?)" for name in get_close_matches(column, REVIEWS.columns, 1))
            raise UserError(f"--columns sets {column}{near}: it can set {', '.join(REVIEWS.columns)}.")
        if column in sources:
            raise UserError(f"--columns sets {column} twice: set it once.")
        if column == "hours_played" and (match := _DIVIDED.fullmatch(source)):
            source, divisor = match[1].strip(), float(match[2])
            if not divisor:
                raise UserError("--columns divides hours_played by 0: divide minutes by 60.")
        sources[column] = source
    return ColumnMapping(sources, divisor)


def find_columns(location: str, raw: RawFile, header: Sequence[str], mapping: ColumnMapping) -> Pick:
    """Return what picks the values of the layout's columns from the fields of a row.

    Args:
        location: The file's location, for messages.
        raw: The file of the layout.
        header: Names of the file's columns.
        mapping: Where the file differs from the layout; it concerns the reviews file only.

    Raises:
        UserError: A column is missing. The message shows the file's columns, those of the layout, and similar names.
    """
    names = [name.strip() for name in header]
    sources = mapping.sources if raw is REVIEWS else {}
    wanted = {column: sources.get(column, column) for column in raw.columns}
    missing = [column for column, source in wanted.items() if source and source not in names]
    if missing:
        raise UserError(_missing_columns(location, raw, names, wanted, missing))
    indices = [names.index(source) if source else len(names) for source in wanted.values()]
    pick = itemgetter(*indices)
    return pick if all(wanted.values()) else lambda fields: pick([*fields, ""])


def _missing_columns(
    location: str, raw: RawFile, names: Sequence[str], wanted: Mapping[str, str], missing: Sequence[str]
) -> str:
    for separator, separators in _SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            return f"{location} has {separators} between its columns: write it with commas."
    found = ",".join(names)
    if len(found) > MAX_SHOWN_CHARACTERS:
        found = f"{found[:MAX_SHOWN_CHARACTERS]}…"
    free = {name.lower(): name for name in names if name and name not in wanted.values()}
    similar = {}
    for column in missing:
        for match in get_close_matches(wanted[column].lower(), list(free), 1, cutoff=0.5):
            similar[column] = free.pop(match)
    shown = "".join(f", {name!r} is similar to {wanted[column]}" for column, name in similar.items())
    remedy = "correct the header"
    if raw is REVIEWS:
        example = similar or {missing[0]: "NAME"}
        pairs = ",".join(f"{column}={name}" for column, name in example.items())
        remedy += f", or name the file's own columns, as in --columns {pairs}"
    lacking = ", ".join(wanted[column] for column in missing)
    return (
        f"{location} lacks the column {lacking}: its header is {found}, the layout's is {','.join(raw.columns)}{shown}"
        f"; {remedy}."
    )
