"""The real client of Secret Manager against a server on loopback."""

import base64
import os

import pytest

from steam_recsys.database.connection import connect, resolve_secret
from steam_recsys.errors import UserError
from tests.pipelines.api_server import Answer, Api, Request, serving

SECRETS = {"projects/p/secrets/database-url/versions/latest": "postgresql://ann:hush@db/shop\n"}


def answer(request: Request) -> Answer:
    name = request.path.removeprefix("/v1/").removesuffix(":access")
    if name not in SECRETS:
        return 404, {"error": {"code": 404, "message": "no such secret"}}
    return 200, {"name": name, "payload": {"data": base64.b64encode(SECRETS[name].encode()).decode()}}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch):
    with serving(answer) as api:
        monkeypatch.setenv("SECRET_MANAGER_ENDPOINT", api.url)
        yield api


def test_a_secret_is_resolved_by_its_name(api: Api) -> None:
    assert resolve_secret("sm://projects/p/secrets/database-url/versions/latest") == "postgresql://ann:hush@db/shop"


def test_a_database_can_be_named_by_a_secret(api: Api, monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    name = "projects/p/secrets/own/versions/1"
    monkeypatch.setitem(SECRETS, name, os.environ["DATABASE_URL"])
    with connect(f"sm://{name}") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_a_database_that_cannot_be_reached_is_called_by_its_secret(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "projects/p/secrets/own/versions/1"
    monkeypatch.setitem(SECRETS, name, "postgresql://ann:hush@127.0.0.1:1/shop")
    with (
        pytest.raises(UserError, match=rf"The database in sm://{name} cannot be reached") as refused,
        connect(f"sm://{name}"),
    ):
        pass
    assert "hush" not in str(refused.value)


def test_a_secret_that_is_not_there_gets_one_sentence(api: Api) -> None:
    with pytest.raises(UserError, match="The secret sm://projects/p/secrets/x/versions/1 does not exist: create it"):
        resolve_secret("sm://projects/p/secrets/x/versions/1")


def test_a_secret_that_may_not_be_read_gets_one_sentence(api: Api) -> None:
    api.failures["GET"] = [403]
    with pytest.raises(UserError, match=r"This account may not read sm://.*: grant it Secret Manager Secret Accessor"):
        resolve_secret("sm://projects/p/secrets/database-url/versions/latest")


def test_a_name_of_another_form_is_refused_before_anybody_is_asked(api: Api) -> None:
    with pytest.raises(UserError, match="sm://database-url names no secret: write it as sm://projects/P/secrets"):
        resolve_secret("sm://database-url")
    assert api.requests == []
