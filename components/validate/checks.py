"""The checks of a snapshot. Each is a function of the tables or of counts that returns findings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from components.validate.snapshot_tables import SnapshotTables
from steam_recsys.data.schemas import EARLIEST_REVIEW, TABLES

Severity = Literal["error", "warning"]

UNIQUE = {"reviews": "review_id", "users": "user_id", "games": "game_id"}
MAX_EXAMPLES = 5

LAST_GOOD_RUN = "last-good-snapshot.json"
"""The file of the store with the last good run's rows per table."""

MIN_SHARE_OF_LAST_RUN = 0.5
STALE_AFTER = timedelta(days=2)
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far ahead of the database's clock a change may be dated."""

MAX_NULL_SHARES = {"user_id": 0.5, "reviewed_on": 0.5, "hours_played": 0.99}
"""The share of nulls in a column of the reviews that causes a warning."""

_NOT_NEGATIVE = ("is 0 or more", "{0} >= 0 AND NOT isnan({0})")  # DuckDB's NaN exceeds all numbers
_RANGES = {
    ("reviews", "hours_played"): [_NOT_NEGATIVE, ("is finite", "{0} < 'infinity'")],
    ("reviews", "helpful"): [("is 0 or more", "{0} >= 0")],
    ("reviews", "funny"): [("is 0 or more", "{0} >= 0")],
    ("games", "ram_gb"): [_NOT_NEGATIVE],
    ("games", "storage_gb"): [_NOT_NEGATIVE],
    ("rankings", "rank_type"): [("is Sales, Revenue or Review", "{0} IN ('Sales', 'Revenue', 'Review')")],
    ("rankings", "rank"): [("is 1 or more", "{0} >= 1")],
}
"""What is true of each value that is not null: as text, and as SQL for the column."""


@dataclass(frozen=True)
class Finding:
    """The result of a check that fails.

    Attributes:
        severity: An error fails the run, a warning does not.
        table: Name of the table.
        check: What should be true of each row, as text, or what is wrong with the table.
        count: Number of rows that fail the check; None if the check is of the table as a whole.
        examples: Some of these rows, as text.
    """

    severity: Severity
    table: str
    check: str
    count: int | None = None
    examples: tuple[str, ...] = ()

    def message(self) -> str:
        """Return the finding as text, with one example."""
        example = f" (for example {self.examples[0]})" if self.examples else ""
        count = "" if self.count is None else f": {self.count:,}"
        return f"{self.table}: {self.check}{count}{example}"


@dataclass(frozen=True)
class ColumnCheck:
    """A condition on each row of a table.

    Attributes:
        column: Name of the column.
        check: What should be true, as text.
        broken: The rows for which it is not true, as SQL.
    """

    column: str
    check: str
    broken: str


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that fail the run."""
    return [finding for finding in findings if finding.severity == "error"]


def column_checks(table: str, today: date) -> list[ColumnCheck]:
    """Return the rules for the values of a table, by column: nulls, ranges and dates.

    Dates and times must be possible, and fit what Python's hold: PostgreSQL's begin in 4713 BC and end in the year
    5874897.

    Args:
        table: Name of the table.
        today: Date of the extraction in UTC. The next day is valid too: east of Greenwich it may already have begun.
    """
    declared = [
        ColumnCheck(field.name, f"{field.name} is not null", f"{field.name} IS NULL")
        for field in TABLES[table]
        if not field.nullable
    ]
    ranges = [
        ColumnCheck(column, f"{column} {text}", f"NOT ({condition.format(column)})")
        for (of, column), conditions in _RANGES.items()
        if of == table
        for text, condition in conditions
    ]
    return [*sorted(declared + ranges, key=lambda rule: rule.check), *_date_checks(table, today)]


def check_schema(table: str, schema: pa.Schema) -> list[Finding]:
    """Check a file's columns and types against the declared ones. `check_values` checks for nulls."""
    declared = TABLES[table]
    differences = [
        f"{field.name} is {schema.field(field.name).type if field.name in schema.names else 'missing'}, "
        f"not {field.type}"
        for field in declared
        if field.name not in schema.names or schema.field(field.name).type != field.type
    ] + [f"{name} is not in the contract" for name in schema.names if name not in declared.names]
    if not differences:
        return []
    return [Finding("error", table, f"columns or types differ from the contract: {'; '.join(differences)}")]


