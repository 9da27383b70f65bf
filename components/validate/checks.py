"""The checks of a snapshot. Each is a function of Arrow tables or counts that returns findings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

import numpy as np
import pandera.pyarrow as pandera
import pyarrow as pa
import pyarrow.compute as pc
from pandera.errors import SchemaErrors

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


@dataclass(frozen=True)
class Finding:
    """The result of a check that fails.

    Attributes:
        severity: An error fails the run, a warning does not.
        table: Name of the table.
        check: What should be true, as text.
        count: Number of rows that fail the check.
        examples: Some of these rows, as text.
    """

    severity: Severity
    table: str
    check: str
    count: int
    examples: tuple[str, ...] = ()

    def message(self) -> str:
        """Return the finding as text, with one example."""
        example = f" (for example {self.examples[0]})" if self.examples else ""
        return f"{self.table}: {self.check}: {self.count:,}{example}"


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that fail the run."""
    return [finding for finding in findings if finding.severity == "error"]


def contract(table: str) -> pandera.DataFrameSchema:
    """Return the pandera schema of a table. `check_dates` checks dates: they need not fit Python's."""
    checks: dict[tuple[str, str], list[pandera.Check]] = {
        ("reviews", "hours_played"): [pandera.Check.ge(0), pandera.Check.lt(math.inf)],
        ("reviews", "helpful"): [pandera.Check.ge(0)],
        ("reviews", "funny"): [pandera.Check.ge(0)],
        ("games", "ram_gb"): [pandera.Check.ge(0)],
        ("games", "storage_gb"): [pandera.Check.ge(0)],
        ("rankings", "rank_type"): [pandera.Check.isin(["Sales", "Revenue", "Review"])],
        ("rankings", "rank"): [pandera.Check.ge(1)],
    }
    # pandera has no list type: check_schema compares the Arrow types of list columns.
    return pandera.DataFrameSchema(
        {
            field.name: pandera.Column(
                field.type,
                checks.get((table, field.name)),
                nullable=field.nullable,
                unique=UNIQUE.get(table) == field.name,
            )
            for field in TABLES[table]
            if not pa.types.is_list(field.type)
        }
    )


def check_schema(table: str, schema: pa.Schema) -> list[Finding]:
    """Check a file's columns and types against the declared ones. `check_columns` checks for nulls."""
    declared = TABLES[table]
    differences = [
        f"{field.name} is {schema.field(field.name).type if field.name in schema.names else 'missing'}, "
        f"not {field.type}"
        for field in declared
        if field.name not in schema.names or schema.field(field.name).type != field.type
    ] + [f"{name} is not in the contract" for name in schema.names if name not in declared.names]
    if not differences:
        return []
    check = "columns and types are those of the contract"
    return [Finding("error", table, check, len(differences), ("; ".join(differences),))]


def check_columns(table: str, rows: pa.Table) -> list[Finding]:
    """Check a table's values against its contract: unique keys, nulls and ranges."""
    try:
        contract(table).validate(rows, lazy=True)
    except SchemaErrors as failed:
        return list(_contract_findings(table, rows, failed.failure_cases))
    return []


def check_dates(table: str, rows: pa.Table, today: date) -> list[Finding]:
    """Check that the dates and times of a table are possible, and fit what Python's hold.

    PostgreSQL's begin in 4713 BC and end in the year 5874897.

    Args:
        table: Name of the table.
        rows: The table.
        today: Date of the extraction in UTC. The next day is valid too: east of Greenwich it may already have begun.
    """
    first, last = date.min, date.max
    ranges: dict[tuple[str, str], tuple[date, date]] = {
        ("reviews", "reviewed_on"): (EARLIEST_REVIEW, today + timedelta(days=1)),
        ("reviews", "updated_at"): (first, last),
        ("games", "released_on"): (first, last),
        ("games", "delisted_on"): (first, last),
    }
    findings = []
    for column, (earliest, latest) in ((name, bounds) for (of, name), bounds in ranges.items() if of == table):
        numbers = _numbers(rows[column])
        low, high = _numbers(pa.array([earliest, latest]).cast(rows[column].type)).to_pylist()
        outside = rows.filter(pc.or_(pc.less(numbers, low), pc.greater(numbers, high)))
        if outside.num_rows:
            check = f"{column} is between {earliest} and {latest}"
            findings.append(Finding("error", table, check, outside.num_rows, _examples(outside, column)))
    return findings


def check_references(reviews: pa.Table, users: pa.Table, games: pa.Table, rankings: pa.Table) -> list[Finding]:
    """Check that every user and game that a row refers to exists."""
    return [
        finding
        for table, rows, column, keys in (
            ("reviews", reviews, "user_id", users),
            ("reviews", reviews, "game_id", games),
            ("rankings", rankings, "game_id", games),
        )
        for finding in _missing(table, column, rows, keys[column])
    ]


