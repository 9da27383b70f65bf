"""The user with which the explorer reads, on a real PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from explorer import reader
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError

PASSWORD = "it's \\ % + /@: ü"
URL = "postgresql://job_reader:it%27s%20%5C%20%25%20%2B%20%2F%40%3A%20%C3%BC@"


@pytest.fixture
def reader_url(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    url = URL + os.environ["DATABASE_URL"].partition("@")[2]
    monkeypatch.setenv("EXPLORER_DATABASE_URL", url)
    return url


def publish(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recsys.publications (version, model_version, snapshot_id, users, rows, as_of, first_switch, "
            "current) VALUES ('v', 'm', 's', 1, 1, now(), 1, true)"
        )


def test_the_job_waits_for_the_first_publication_and_creates_the_user_of_the_url(
    shop: Connection, reader_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = iter([lambda: create_schema(shop, "recsys"), lambda: None, lambda: publish(shop)])
    monkeypatch.setattr("time.sleep", lambda seconds: next(steps)())
    reader.main()
    assert capsys.readouterr().out == (
        "explorer: waiting for the first publication: the inference pipeline has not published anything.\n"
        "explorer: the user job_reader may read\n"
    )
    connection = psycopg2.connect(reader_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recsys.publications")
        assert cursor.fetchone() == (1,)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("DELETE FROM recsys.publications")
    connection.close()


def test_a_repetition_changes_the_password_and_grants_the_role_to_an_existing_user(
    shop: Connection, reader_url: str
) -> None:
    create_schema(shop, "recsys")
    with shop.cursor() as cursor:
        cursor.execute("DROP ROLE IF EXISTS job_reader")
        cursor.execute("CREATE USER job_reader PASSWORD 'old'")
    reader.create_reader(os.environ["DATABASE_URL"], *reader.reader_credentials(reader_url))
    connection = psycopg2.connect(reader_url)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM recsys.recommendations")
        assert cursor.fetchone() == (0,)
    connection.close()


def test_the_password_is_sent_as_a_hash(shop: Connection, reader_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    create_schema(shop, "recsys")
    sent = []
    literal = reader.sql.Literal
    monkeypatch.setattr(reader.sql, "Literal", lambda value: sent.append(value) or literal(value))
    reader.create_reader(os.environ["DATABASE_URL"], *reader.reader_credentials(reader_url))
    (password,) = sent
    assert password.startswith(("SCRAM-SHA-256$", "md5"))
    assert PASSWORD not in password


def test_a_database_that_is_not_up_yet_is_waited_for(
    shop: Connection, reader_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    create_schema(shop, "recsys")
    publish(shop)
    url = os.environ["DATABASE_URL"]
    monkeypatch.setenv("DATABASE_URL", "postgresql://steam:hunter22@127.0.0.1:1/shop")
    monkeypatch.setattr("time.sleep", lambda seconds: monkeypatch.setenv("DATABASE_URL", url))
    reader.main()
    output = capsys.readouterr().out
    assert output.startswith("explorer: waiting for the first publication: ")
    assert output.endswith("explorer: the user job_reader may read\n")
    assert "hunter22" not in output


@pytest.mark.parametrize(
    "url", ["postgresql://host/shop", "postgresql://explorer@host/shop", "mysql://explorer:hunter22@host/shop"]
)
def test_a_url_without_a_user_and_a_password_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="EXPLORER_DATABASE_URL") as refused:
        reader.reader_credentials(url)
    assert "hunter22" not in str(refused.value)


def test_without_its_settings_the_command_ends_with_one_sentence() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "explorer.reader"],
        cwd=Path(__file__).parents[2],
        env={},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("explorer: The environment variable EXPLORER_DATABASE_URL is not set")
    assert done.stderr.count("\n") == 1
