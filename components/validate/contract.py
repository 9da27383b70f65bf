"""The contract of each table, column by column, as pandera schemas over Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pandera.pyarrow as pandera
import pyarrow as pa
import pyarrow.compute as pc
from pandera.errors import SchemaErrors

from components.validate.findings import Finding, describe
from steam_recsys.data.schemas import EARLIEST_REVIEW, TABLES

UNIQUE = {"reviews": "review_id", "users": "user_id", "games": "game_id"}
EXAMPLES = 5


def contract(table: str, today: date) -> pandera.DataFrameSchema:
    """The schema that a table's columns must meet on a day (UTC): to the east it may be the next one already."""
    tomorrow = today + timedelta(days=1)
    checks: dict[tuple[str, str], list[pandera.Check]] = {
        ("reviews", "hours_played"): [pandera.Check.ge(0)],
        ("reviews", "helpful"): [pandera.Check.ge(0)],
        ("reviews", "funny"): [pandera.Check.ge(0)],
        ("reviews", "reviewed_on"): [pandera.Check.ge(EARLIEST_REVIEW), pandera.Check.le(tomorrow)],
        ("games", "ram_gb"): [pandera.Check.ge(0)],
        ("games", "storage_gb"): [pandera.Check.ge(0)],
        ("rankings", "rank_type"): [pandera.Check.isin(["Sales", "Revenue", "Review"])],
        ("rankings", "rank"): [pandera.Check.ge(1)],
    }
    # Lists are checked by their Arrow type alone, with the file's schema: pandera has no type for them.
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


def check_schema(table: str, found: pa.Schema) -> list[Finding]:
    """A file's columns and types against the declared ones; nulls are looked for in the values."""
    wanted = TABLES[table]
    differing = [
        f"{field.name} is {found.field(field.name).type if field.name in found.names else 'missing'}, not {field.type}"
        for field in wanted
        if field.name not in found.names or found.field(field.name).type != field.type
    ] + [f"{name} is not in the contract" for name in found.names if name not in wanted.names]
    if not differing:
        return []
    return [
        Finding("error", table, "columns and types are those of the contract", len(differing), ("; ".join(differing),))
    ]


def check_columns(table: str, rows: pa.Table, today: date) -> list[Finding]:
    """A table's values against its contract: keys unique, nothing null that may not be, ranges."""
    try:
        contract(table, today).validate(rows, lazy=True)
    except SchemaErrors as failed:
        return list(_findings(table, rows, failed.failure_cases))
    return []


def _findings(table: str, rows: pa.Table, cases: pa.Table) -> Iterator[Finding]:
    counts = cases.group_by(["column", "check"]).aggregate([("index", "count", pc.CountOptions(mode="all"))])
    for row in sorted(counts.to_pylist(), key=lambda row: (str(row["column"]), row["check"])):
        column, check = row["column"], row["check"]
        of_this = pc.and_(pc.equal(cases["column"], column), pc.equal(cases["check"], check))
        values = cases.filter(of_this)["failure_case"].slice(0, EXAMPLES)
        broken = rows.filter(_holds(rows[column], values)).slice(0, EXAMPLES)
        examples = tuple(describe(example, column) for example in broken.to_pylist())
        yield Finding("error", table, f"{column} {_in_words(check)}", row["index_count"], examples)


def _holds(column: pa.ChunkedArray, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Where a column holds one of some values, which are given as text, null included."""
    known = values.drop_null().cast(column.type)
    found = pc.is_in(column, value_set=known.combine_chunks())
    return pc.or_(found, pc.is_null(column)) if values.null_count else found


def _in_words(check: str) -> str:
    words = {"field_uniqueness": "is unique", "not_nullable": "is not null"}
    return words.get(check, f"is {check}".replace("_", " "))
