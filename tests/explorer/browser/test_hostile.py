"""Hostile names and parameters: the text is shown unchanged and never executed."""

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
    """Check that no text became an element, link or cookie, or led to another site; `Visitor` checks the rest."""
    assert page.url.startswith(f"{site.url}/")
    assert page.context.cookies() == []
    assert page.locator("script:not([src]), img[src='x'], [onmouseover], [onload], [onerror]").count() == 0
    assert page.locator("a[href^='javascript:' i], form[action^='javascript:' i]").count() == 0


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_user_and_a_hostile_game_are_shown_with_unchanged_names(
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
def test_a_hostile_parameter_is_shown_as_text(hostile: Site, visit: Visit, payload: str) -> None:
    page = visit(hostile, 404, 422)
    for path in PATHS:
        page.goto(path.replace("{}", quote(payload, safe="")))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect_harmless(page, hostile)


def test_a_hostile_genre_can_be_chosen_and_removed(hostile: Site, visit: Visit) -> None:
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


def test_hostile_names_are_unchanged_in_lists_that_the_script_builds(hostile: Site, visit: Visit) -> None:
    page = visit(hostile)
    page.goto("/try")
    for payload in list(filter(str.isprintable, PAYLOADS))[:12]:
        page.get_by_role("searchbox", name="Game").fill(payload)
        page.get_by_role("button", name="Search").click()
        found = page.get_by_role("list", name="Games found", exact=True)
        found.get_by_role("link", name=f"I like {payload}", exact=True).click()
        expect(page.get_by_role("list", name="Your history", exact=True)).to_contain_text(payload)
        expect_harmless(page, hostile)
    reasons = page.get_by_role("list", name="Recommended games", exact=True).get_by_role("listitem")
    expect(reasons.filter(has_text="because you liked").first).to_be_visible()


def test_hostile_runs_and_reasons_are_shown_unchanged_in_the_overview(hostile: Site, visit: Visit) -> None:
    page = visit(hostile)
    page.goto("/overview")
    expect(page.get_by_role("main")).to_contain_text("<script>alert(1)</script>")
    expect_harmless(page, hostile)