def check_rows(rows: Mapping[str, int]) -> list[Finding]:
    """Check that the tables are not empty."""
    return [
        Finding("error", table, "has rows (if it has none, ingest first)", 0)
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
        f"has at least {MIN_SHARE_OF_LAST_RUN:.0%} of the last good run's {{:,}} rows "
        f"(if it may shrink so far, delete {LAST_GOOD_RUN} in the store)"
    )
    return [
        Finding("error", table, check.format(last), count)
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
        check, days = "days by which the last change is dated in the future", (newest_change - extracted_at).days
    else:
        check, days = "days since the last change", (extracted_at - newest_change).days
    return [Finding("warning", "reviews", check, days, (newest_change.isoformat(),))]


def check_nulls(reviews: pa.Table) -> list[Finding]:
    """Check that no optional column of the reviews is mostly empty."""
    return [
        Finding("warning", "reviews", f"{column} is filled in at least {1 - share:.0%} of the rows", nulls)
        for column, share in MAX_NULL_SHARES.items()
        if reviews.num_rows and (nulls := reviews[column].null_count) / reviews.num_rows >= share
    ]


def check_blanks(reviews: pa.Table) -> list[Finding]:
    """Count reviews without a known author, and reviews without a date."""
    return [
        Finding("warning", "reviews", check, nulls)
        for column, check in (("user_id", "without a known author"), ("reviewed_on", "without a date"))
        if (nulls := reviews[column].null_count)
    ]


def check_ranks(rankings: pa.Table) -> list[Finding]:
    """Check that a game has one rank in a ranking."""
    counts = rankings.group_by(["genre", "rank_type", "game_id"]).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not repeated.num_rows:
        return []
    first = repeated.slice(0, MAX_EXAMPLES).to_pylist()
    examples = tuple(f"game_id {row['game_id']} by {row['rank_type']} in {row['genre']}" for row in first)
    return [Finding("error", "rankings", "a game is ranked once", repeated.num_rows, examples)]


def check_repeats(reviews: pa.Table) -> list[Finding]:
    """Count games that a user reviewed more than once; the latest review counts."""
    known = reviews.select(["user_id", "game_id"]).filter(pc.is_valid(reviews["user_id"]))
    counts = known.group_by(["user_id", "game_id"]).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not repeated.num_rows:
        return []
    first = repeated.sort_by([("user_id", "ascending"), ("game_id", "ascending")]).slice(0, MAX_EXAMPLES).to_pylist()
    examples = tuple(f"user_id {row['user_id']}, game_id {row['game_id']}, {row['count_all']} times" for row in first)
    return [Finding("warning", "reviews", "games that one user reviewed more than once", repeated.num_rows, examples)]


def _contract_findings(table: str, rows: pa.Table, cases: pa.Table) -> Iterator[Finding]:
    counts = cases.group_by(["column", "check"]).aggregate([("index", "count", pc.CountOptions(mode="all"))])
    for row in sorted(counts.to_pylist(), key=lambda row: (str(row["column"]), row["check"])):
        column, check = row["column"], row["check"]
        same_check = pc.and_(pc.equal(cases["column"], column), pc.equal(cases["check"], check))
        values = cases.filter(same_check)["failure_case"].slice(0, MAX_EXAMPLES)
        failing = rows.filter(_has_value(rows[column], values))
        yield Finding("error", table, f"{column} {_check_text(check)}", row["index_count"], _examples(failing, column))


def _has_value(column: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return which elements of a column are among some values, which are given as text and may include null."""
    known = values.drop_null().cast(column.type)
    found = pc.is_in(column, value_set=known.combine_chunks())
    return pc.or_(found, pc.is_null(column)) if values.null_count else found


def _check_text(check: str) -> str:
    texts = {"field_uniqueness": "is unique", "not_nullable": "is not null"}
    return texts.get(check, f"is {check}".replace("_", " "))


def _missing(table: str, column: str, rows: pa.Table, keys: pa.ChunkedArray) -> list[Finding]:
    known = pc.is_in(rows[column], value_set=keys.combine_chunks())
    missing = rows.filter(pc.and_(pc.is_valid(rows[column]), pc.invert(known)))
    if not missing.num_rows:
        return []
    return [Finding("error", table, f"every {column} exists", missing.num_rows, _examples(missing, column))]


def _examples(rows: pa.Table, column: str) -> tuple[str, ...]:
    """Return the ids and the checked column of some rows as text."""
    names = [name for name in rows.schema.names if name.endswith("_id") or name == column]
    columns = [_values(rows[name].slice(0, MAX_EXAMPLES)) for name in names]
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