def check_values(tables: SnapshotTables, table: str, today: date) -> list[Finding]:
    """Check the values of a table in one pass: nulls, ranges and dates.

    Args:
        tables: The snapshot.
        table: Name of the table.
        today: See `column_checks`.
    """
    of_table = column_checks(table, today)
    counts = ", ".join(f"count(*) FILTER (WHERE {rule.broken})" for rule in of_table)
    (row,) = tables.query(f"SELECT {counts} FROM {table}")
    return [
        Finding("error", table, rule.check, count, _examples(tables, table, rule.column, rule.broken))
        for rule, count in zip(of_table, row, strict=True)
        if count
    ]


def check_unique(tables: SnapshotTables, table: str) -> list[Finding]:
    """Check that no key occurs twice in a table. The count is of the rows that repeat an earlier one."""
    key = UNIQUE[table]
    repeated = (
        f"(SELECT {key}, count(*) AS rows FROM {table} WHERE {key} IS NOT NULL GROUP BY {key} HAVING count(*) > 1)"
    )
    ((count, first),) = tables.query(
        f"SELECT sum(rows - 1), list({key} ORDER BY {key})[:{MAX_EXAMPLES}] FROM {repeated}"
    )
    if not count:
        return []
    condition = f"{key} IN ({', '.join(map(str, first))})"
    return [Finding("error", table, f"{key} is unique", int(count), _examples(tables, table, key, condition))]


def check_references(tables: SnapshotTables) -> list[Finding]:
    """Check that every user and game that a row refers to exists."""
    return [
        finding
        for table, key, keys in (
            ("reviews", "user_id", "users"), ("reviews", "game_id", "games"), ("rankings", "game_id", "games"),
        )
        for finding in _missing(tables, table, key, keys)
    ]  # fmt: skip


def check_rows(rows: Mapping[str, int]) -> list[Finding]:
    """Check that the tables are not empty."""
    return [
        Finding("error", table, "has no rows, ingest first")
        for table in ("reviews", "users", "games")
        if not rows[table]
    ]


def check_volume(rows: Mapping[str, int], last_rows: Mapping[str, int]) -> list[Finding]:
    """Check that no table has shrunk to less than half of the last good run's rows.

    Args:
        rows: Rows per table.
        last_rows: Rows per table of the last good run; empty if there was none.
    """
    check = (
        f"has {{:,}} rows, less than {MIN_SHARE_OF_LAST_RUN:.0%} of the last good run's {{:,}} "
        f"(if it may shrink so far, delete {LAST_GOOD_RUN} in the store)"
    )
    return [
        Finding("error", table, check.format(count, last))
        for table, last in last_rows.items()
        if (count := rows.get(table, 0)) < MIN_SHARE_OF_LAST_RUN * last
    ]


def check_freshness(newest_change: datetime | None, extracted_at: datetime) -> list[Finding]:
    """Check that the newest review is less than two days older than the extraction, and not dated after it.

    A change that is dated in the future would hide that no others arrive.
    """
    if newest_change is None or -CLOCK_TOLERANCE <= extracted_at - newest_change <= STALE_AFTER:
        return []
    if newest_change > extracted_at:
        age = f"is dated {(newest_change - extracted_at).days:,} days in the future"
    else:
        age = f"is {(extracted_at - newest_change).days:,} days old"
    return [Finding("warning", "reviews", f"the last change {age} ({newest_change.isoformat()})")]


def check_nulls(rows: int, nulls: Mapping[str, int]) -> list[Finding]:
    """Check that no optional column of the reviews is mostly empty.

    Args:
        rows: Number of reviews.
        nulls: Number of nulls per column.
    """
    return [
        Finding("warning", "reviews", f"{column} is filled in at least {1 - share:.0%} of the rows", nulls[column])
        for column, share in MAX_NULL_SHARES.items()
        if rows and nulls[column] / rows > share
    ]


def check_blanks(nulls: Mapping[str, int]) -> list[Finding]:
    """Count reviews without a known author, and reviews without a date."""
    return [
        Finding("warning", "reviews", check, nulls[column])
        for column, check in (("user_id", "without a known author"), ("reviewed_on", "without a date"))
        if nulls[column]
    ]


def count_nulls(tables: SnapshotTables) -> dict[str, int]:
    """Count the nulls in the optional columns of the reviews."""
    counts = ", ".join(f"count(*) - count({column})" for column in MAX_NULL_SHARES)
    (row,) = tables.query(f"SELECT {counts} FROM reviews")
    return dict(zip(MAX_NULL_SHARES, row, strict=True))


def check_ranks(tables: SnapshotTables) -> list[Finding]:
    """Check that a game has one rank in a ranking. The count is of the rows that repeat an earlier one."""
    repeated = "(SELECT genre, rank_type, game_id, count(*) AS times FROM rankings GROUP BY ALL HAVING count(*) > 1)"
    count, first = _repeated(tables, repeated, "genre, rank_type, game_id")
    examples = tuple(f"game_id {game} by {rank_type} in {genre}" for genre, rank_type, game in first)
    return [Finding("error", "rankings", "a game is ranked once", count, examples)] if count else []


