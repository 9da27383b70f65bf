"""The synthetic shop at any size, made in a process of its own: as raw files, or straight in the schema `steam`.

python -m benchmarks.shop raw 1000000 700000 290 FOLDER record.json
"""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from psycopg2 import sql

from components.ingest.load import deferred_constraints
from demo.raw_files import user_names, write_synthetic
from demo.synthetic import FIRST_DAY, NONE, Reviews, Shop, Size, batches
from steam_recsys.database.connection import Cursor, connect, create_schema
from steam_recsys.database.copy import copy_from_chunks

ROWS_A_CHUNK = 50_000
DAY_SECONDS = 86_400
EPOCH = date(1970, 1, 1)
REVIEWS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("game_id", pa.int64()),
        ("recommended", pa.bool_()),
        ("hours_played", pa.float64()),
        ("helpful", pa.int64()),
        ("funny", pa.int64()),
        ("reviewed_on", pa.date32()),
        ("review", pa.string()),
        ("updated_at", pa.timestamp("s", "UTC")),
    ]
)


def load_shop(database: str, size: Size, seed: int = 0) -> int:
    """Create the schema `steam` in an empty database and fill its users, games and reviews; the number of reviews.

    A user's and a game's id is their number plus one. A review was changed last at some second of its day. As after a
    night of a shop's life, there is nothing left for readers to tidy up.
    """
    shop = Shop.generate(size, seed)
    with connect(database, application="steam-recsys benchmark") as connection:
        create_schema(connection, "steam")
        with connection.cursor() as cursor, deferred_constraints(cursor):
            _load(cursor, "games", [pa.table({"game_id": np.arange(1, size.games + 1), "name": shop.names})])
            _load(cursor, "users", _users(size))
            loaded = _load(cursor, "reviews", (_reviews(batch) for batch in batches(shop, size, seed)))
        connection.commit()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (FREEZE, ANALYZE) steam.reviews, steam.users, steam.games")
    return loaded


def _users(size: Size) -> Iterator[pa.Table]:
    for start in range(0, size.users, ROWS_A_CHUNK):
        numbers = np.arange(start, min(start + ROWS_A_CHUNK, size.users))
        yield pa.table({"user_id": numbers + 1, "username": user_names(numbers)})


def _reviews(batch: Reviews) -> pa.Table:
    days = batch.days + (FIRST_DAY - EPOCH).days
    dated = batch.days != NONE
    seconds = np.random.default_rng(len(batch)).integers(0, DAY_SECONDS, len(batch))
    columns = [
        pa.array(batch.users + 1, mask=batch.users == NONE),
        batch.games + 1,
        batch.recommended,
        batch.tenths / 10,
        batch.helpful,
        batch.funny,
        pa.array(days.astype(np.int32), pa.date32(), mask=~dated),
        pc.if_else(pa.array(batch.written), "A synthetic review.", pa.scalar(None, pa.string())),
        pa.array(np.where(dated, days, days.max()) * DAY_SECONDS + seconds, pa.timestamp("s", "UTC")),
    ]
    return pa.table(columns, schema=REVIEWS)


def _load(cursor: Cursor, table: str, rows: Iterable[pa.Table]) -> int:
    """COPY rows into a table of `steam`; how many they were."""
    loaded = 0
    for part in rows:
        columns = sql.SQL(", ").join(map(sql.Identifier, part.column_names))
        statement = sql.SQL("COPY steam.{} ({}) FROM STDIN (FORMAT csv)").format(sql.Identifier(table), columns)
        loaded += copy_from_chunks(cursor, statement, _csv(part))
    return loaded


def _csv(rows: pa.Table) -> Iterator[bytes]:
    for start in range(0, len(rows), ROWS_A_CHUNK):
        chunk = io.BytesIO()
        pa_csv.write_csv(rows.slice(start, ROWS_A_CHUNK), chunk, pa_csv.WriteOptions(include_header=False))
        yield chunk.getvalue()


def main() -> None:
    """Make a shop and write down its number of reviews."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shop", description=__doc__)
    parser.add_argument("kind", choices=("raw", "database"))
    parser.add_argument("size", type=int, nargs=3, help="reviews, users, games")
    parser.add_argument("place", help="a folder, or a reference to a database")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    size, to_folder = Size(*options.size), options.kind == "raw"
    reviews = write_synthetic(Path(options.place), size) if to_folder else load_shop(options.place, size)
    options.output.write_text(json.dumps(reviews))


if __name__ == "__main__":
    main()
