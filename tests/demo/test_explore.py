"""The role with which the explorer reads a demo's database."""

import os
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from demo.explore import _secret, reader_url
from demo.postgres import EmbeddedPostgres
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError


def test_the_role_is_created_once_and_gets_the_last_password(shop: Connection, database: str) -> None:
    create_schema(shop, "recsys")
    for password in ("first & ?", "it's \\ % + /@: ü"):
        url = reader_url(os.environ["DATABASE_URL"], password)
        connection = psycopg2.connect(url)
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM recsys.recommendations")
            assert cursor.fetchone() == (0,)
        connection.close()


def test_an_unpublished_database_is_refused(shop: Connection, database: str) -> None:
    with pytest.raises(UserError, match="The demo's last run published nothing: run make demo again"):
        reader_url(os.environ["DATABASE_URL"], "password")


def test_a_user_who_may_not_create_roles_is_told_what_to_do(
    shop: Connection, database: str, postgres: EmbeddedPostgres
) -> None:
    create_schema(shop, "recsys")
    with shop.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = 'demo_owner'")
        if cursor.rowcount == 0:
            cursor.execute("CREATE USER demo_owner PASSWORD 'owner'")
    server = os.environ["DATABASE_URL"].partition("@")[2]
    with pytest.raises(UserError, match=r"let its owner run explorer/reader\.sql, and set EXPLORER_DATABASE_URL"):
        reader_url(f"postgresql://demo_owner:owner@{server}", "password")


def test_a_secret_is_written_atomically_and_readable_by_its_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "operator-token"

    def killed(size: int) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("secrets.token_urlsafe", killed)
        with pytest.raises(KeyboardInterrupt):
            _secret(path)
    assert not path.exists()
    secret = _secret(path)
    assert len(secret) == 32
    assert _secret(path) == path.read_text() == secret
    assert [(found.name, found.stat().st_mode & 0o777) for found in tmp_path.iterdir()] == [("operator-token", 0o600)]
