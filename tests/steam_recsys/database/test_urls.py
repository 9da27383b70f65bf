"""URLs through both drivers, psycopg2 and asyncpg."""

import asyncio
import os
import secrets
from collections.abc import Iterator

import asyncpg
import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from steam_recsys.database.urls import asyncpg_arguments, connection_parameters

PASSWORD = "a#b?c/d@e %:'f\\"
QUERY = "SELECT current_user::text, current_database()::text, current_setting('search_path')"


@pytest.fixture
def names(database: str, connection: Connection) -> Iterator[dict[str, str]]:
    """The parts of a URL of the test's database, for a role with an odd password."""
    role = f"odd {secrets.token_hex(6)}"
    with connection.cursor() as cursor:
        statement = sql.SQL("CREATE USER {} PASSWORD {}")
        cursor.execute(statement.format(sql.Identifier(role), sql.Literal(PASSWORD)))
    parts = parse_dsn(os.environ["DATABASE_URL"])
    yield {
        "user": role.replace(" ", "%20"),
        "password": "a#b?c%2Fd%40e%20%25%3A'f\\",
        "host": parts["host"],
        "port": parts["port"],
        "db": parts["dbname"],
        "dsn_user": f"'{role}'",
        "dsn_password": "'a#b?c/d@e %:\\'f\\\\'",
    }
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DROP USER {}").format(sql.Identifier(role)))


def by_psycopg2(url: str) -> tuple[str, ...]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(QUERY)
            return tuple(cursor.fetchone())
    finally:
        connection.close()


def by_asyncpg(url: str) -> tuple[str, ...]:
    async def ask() -> tuple[str, ...]:
        connection = await asyncpg.connect(**asyncpg_arguments(url))
        try:
            return tuple(await connection.fetchrow(QUERY))
        finally:
            await connection.close()

    return asyncio.run(ask())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://{user}:{password}@{host}:{port}/{db}",
        "postgres://{user}:{password}@{host}:{port}/{db}",
        "postgresql://{user}:{password}@{host}:{port}/{db}?sslmode=prefer&connect_timeout=10&application_name=me",
        "postgresql://{user}:{password}@{host}:{port}/{db}?sslmode=disable&gssencmode=disable&channel_binding=prefer",
        "postgresql://{user}:{password}@{host}:{port}/{db}?keepalives=1&keepalives_idle=30&tcp_user_timeout=1000",
        "postgresql://{user}:{password}@{host}:{port}/{db}?options=-csearch_path%3Dsteam%20-cwork_mem%3D8MB",
        "postgresql://{user}:{password}@{host}:{port}/{db}?client_encoding=LATIN1&fallback_application_name=me",
        "postgresql:///{db}?host={host}&port={port}&user={user}&password=a%23b?c%2Fd%40e%20%25%3A'f\\",
        "postgresql://{user}:{password}@/{db}?host={host}&port={port}",
        "postgresql://{user}:{password}@{host}:1,{host}:{port}/{db}?target_session_attrs=read-write",
        "postgresql://{user}:{password}@{host},{host}:{port}/{db}",
        "postgresql://{user}:{password}@/{db}?host={host},{host}&port={port}",
        "postgresql://{user}:{password}@nowhere.invalid:{port}/{db}?hostaddr={host}",
        "host={host} port={port} dbname={db} user={dsn_user} password={dsn_password}",
        "host = {host} port={port} dbname={db} user={dsn_user} password={dsn_password} connect_timeout=5 "
        "options='-c search_path=steam'",
    ],
)
def test_both_drivers_accept_the_same_urls(url: str, names: dict[str, str]) -> None:
    url = url.format_map(names)
    found = by_psycopg2(url)
    assert found == by_asyncpg(url)
    assert found[0].startswith("odd ")
    assert found[2] == ("steam" if "search_path" in url else '"$user", public')


@pytest.mark.parametrize(
    "url",
    [
        "shop",
        "mysql://me:hidden@host/db",
        "postgresql+asyncpg://me:hidden@host/db",
        "postgresql://me:hidden/word@host/db",
        "postgresql://me:word@host:hidden/db",
        "postgresql://me:word@host:65536/db",
        "postgresql://host/db?hidden=1",
        "dbname=shop hidden",
        "postgresql://me:Sup3r@hidden@host/db",
        "postgresql://me:Sup3r@hidden:5432/db@host",
        "postgresql://me@corp:hidden@host/db",
        "postgresql://me:hidden/@host:5432/db",
        "postgresql://me:5432/hidden@host/db",
        "postgresql://me:12,34/hidden@host/db",
        "postgresql://me:/hidden@host/db",
        "postgres://me:hidden/5432?x@host/db",
    ],
)
def test_an_invalid_url_is_refused_without_showing_it(url: str) -> None:
    for read in (connection_parameters, asyncpg_arguments):
        with pytest.raises(ValueError, match=r"not a PostgreSQL URL like postgresql://.* write %2F for /") as error:
            read(url)
        assert "hidden" not in str(error.value)


@pytest.mark.parametrize("parameter", ["channel_binding=require", "gssencmode=require", "require_auth=none"])
def test_options_that_asyncpg_lacks_are_refused_instead_of_ignored(parameter: str) -> None:
    with pytest.raises(ValueError, match=f"{parameter.partition('=')[0]} is not supported"):
        asyncpg_arguments(f"postgresql://host/db?{parameter}")
    with pytest.raises(ValueError, match="hostaddr is not supported with sslmode=verify-full"):
        asyncpg_arguments("postgresql://host/db?sslmode=verify-full&hostaddr=127.0.0.1")


def test_certificates_are_passed_on() -> None:
    arguments = asyncpg_arguments("postgresql://here/shop?sslmode=verify-full&sslrootcert=/etc/c a.pem")
    assert arguments["dsn"] == "postgresql://?sslmode=verify-full&sslrootcert=%2Fetc%2Fc+a.pem"
    assert asyncpg_arguments("postgresql://here/shop?sslrootcert=system") == {
        "host": ["here"],
        "database": "shop",
        "ssl": True,
    }
