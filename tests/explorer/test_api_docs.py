"""The API's page: its examples, the fields of bodies, and the monitoring endpoints."""

import json
import re
import shlex
from typing import Any

import httpx

from explorer.schemas import HISTORY_EXAMPLE, LIVE_EXAMPLE, RECOMMENDATIONS_EXAMPLE
from tests.explorer.parsed_page import Page, page


def shape(content: Any) -> Any:
    """Return the names in a JSON value; for a list, those of its first element."""
    if isinstance(content, dict):
        return {name: shape(value) for name, value in content.items()}
    return [shape(content[0])] if isinstance(content, list) else None


def send(client: httpx.Client, line: str) -> httpx.Response:
    """Send the request of a `curl` command."""
    program, url, *options = shlex.split(line)
    assert program == "curl"
    if not options:
        return client.get(url)
    flag, body = options
    assert flag == "--json"
    return client.post(url, content=body, headers={"content-type": "application/json"})


def test_examples_work_and_return_the_documented_fields(client: httpx.Client) -> None:
    shown = page(client, "/api")
    lines = [text for text in shown.texts if text.startswith("curl ")]
    answers = [json.loads(text) for text in shown.texts if text.startswith("{\n")]
    assert answers == [RECOMMENDATIONS_EXAMPLE, LIVE_EXAMPLE]
    assert len(lines) == len(answers)
    for line, answer in zip(lines, answers, strict=True):
        assert str(client.base_url) in line
        found = send(client, line)
        assert found.status_code == 200, found.text
        assert shape(found.json()) == shape(answer)
        assert len(found.json()["games"]) == len(answer["games"])


def test_openapi_has_the_examples(client: httpx.Client) -> None:
    openapi = client.get("/api/openapi.json").json()
    paths, schemas = openapi["paths"], openapi["components"]["schemas"]
    for operation, answer in (
        (paths["/api/users/{user_id}/recommendations"]["get"], RECOMMENDATIONS_EXAMPLE),
        (paths["/api/recommend"]["post"], LIVE_EXAMPLE),
    ):
        content = operation["responses"]["200"]["content"]["application/json"]
        assert content["example"] == answer
        assert "$ref" in content["schema"]
    body = paths["/api/recommend"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schemas[body["$ref"].rpartition("/")[2]]["examples"] == [HISTORY_EXAMPLE]


def test_every_field_of_a_body_is_described(client: httpx.Client) -> None:
    shown = page(client, "/api")
    for text in (
        "user_id The user's id. integer of 64 bits",
        "history[].game_id The game's id. integer of 32 bits",
        "history[].recommended Whether the user recommends the game. boolean; default true",
        "history[].hours How long the user has played it; null if unknown. number or null from 0",
        "array of at most 1000",
        "version A kept publication; by default the one before the current one. string or null",
    ):
        assert text in shown.text
    assert "query string" not in shown.text
    assert shown.text.count("Not known to need more storage.") == 2


def test_the_api_page_lists_the_probes_and_metrics(client: httpx.Client) -> None:
    paths = re.findall(r"GET (/\w+)(?= )", Page(client.get("/api")).text)
    assert paths == ["/healthz", "/readyz", "/metrics"]
    assert all(client.get(path).is_success for path in paths)
