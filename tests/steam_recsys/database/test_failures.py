"""What errors of the database are translated to."""

import os
import re
import secrets

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.database.connection import connect, create_schema
from steam_recsys.database.failures import MEANINGS, UnavailableError, connection_error, database_error
from steam_recsys.errors import UserError

SECRET = "S3cr3tPw"


@pytest.mark.parametrize("sqlstate", [*MEANINGS, "23505", "P0001", "42601"])
def test_every_sqlstate_is_one_sentence_without_the_drivers_words(sqlstate: str) -> None:
    code = sqlstate.ljust(5, "0")
    sentence = str(database_error("DATABASE_URL", code, f'unheard of "{SECRET}"\nDETAIL: {SECRET}'))
    assert re.fullmatch(r"[A-Z][^\n]*DATABASE_URL[^\n{}]*: [^\n{}]+\.", sentence)
    assert SECRET not in sentence


@pytest.mark.parametrize(
    ("sqlstate", "message", "expected"),
    [
        (
            "42501",
            "permission denied for table reviews",
            "do this (permission denied for table reviews): grant it.",
        ),
        ("42501", "must be owner of view recommendations", "(must be owner of view recommendations): grant it."),
        ("42501", "la permission est refusée", "may not do this (SQLSTATE 42501): grant it."),
        (
            "42P01",
            'relation "steam.genres" does not exist',
            '(relation "steam.genres" does not exist): undo',
        ),
        ("57014", "canceling statement due to user request", "cancelled a statement (canceling statement due to user"),
        ("57P01", "terminating connection due to administrator command", "failed (terminating connection due to"),
        ("23505", "duplicate key", "failed (SQLSTATE 23505): see its log"),
    ],
)
def test_the_servers_words_are_shown_where_their_form_is_known(sqlstate: str, message: str, expected: str) -> None:
    assert expected in str(database_error("DATABASE_URL", sqlstate, message))


@pytest.mark.parametrize(
    ("message", "expected", "passes"),
    [
        ('connection to server at "::1" failed: FATAL:  sorry, too many clients already\n', "no connection left", True),
        ('FATAL:  too many connections for role "shop"\n', "no connection left for this role: end some", True),
        ("FATAL:  remaining connection slots are reserved for roles with", "no connection left", True),
        ("FATAL:  no more connections allowed (max_client_conn)\n", "no connection left", True),
        ("FATAL:  the database system is starting up\n", "cannot be reached now (it starts", True),
        ("FATAL:  the database system is not yet accepting connections\nDETAIL: x", "cannot be reached now", True),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "shop"', "pg_hba.conf", False),
        ('FATAL:  role "shop" is not permitted to log in\n', "does not let this user in", False),
        ('FATAL:  permission denied for database "shop"', '(permission denied for database "shop")', False),
        ("FATAL:  unsupported startup parameter: geqo\n", "(unsupported startup parameter: geqo)", False),
        ('invalid sslmode value: "S3cr3tPw"\n', "DATABASE_URL has an invalid value of sslmode: correct it.", False),
        ('invalid integer value "S3cr3tPw" for connection option "keepalives"\n', "invalid value of keepalives", False),
        ('FATAL:  unrecognized configuration parameter "S3cr3tPw"\n', "invalid value of options", False),
        ('could not translate host name "S3cr3tPw@127.0.0.1" to address: Name', "(the host's name is unknown)", True),
        ('definition of service "S3cr3tPw" not found\n', "(the service in the URL or in PGSERVICE is not", True),
        ("S3cr3tPw ist unbekannt", "psql shows it", True),
        ('connection to "a" failed: Connection refused\nconnection to "b" failed: FATAL:  database "x" does not exist',
         "does not exist on its server", False),
    ],
)  # fmt: skip
def test_the_reasons_why_no_connection_opens_are_recognised(message: str, expected: str, passes: bool) -> None:
    error = connection_error("DATABASE_URL", message)
    assert expected in str(error)
    assert SECRET not in str(error)
    assert isinstance(error, UnavailableError) == passes


def fails(database: str, statement: str) -> str:
    with pytest.raises(UserError) as error, connect(database) as inside, inside.cursor() as cursor:
        cursor.execute(statement)
    return str(error.value)


def test_a_changed_schema_is_named(shop: Connection, database: str) -> None:
    with shop.cursor() as cursor:
        cursor.execute("ALTER TABLE steam.games RENAME name TO title; DROP TABLE steam.rankings")
    for statement, detail in (
        ("SELECT name FROM steam.games", 'column "name" does not exist'),
        ("SELECT FROM steam.rankings", 'relation "steam.rankings" does not exist'),
        ("SELECT FROM recsys.publications", 'relation "recsys.publications" does not exist'),
        ("SELECT recsys.shelves(1)", 'schema "recsys" does not exist'),
    ):
        sentence = fails(database, statement)
        assert sentence.startswith(
            f"The database in DATABASE_URL does not match this release's schema ({detail}): undo the change"
        )


def test_a_role_without_rights_on_a_table_is_named(
    shop: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"poor_{secrets.token_hex(4)}"
    with shop.cursor() as cursor:
        cursor.execute(
            f"CREATE ROLE {role} LOGIN PASSWORD 'p' CONNECTION LIMIT 1; GRANT USAGE ON SCHEMA steam TO {role}"
        )
    monkeypatch.setenv("DATABASE_URL", re.sub("//[^@]*@", f"//{role}:p@", os.environ["DATABASE_URL"]))
    expected = "The role in DATABASE_URL may not do this (permission denied for table reviews): grant it."
    assert fails(database, "SELECT FROM steam.reviews") == expected
    with shop.cursor() as cursor:  # the server may not have noticed yet that the connection is closed
        cursor.execute("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE usename = %s", [role])
    with psycopg2.connect(os.environ["DATABASE_URL"]):
        assert "has no connection left for this role" in fails(database, "SELECT")


def test_a_role_that_is_read_only_gets_the_remedy(shop: Connection, database: str) -> None:
    create_schema(shop, "recsys")
    sentence = fails(database, "SET LOCAL transaction_read_only = on; DELETE FROM recsys.monitoring")
    assert "is read-only, as a standby is: let DATABASE_URL name the primary server" in sentence
    assert isinstance(database_error("X", "25006"), UnavailableError)


def test_an_ended_session_is_reported(database: str) -> None:
    sentence = fails(database, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert re.fullmatch(r"The database in DATABASE_URL failed \(.*\): see its log, then run again\.", sentence)


def test_an_error_of_this_program_keeps_its_stack_trace(database: str) -> None:
    with pytest.raises(psycopg2.ProgrammingError, match="can't adapt"), connect(database) as inside:
        inside.cursor().execute("SELECT %s", [object()])
