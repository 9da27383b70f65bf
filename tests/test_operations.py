"""What docs/operations.md tells to ask a database, asked."""

import re
from pathlib import Path

from psycopg2.extensions import connection as Connection

from components.shared.database import create_schema

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"


def test_every_query_of_the_page_can_be_asked(connection: Connection) -> None:
    create_schema(connection, "recsys")
    queries = re.findall(r"```\n(SELECT .*?)```", PAGE.read_text(), re.DOTALL)
    assert len(queries) == 2
    with connection.cursor() as cursor:
        for query in queries:
            cursor.execute(query)
            assert cursor.fetchall() == []
