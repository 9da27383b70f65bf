"""References to secrets; the real client of Secret Manager talks to a server on loopback."""

import base64
import json
import os
import re
from urllib.parse import quote

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys import secrets
from steam_recsys.database.connection import connect
from steam_recsys.errors import UserError
from steam_recsys.secrets import mask, mask_values, register_environment, register_secret, resolve_secret
from tests.canaries import MALFORMED, leaked
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


def test_white_space_around_a_variables_value_is_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWN_URL", "postgresql://ann@db/shop\r\n")  # as from a file that ends with a line break
    assert resolve_secret("env:OWN_URL") == "postgresql://ann@db/shop"
    monkeypatch.setenv("OWN_URL", " \n")
    with pytest.raises(UserError, match="OWN_URL is not set"):
        resolve_secret("env:OWN_URL")


@pytest.mark.parametrize("url", MALFORMED)
def test_every_part_of_a_resolved_secret_is_masked_whatever_the_driver_says_about_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWN_URL", url)
    with pytest.raises(psycopg2.Error) as failed:
        psycopg2.connect(resolve_secret("env:OWN_URL"), connect_timeout=5)
    for text in (url, str(failed.value), repr(failed.value), json.dumps(url), quote(url, safe=""), url.lower()):
        assert leaked(mask(text)) == []
    for piece in re.split(r"[^\w]", url):
        assert leaked(mask(f'invalid port number: "{piece}"')) == []


@pytest.mark.parametrize(
    ("secret", "kept"),
    [
        (
            "postgresql://ann:Sup3rS@db.example.org:5432/shop?sslmode=require",
            "db.example.org:5432/shop?sslmode=require",
        ),
        ("postgresql://db.example.org:5432/shop?user=ann@company", "ann@company db.example.org 5432 shop"),
        ("postgresql:///shop?host=/var/run/postgresql&user=ann@company", "/var/run/postgresql ann@company"),
        ("postgresql://ann@db.example.org/shop", "ann@db.example.org/shop"),
        ("host=db.example.org port=5432 password=Sup3rS dbname=shop", "db.example.org 5432 dbname=shop"),
        ("mongodb://ann:Sup3rS@one.example.org,two.example.org/shop", "one.example.org,two.example.org/shop"),
        ("https://hooks.example.org/services/T0AB12CD/SUP3RS3CR3T", "hooks.example.org/services/"),
        ("postgresql://ann:pass@db.example.org/shop", "passed, compassion, bypass"),
    ],
)
def test_what_is_not_secret_in_a_url_stays(secret: str, kept: str) -> None:
    register_secret(secret)
    assert mask(f"cannot reach {kept}: check it") == f"cannot reach {kept}: check it"


@pytest.mark.parametrize(
    ("secret", "told"),
    [
        ("postgresql://ann:p%40Sup3rS@db/shop", "p@Sup3rS"),
        ("postgresql://ann:pass@db/shop", 'password "pass"'),
        ("mongodb+srv://ann:Sup3rS%2FS3cr3tPw@db/shop", "Sup3rS/S3cr3tPw"),
        ("https://hooks.example.org/services/T0AB12CD/SUP3RS3CR3T", "url: /services/T0AB12CD/SUP3RS3CR3T"),
        ("https://hooks.example.org/v1/spaces/messages?key=k1&token=Sup3rS", "token Sup3rS"),
        ("https://ann:Sup3rS@hooks.example.org/alerts", "Sup3rS"),
        ('an operator\'s "own" token', json.dumps('an operator\'s "own" token')),
        ("postgresql://ann:Sup3rS@S3cr3tPw", 'could not translate host name "S3cr3tPw"'),
    ],
)
def test_a_secret_is_masked_decoded_escaped_and_in_pieces(secret: str, told: str) -> None:
    register_secret(secret)
    assert "***" in mask(told)
    assert not re.search(r"(?i)sup3r|s3cr3t|own|\"pass\"", mask(told))


@given(st.text(st.characters(min_codepoint=33, max_codepoint=0x2FF), min_size=4, max_size=30))
def test_no_piece_of_any_password_survives(password: str) -> None:
    secrets._KNOWN.clear()
    register_secret(f"postgresql://ann:{password}@127.0.0.1:1/x")
    for piece in (password, *re.split(r"[@/:?#]", password)):
        if len(piece) >= 4 and not re.search(r"[*]", piece):
            assert piece not in mask(f'cannot translate "{piece}"').replace("cannot translate", "")


def test_the_remedy_in_a_sentence_about_a_malformed_url_stays_readable() -> None:
    register_secret("postgres//shop:Sup3rS/S3cr3tPw@127.0.0.1:1/shop")
    remedy = "not a PostgreSQL URL like postgresql://user:password@host:port/database"
    assert mask(remedy) == remedy


def test_the_passwords_in_the_environment_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICA_URL", "postgresql://ann:Sup3rS@S3cr3tPw@db/shop")
    monkeypatch.setenv("PGPASSWORD", "an0therOne")
    monkeypatch.setenv("EDITOR", "joe")
    register_environment()
    assert mask("Sup3rS, S3cr3tPw, an0therOne, joe") == "***, ***, ***, joe"


def test_values_are_masked_and_the_names_of_fields_stay() -> None:
    register_secret("postgresql://ann:stage@db/shop")
    facts = {"stage": ["a stage", {"n": 1, "x": None, "stage": True}]}
    assert mask_values(facts) == {"stage": ["a ***", {"n": 1, "x": None, "stage": True}]}


def test_long_names_are_read_at_once() -> None:
    name = "a_long_name" * 1_000
    register_secret(f"postgresql://{name}:Sup3rS@{name}/{name}")
    assert mask(f"{name} Sup3rS") == f"{name} ***"


@pytest.mark.parametrize(
    "url",
    [
        "host=db.internal dbname=steam user=recsys sslmode=require",
        "postgresql://recsys@db.internal/steam?sslmode=require&application_name=a@b",
        "postgresql:///steam?host=/var/run/postgresql&user=recsys",
    ],
)
def test_a_url_without_a_password_masks_no_ordinary_word(url: str) -> None:
    register_secret(url)
    sentence = "The database has no schema steam: require recsys.recommendations of db.internal, options, dbname."
    assert mask(sentence) == sentence
