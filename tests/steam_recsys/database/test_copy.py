"""The reader of COPY's binary format, on the output of a real server."""

import io
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2.extensions import connection as Connection

from steam_recsys.data.schemas import TABLES
from steam_recsys.database.copy import has_fixed_width, read_binary_copy

SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("number", pa.int32(), nullable=False),
        pa.field("flag", pa.bool_(), nullable=False),
        pa.field("long", pa.int64()),
        pa.field("real", pa.float32()),
        pa.field("day", pa.date32()),
        pa.field("time", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
ROW = st.tuples(
    INT64,
    st.integers(-(2**31), 2**31 - 1),
    st.booleans(),
    st.none() | INT64,
    st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    st.none() | st.dates(),
    st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
)


def copy_binary(connection: Connection, select: str, *values: object) -> bytes:
    content = io.BytesIO()
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY ({cursor.mogrify(select, values).decode()}) TO STDOUT (FORMAT binary)", content)
    return content.getvalue()


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, max_size=20))
def test_rows_survive_the_binary_format(connection: Connection, rows: list[tuple]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE IF NOT EXISTS rows "
            "(id bigint, number integer, flag boolean, long bigint, real real, day date, time timestamptz); "
            "TRUNCATE rows"
        )
        for row in rows:
            cursor.execute("INSERT INTO rows VALUES (%s, %s, %s, %s, %s, %s, %s)", row)
    content = copy_binary(
        connection,
        "SELECT id, number, flag, coalesce(long, -9223372036854775808), coalesce(real, '-infinity'), "
        "coalesce(day, '-infinity'), time FROM rows",
    )
    table = read_binary_copy(content, SCHEMA)
    assert table.schema.equals(SCHEMA)
    assert [tuple(row.values()) for row in table.to_pylist()] == rows


def test_reviews_and_users_have_a_fixed_width() -> None:
    assert [table for table, schema in TABLES.items() if has_fixed_width(schema)] == ["reviews", "users"]


@pytest.mark.parametrize(
    "select",
    [
        "SELECT NULL::bigint, 1::bigint",
        "SELECT 1::bigint, 1::integer",
        "SELECT 1::integer, 1::bigint",
        "SELECT 1::bigint",
    ],
)
def test_another_layout_is_rejected(connection: Connection, select: str) -> None:
    schema = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in ("a", "b")])
    with pytest.raises(ValueError, match=r"COPY's binary format|another width"):
        read_binary_copy(copy_binary(connection, select), schema)


def test_truncated_content_is_rejected(connection: Connection) -> None:
    schema = pa.schema([pa.field("day", pa.date32(), nullable=False)])
    content = copy_binary(connection, "SELECT date '2020-02-29'")
    assert read_binary_copy(content, schema)["day"].to_pylist() == [date(2020, 2, 29)]
    with pytest.raises(ValueError, match="COPY's binary format"):
        read_binary_copy(content[:-1], schema)
