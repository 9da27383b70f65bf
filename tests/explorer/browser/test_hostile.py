"""Hostile names and parameters: the text is shown as it is, and nothing of it is ever executed."""

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.sites import Site
from tests.explorer.payloads import PAYLOADS

PATHS = (
    "/",
    "/users?q={}",
    "/users/1?genre={}",
    "/users/1?rank_by={}",
    "/users/1?released_from={}&max_ram_gb={}&os={}",
    "/users/{}",
    "/games?q={}",
    "/games/{}",
    "/try?q={}",
    "/try?games={}",
    "/{}",
)


def expect_harmless(page: Page, site: Site) -> None:
    """No element, link or cookie came of a text, nobody was led away; dialogs and requests are the visitor's to see."""
    assert page.url.startswith(f"{site.url}/")
    assert page.context.cookies() == []
    assert page.locator("script:not([src]), img[src='x'], [onmouseover], [onload], [onerror]").count() == 0
    assert page.locator("a[href^='javascript:' i], form[action^='javascript:' i]").count() == 0


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_user_and_a_hostile_game_are_shown_as_they_are_called(
    hostile: Site, visit: Visit, payload: str
) -> None:
    number = PAYLOADS.index(payload) + 1
    page = visit(hostile)
    for path in (f"/users/{number}", f"/games/{number}"):
        page.goto(path)
        shown = page.get_by_role("heading", level=1).evaluate("heading => heading.textContent")
        expected = payload if any(map(str.isprintable, payload)) else "(no visible name)"
        assert shown.split() == expected.split()
        page.get_by_role("main").hover()
        expect_harmless(page, hostile)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_parameter_is_only_a_text(hostile: Site, visit: Visit, payload: str) -> None:
    page = visit(hostile, 422, 404)
    for path in PATHS:
        page.goto(path.replace("{}", quote(payload, safe="")))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect_harmless(page, hostile)


def test_a_hostile_genre_is_chosen_and_taken_away_again(hostile: Site, visit: Visit) -> None:
    page = visit(hostile)
    page.goto("/users/1")
    for payload in filter(str.isprintable, PAYLOADS):
        page.get_by_label("Genre", exact=True).select_option(payload)
        page.get_by_role("button", name="Show").click()
        page.wait_for_url("**?*genre=*")
        chosen = page.get_by_role("list", name="Filters that are set").get_by_role("link")
        expect(chosen).to_contain_text(payload)
        expect_harmless(page, hostile)
        chosen.click()
        expect(page).to_have_url(f"{hostile.url}/users/1")


def test_hostile_games_are_added_and_recommended_by_the_script_as_they_are_called(hostile: Site, visit: Visit) -> None:
    page = visit(hostile)
    page.goto("/try")
    for payload in list(filter(str.isprintable, PAYLOADS))[:12]:
        page.get_by_role("searchbox", name="Game").fill(payload)
        page.get_by_role("button", name="Search").click()
        found = page.get_by_role("list", name="Games found", exact=True)
        found.get_by_role("link", name=f"Add {payload}", exact=True).click()
        expect(page.get_by_role("list", name="Your history", exact=True)).to_contain_text(payload)
        expect_harmless(page, hostile)
    reasons = page.get_by_role("list", name="Recommended games", exact=True).get_by_role("listitem")
    expect(reasons.first).to_contain_text("because you played")


def test_hostile_runs_and_reasons_stand_in_the_overview_as_they_are(hostile: Site, visit: Visit) -> None:
    page = visit(hostile)
    page.goto("/overview")
    expect(page.get_by_role("main")).to_contain_text("<script>alert(1)</script>")
    expect_harmless(page, hostile)