def check_repeats(tables: SnapshotTables) -> list[Finding]:
    """Count the reviews of a game that its author has reviewed again: only the latest one counts."""
    repeated = (
        "(SELECT user_id, game_id, count(*) AS times FROM reviews WHERE user_id IS NOT NULL "
        "GROUP BY user_id, game_id HAVING count(*) > 1)"
    )
    count, first = _repeated(tables, repeated, "user_id, game_id, times")
    examples = tuple(f"user_id {user}, game_id {game}, {times} times" for user, game, times in first)
    check = "replaced by the same user's later review of the game"
    return [Finding("warning", "reviews", check, count, examples)] if count else []


def _date_checks(table: str, today: date) -> list[ColumnCheck]:
    first, last = date.min, date.max
    bounds: dict[tuple[str, str], tuple[date, date]] = {
        ("reviews", "reviewed_on"): (EARLIEST_REVIEW, today + timedelta(days=1)),
        ("reviews", "updated_at"): (first, last),
        ("games", "released_on"): (first, last),
        ("games", "delisted_on"): (first, last),
    }
    found = []
    for (of, column), (earliest, latest) in bounds.items():
        if of == table:
            kind = "TIMESTAMPTZ" if pa.types.is_timestamp(TABLES[of].field(column).type) else "DATE"
            outside = f"{column} < {kind} '{earliest}' OR {column} > {kind} '{latest}'"
            found.append(ColumnCheck(column, f"{column} is between {earliest} and {latest}", outside))
    return found


def _missing(tables: SnapshotTables, table: str, key: str, keys: str) -> list[Finding]:
    ((count,),) = tables.query(f"SELECT count(*) FROM {table} ANTI JOIN {keys} USING ({key}) WHERE {key} IS NOT NULL")
    if not count:
        return []
    absent = f"{key} IS NOT NULL AND {key} NOT IN (SELECT {key} FROM {keys} WHERE {key} IS NOT NULL)"
    return [Finding("error", table, f"every {key} exists", count, _examples(tables, table, key, absent))]


def _repeated(tables: SnapshotTables, keys: str, columns: str) -> tuple[int, list[tuple[Any, ...]]]:
    """Return how many rows repeat an earlier one, and the first keys that occur several times.

    Args:
        tables: The snapshot.
        keys: The repeated keys and their `times`, as a subquery.
        columns: The columns of a key to return, by which they are ordered.
    """
    total = "sum(times - 1) OVER ()"
    found = tables.query(f"SELECT {total}, {columns} FROM {keys} ORDER BY {columns} LIMIT {MAX_EXAMPLES}")
    return (int(found[0][0]), [row[1:] for row in found]) if found else (0, [])


def _examples(tables: SnapshotTables, table: str, column: str, condition: str) -> tuple[str, ...]:
    """Return the ids and the checked column of the first rows that meet a condition, as text."""
    names = [name for name in TABLES[table].names if name.endswith("_id") or name == column]
    shown = ", ".join(names)
    statement = f"SELECT {shown} FROM {table} WHERE {condition} ORDER BY {shown} LIMIT {MAX_EXAMPLES}"
    columns = [_values(values) for values in tables.query_arrow(statement).columns]
    return tuple(
        ", ".join(f"{name} {value}" for name, value in zip(names, row, strict=True))
        for row in zip(*columns, strict=True)
    )


def _values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column; dates and times as text, as Python's may not hold them."""
    if not pa.types.is_temporal(column.type):
        values: list[Any] = column.to_pylist()
        return values
    unit = "D" if pa.types.is_date32(column.type) else column.type.unit
    return [None if number is None else _time_text(number, unit) for number in _numbers(column).to_pylist()]


def _numbers(column: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """Return the whole numbers that Arrow keeps dates and times as."""
    return column.cast(pa.int32() if pa.types.is_date32(column.type) else pa.int64())


def _time_text(number: int, unit: str) -> str:
    """Return a date or time as PostgreSQL writes it: `20220-05-01`, `0044-03-15 BC`, `infinity`."""
    limits = np.iinfo(np.int64)
    if number in (limits.min, limits.max):
        return "infinity" if number > 0 else "-infinity"
    day, _, time = str(np.array(number).astype(f"datetime64[{unit}]")).partition("T")
    year = int(day[:-6])  # year 0 is 1 BC
    text = f"{year if year > 0 else 1 - year:04}{day[-6:]}{f' {time}' if time else ''}"
    return text if year > 0 else f"{text} BC"
