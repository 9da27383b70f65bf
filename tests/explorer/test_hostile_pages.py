"""Payloads of known attacks on every page that shows texts."""

import html
from collections.abc import Iterator

import pytest

from demo.postgres import EmbeddedPostgres
from explorer.templating import asset
from tests.explorer.conftest import RunningExplorer, published_shop_in, serving
from tests.explorer.parsed_page import Page, page
from tests.explorer.payloads import PAYLOADS

OURS = {
    *("html", "head", "meta", "title", "link", "script", "body", "header", "nav", "main", "section", "div", "template"),
    *("h1", "h2", "h3", "p", "a", "span", "strong", "small", "code", "bdi", "time", "ul", "ol", "li", "dl", "dt", "dd"),
    *(
        "form",
        "label",
        "input",
        "select",
        "option",
        "button",
        "details",
        "summary",
        "svg",
        "path",
        "rect",
        "circle",
        "text",
    ),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}
"""The elements that pages may contain: no images, and no SVG events."""


@pytest.fixture(scope="module")
def hostile(postgres: EmbeddedPostgres) -> Iterator[RunningExplorer]:
    """The explorer of a shop whose texts became hostile after the publication."""
    with published_shop_in(postgres, "HOSTILE_PAGES_URL") as published_shop:
        with published_shop.connection() as connection, connection.cursor() as cursor:
            for number, payload in enumerate(PAYLOADS, start=1):
                cursor.execute("UPDATE steam.users SET username = %s WHERE user_id = %s", [payload, number])
                cursor.execute(
                    "UPDATE steam.games SET name = %s, short_description = %s, rating = %s WHERE game_id = %s",
                    [payload] * 3 + [number],
                )
                cursor.execute("INSERT INTO steam.developers (name) VALUES (%s)", [payload])
            cursor.execute("INSERT INTO steam.game_developers SELECT developer_id, developer_id FROM steam.developers")
            text = PAYLOADS[1]
            cursor.execute(
                "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, error, finished_at) "
                "VALUES (%s, %s, %s, %s, now())",
                [text] * 4,
            )
            cursor.execute(
                "INSERT INTO recsys.monitoring (run_id, measured_at, as_of, model_version, retrain, reasons) "
                "VALUES (%s, now(), current_date, %s, true, jsonb_build_array(%s::text))",
                [text] * 3,
            )
        with serving(published_shop.settings(requests_per_second=1e6)) as served:
            served.wait_for_model(published_shop.plan.version)
            yield served


@pytest.mark.parametrize("number", range(1, len(PAYLOADS) + 1))
def test_hostile_texts_are_shown_as_plain_text(hostile: RunningExplorer, number: int) -> None:
    payload = PAYLOADS[number - 1]
    paths = (
        f"/users/{number}",
        f"/games/{number}",
        f"/try?games={number}",
        "/overview",
        "/games",
        "/",
        f"/users/{number}/compare",
    )
    queries = [("/users", {"q": payload}), ("/games", {"q": payload}), ("/try", {"q": payload, "genre": payload})]
    answers = [hostile.client.get(path) for path in paths]
    answers += [hostile.client.get(path, params=query) for path, query in queries]
    for answer in answers:
        shown = Page(answer)
        assert {tag for tag, _ in shown.elements} <= OURS
        assert len(shown.all("title")) == 1
        assert {script.get("src") for script in shown.all("script")} <= {asset("explorer.js")}
        assert not [name for _, each in shown.elements for name in each if name.startswith("on")]
        assert not [
            each for _, each in shown.elements if (each.get("href") or "").startswith(("javascript", "data:text"))
        ]
    visible = html.escape(payload).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    if any(letter.isprintable() and not letter.isspace() for letter in payload):
        assert visible in answers[0].text
        assert visible in answers[1].text


def test_an_invisible_name_gets_a_visible_link(hostile: RunningExplorer) -> None:
    number = PAYLOADS.index("\ufeff\u0085\u2028") + 1
    assert "(no visible name)" in page(hostile.client, f"/users/{number}").text
    assert "(no visible name)" in page(hostile.client, f"/try?games={number}").text
