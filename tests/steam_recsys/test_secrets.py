"""References to secrets; the real client of Secret Manager talks to a server on loopback."""

import base64
import os

import pytest

from steam_recsys.database.connection import connect
from steam_recsys.errors import UserError
from steam_recsys.secrets import resolve_secret
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


def test_secrets_are_named_and_never_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)
    with pytest.raises(UserError, match="NOT_SET is not set"):
        resolve_secret("env:NOT_SET")
    with pytest.raises(UserError, match="named as env:NAME") as error:
        resolve_secret("postgresql://ann:hush@db/shop")
    assert "hush" not in str(error.value)


def test_a_secret_of_secret_manager_is_resolved(api: Api) -> None:
    assert resolve_secret("sm://projects/p/secrets/database-url/versions/latest") == "postgresql://ann:hush@db/shop"


def test_a_database_url_can_be_a_secret(api: Api, monkeypatch: pytest.MonkeyPatch, database: str) -> None:
    name = "projects/p/secrets/own/versions/1"
    monkeypatch.setitem(SECRETS, name, os.environ["DATABASE_URL"])
    with connect(f"sm://{name}") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_an_unreachable_database_is_named_by_its_secret(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "projects/p/secrets/own/versions/1"
    monkeypatch.setitem(SECRETS, name, "postgresql://ann:hush@127.0.0.1:1/shop")
    with (
        pytest.raises(UserError, match=rf"The database in sm://{name} cannot be reached") as refused,
        connect(f"sm://{name}"),
    ):
        pass
    assert "hush" not in str(refused.value)


def test_a_missing_secret_is_reported(api: Api) -> None:
    with pytest.raises(UserError, match="The secret sm://projects/p/secrets/x/versions/1 does not exist: create it"):
        resolve_secret("sm://projects/p/secrets/x/versions/1")


def test_an_unreadable_secret_is_reported(api: Api) -> None:
    api.failures["GET"] = [403]
    with pytest.raises(UserError, match=r"This account may not read sm://.*: grant it Secret Manager Secret Accessor"):
        resolve_secret("sm://projects/p/secrets/database-url/versions/latest")


def test_an_invalid_name_is_rejected_without_a_request(api: Api) -> None:
    with pytest.raises(UserError, match="sm://database-url is not a secret: write it as sm://projects/P/secrets"):
        resolve_secret("sm://database-url")
    assert api.requests == []
