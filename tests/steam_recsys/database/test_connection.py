import os

import pytest

from steam_recsys.database.connection import connect, create_schema, resolve_secret
from steam_recsys.errors import UserError


def sentence_for(url: str, monkeypatch) -> str:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(UserError) as error, connect("env:DATABASE_URL"):
        pass
    return str(error.value)


def test_a_secret_is_named_and_never_passed(monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(UserError, match="NOT_SET is not set"):
        resolve_secret("env:NOT_SET")
    with pytest.raises(UserError, match="named as env:NAME") as error:
        resolve_secret("postgresql://ann:hush@db/shop")
    assert "hush" not in str(error.value)


def test_a_database_that_cannot_be_reached_gets_one_sentence(monkeypatch):
    sentence = sentence_for("postgresql://ann:hush@127.0.0.1:1/shop", monkeypatch)
    assert sentence.startswith("The database in DATABASE_URL cannot be reached")
    assert "hush" not in sentence


def test_a_refused_password_gets_one_sentence_without_it(database, monkeypatch):
    url = os.environ["DATABASE_URL"].replace("steam:", "steam:wrong", 1)
    sentence = sentence_for(url, monkeypatch)
    assert sentence == "The database in DATABASE_URL refused the user or the password: correct DATABASE_URL."


def test_a_database_that_does_not_exist_gets_one_sentence(database, monkeypatch):
    assert "does not exist" in sentence_for(os.environ["DATABASE_URL"] + "_missing", monkeypatch)


def test_what_is_no_url_gets_one_sentence(monkeypatch):
    assert "is not a PostgreSQL URL" in sentence_for("shop", monkeypatch)
    assert "is not a PostgreSQL URL" in sentence_for("postgresql://h/db?nonsense=1", monkeypatch)


def test_an_error_inside_rolls_everything_back(database, connection):
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
