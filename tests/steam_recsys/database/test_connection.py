import os

import pytest

from steam_recsys.database.connection import connect, create_schema
from steam_recsys.errors import UserError


def message_for(url: str, monkeypatch) -> str:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(UserError) as error, connect("env:DATABASE_URL"):
        pass
    return str(error.value)


def test_an_unreachable_database_is_reported(monkeypatch):
    message = message_for("postgresql://ann:hush@127.0.0.1:1/shop", monkeypatch)
    assert message.startswith("The database in DATABASE_URL cannot be reached")
    assert "hush" not in message


def test_a_wrong_password_is_reported_without_it(database, monkeypatch):
    url = os.environ["DATABASE_URL"].replace("steam:", "steam:wrong", 1)
    message = message_for(url, monkeypatch)
    assert message == "The database in DATABASE_URL refused the user or the password: correct DATABASE_URL."


def test_a_missing_database_is_reported(database, monkeypatch):
    assert "does not exist" in message_for(os.environ["DATABASE_URL"] + "_missing", monkeypatch)


def test_an_invalid_url_is_reported(monkeypatch):
    assert "is not a PostgreSQL URL" in message_for("shop", monkeypatch)
    assert "is not a PostgreSQL URL" in message_for("postgresql://h/db?nonsense=1", monkeypatch)


def test_an_error_rolls_the_transaction_back(database, connection):
    def fail_inside():
        with connect(database) as inside:
            create_schema(inside, "steam")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regnamespace('steam')")
        assert cursor.fetchone() == (None,)


def test_creating_a_schema_twice_changes_nothing(database):
    for _ in range(2):
        with connect(database) as inside:
            create_schema(inside, "steam")
