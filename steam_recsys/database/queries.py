"""SQL files that hold several statements, each under a line `-- name: <name>`."""

from __future__ import annotations

from pathlib import Path

SQL_FOLDER = Path(__file__).parent / "sql"
MARKER = "-- name: "


def read_queries(path: Path) -> dict[str, str]:
    """Return the statements of a SQL file by name, in the order of the file."""
    sections = (section.partition("\n") for section in path.read_text(encoding="utf-8").split(MARKER)[1:])
    return {name.strip(): statement.strip() for name, _, statement in sections}


def snapshot_queries() -> dict[str, str]:
    """Return the query for each table of a snapshot, with the bounds of a key range as parameters."""
    return read_queries(SQL_FOLDER / "snapshot_queries.sql")
