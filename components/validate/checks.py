"""Checks across columns, tables and runs. Each is a function of Arrow tables or counts that returns findings."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from components.validate.findings import Finding, describe

EXAMPLES = 5
LAST_GOOD_RUN = "last-good-snapshot.json"
"""The file of the store that remembers the last good run's rows."""

SMALLEST_SHARE_OF_LAST_RUN = 0.5
STALE_AFTER = timedelta(days=2)
MANY_NULLS = {"user_id": 0.5, "reviewed_on": 0.5, "hours_played": 0.99}
"""The share of nulls from which a column of the reviews is worth a warning."""


def check_references(reviews: pa.Table, users: pa.Table, games: pa.Table, rankings: pa.Table) -> list[Finding]:
    """Every user and game that a row names is there."""
    return [
        finding
        for table, rows, column, keys in (
            ("reviews", reviews, "user_id", users),
            ("reviews", reviews, "game_id", games),
            ("rankings", rankings, "game_id", games),
        )
        for finding in _missing(table, column, rows, keys[column])
    ]


def check_rows(rows: dict[str, int]) -> list[Finding]:
    """There is something to learn from and something to recommend."""
    return [
        Finding("error", table, "has rows (if it has none, ingest first)", 0)
        for table in ("reviews", "users", "games")
        if not rows[table]
    ]


def check_volume(rows: dict[str, int], last_rows: dict[str, int]) -> list[Finding]:
    """No table has shrunk below half of what the last good run saw (empty where there was none)."""
    check = (
        f"has at least {SMALLEST_SHARE_OF_LAST_RUN:.0%} of the last good run's {{:,}} rows "
        f"(if it may shrink so far, delete {LAST_GOOD_RUN} in the store)"
    )
    return [
        Finding("error", table, check.format(last), count)
        for table, last in last_rows.items()
        if (count := rows.get(table, 0)) < SMALLEST_SHARE_OF_LAST_RUN * last
    ]


def check_freshness(newest_change: datetime | None, extracted_at: datetime) -> list[Finding]:
    """The source still changes: its newest review is not older than two days at extraction."""
    if newest_change is None or extracted_at - newest_change <= STALE_AFTER:
        return []
    age = (extracted_at - newest_change).days
    return [Finding("warning", "reviews", "days since the last change", age, (newest_change.isoformat(),))]


def check_nulls(reviews: pa.Table) -> list[Finding]:
    """No optional column of the reviews is mostly empty."""
    return [
        Finding("warning", "reviews", f"{column} is filled in at least {1 - share:.0%} of the rows", nulls)
        for column, share in MANY_NULLS.items()
        if reviews.num_rows and (nulls := reviews[column].null_count) / reviews.num_rows >= share
    ]


def check_blanks(reviews: pa.Table) -> list[Finding]:
    """Reviews of unknown authors, and reviews that cannot be placed in time, are counted."""
    return [
        Finding("warning", "reviews", words, nulls)
        for column, words in (("user_id", "without a known author"), ("reviewed_on", "without a date"))
        if (nulls := reviews[column].null_count)
    ]


def check_ranks(rankings: pa.Table) -> list[Finding]:
    """A game has one place in a ranking."""
    counts = rankings.group_by(["genre", "rank_type", "game_id"]).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not repeated.num_rows:
        return []
    first = repeated.slice(0, EXAMPLES).to_pylist()
    examples = tuple(f"game_id {row['game_id']} by {row['rank_type']} in {row['genre']}" for row in first)
    return [Finding("error", "rankings", "a game is ranked once", repeated.num_rows, examples)]


def check_repeats(reviews: pa.Table) -> list[Finding]:
    """A user reviews a game once; of several reviews the latest counts."""
    known = reviews.select(["user_id", "game_id"]).filter(pc.is_valid(reviews["user_id"]))
    counts = known.group_by(["user_id", "game_id"]).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not repeated.num_rows:
        return []
    first = repeated.sort_by([("user_id", "ascending"), ("game_id", "ascending")]).slice(0, EXAMPLES).to_pylist()
    examples = tuple(f"user_id {row['user_id']}, game_id {row['game_id']}, {row['count_all']} times" for row in first)
    return [Finding("warning", "reviews", "games that one user reviewed more than once", repeated.num_rows, examples)]


def _missing(table: str, column: str, rows: pa.Table, keys: pa.ChunkedArray) -> list[Finding]:
    known = pc.is_in(rows[column], value_set=keys.combine_chunks())
    missing = rows.filter(pc.and_(pc.is_valid(rows[column]), pc.invert(known)))
    if not missing.num_rows:
        return []
    examples = tuple(describe(row, column) for row in missing.slice(0, EXAMPLES).to_pylist())
    return [Finding("error", table, f"every {column} exists", missing.num_rows, examples)]
