"""The statements of `queries.sql`, by name."""

from pathlib import Path
from typing import Final

from steam_recsys.database.queries import read_queries

QUERIES: Final = read_queries(Path(__file__).parent / "queries.sql")
