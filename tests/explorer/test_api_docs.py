"""The API's own page: examples that work, fields of what is posted, and what else programs may ask."""

import json
import re
import shlex
from typing import Any

import httpx

from explorer.schemas import HISTORY_EXAMPLE, LIVE_EXAMPLE, RECOMMENDATIONS_EXAMPLE
from tests.explorer.parsed_page import Page, page


def shape(content: Any) -> Any:
    """The names in a piece of JSON; of a list, those of its first element."""
    if isinstance(content, dict):
        return {name: shape(value) for name, value in content.items()}
    return [shape(content[0])] if isinstance(content, list) else None


def asked(client: httpx.Client, line: str) -> httpx.Response:
    """What comes back to a line for a shell."""
    program, url, *options = shlex.split(line)
    assert program == "curl"
    if not options:
        return client.get(url)
    flag, body = options
    assert flag == "--json"
    return client.post(url, content=body, headers={"content-type": "application/json"})


def test_examples_are_requests_that_are_answered_in_the_shape_that_is_shown(client: httpx.Client) -> None:
    shown = page(client, "/api")
    lines = [text for text in shown.texts if text.startswith("curl ")]
    answers = [json.loads(text) for text in shown.texts if text.startswith("{\n")]
    assert answers == [RECOMMENDATIONS_EXAMPLE, LIVE_EXAMPLE]
    assert len(lines) == len(answers)
    for line, answer in zip(lines, answers, strict=True):
        assert str(client.base_url) in line
        found = asked(client, line)
        assert found.status_code == 200, found.text
        assert shape(found.json()) == shape(answer)
        assert len(found.json()["games"]) == len(answer["games"])


def test_examples_stand_in_the_description_for_programs(client: httpx.Client) -> None:
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


def test_every_field_of_what_is_posted_says_what_it_means(client: httpx.Client) -> None:
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


def test_what_watches_over_the_explorer_is_told_what_to_ask(client: httpx.Client) -> None:
    told = re.findall(r"GET (/\w+)(?= )", Page(client.get("/api")).text)
    assert told == ["/healthz", "/readyz", "/metrics"]
    assert all(client.get(path).is_success for path in told)
