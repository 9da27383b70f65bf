"""Whole journeys with the keyboard alone; the focus is always visible."""

import pytest
from playwright.sync_api import Page, expect

from tests.explorer.browser.accessibility import FOCUS_SHOWS, tab_to
from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.pages import NAMES, REFUSED, path_of
from tests.explorer.browser.reading import busiest_user, expect_recommended, most_reviewed_games
from tests.explorer.browser.sites import Site

LOST = "document.activeElement === document.body"


@pytest.mark.parametrize("name", NAMES)
def test_the_first_tab_skips_the_navigation(demo: Site, visit: Visit, name: str) -> None:
    page = visit(demo, *REFUSED)
    page.goto(path_of(demo, name))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    assert page.evaluate(FOCUS_SHOWS)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    inside = "document.querySelector('main').contains(document.activeElement)"
    assert page.evaluate(f"{inside} || {LOST} || !document.querySelector('main a, main button, main input')")


def test_the_keyboard_leads_from_the_start_page_to_a_users_newest_game(demo: Site, visit: Visit) -> None:
    user_id, username = busiest_user(demo)
    page = visit(demo)
    page.goto("/")
    tab_to(page, "searchbox", "User")
    page.keyboard.type(username)
    page.keyboard.press("Enter")
    page.wait_for_url("**/users?q=*")
    tab_to(page, "link", username)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/users/{user_id}")
    tab_to(page, "link", "the list with filters")
    page.keyboard.press("Enter")
    tab_to(page, "combobox", "Order")
    page.keyboard.type("Newest")
    tab_to(page, "button", "Show")
    page.keyboard.press("Enter")
    page.wait_for_url("**?*rank_by=newest*")
    rows = demo.recommended(user_id, rank_by="newest")
    expect_recommended(page, rows)
    tab_to(page, "link", rows[0][1])
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(rows[0][1])


def test_a_history_is_built_by_keyboard_without_losing_the_focus(demo: Site, visit: Visit) -> None:
    games = most_reviewed_games(demo, 2)
    page = visit(demo)
    page.goto("/try")
    for _, name in games:
        search(page, name)
        tab_to(page, "link", f"I like {name}")
        page.keyboard.press("Enter")
        expect(page.get_by_role("list", name="Your history", exact=True)).to_contain_text(name)
        expect(page.get_by_role("status")).to_contain_text(name)
        assert not page.evaluate(LOST)
    tab_to(page, "link", f"Remove {games[0][1]}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="Your history", exact=True)).not_to_contain_text(games[0][1])
    assert not page.evaluate(LOST)
    tab_to(page, "link", f"Remove {games[1][1]}")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name=f"Remove {games[1][1]}")).to_have_count(0)
    assert not page.evaluate(LOST)


def search(page: Page, name: str) -> None:
    """Search for a game."""
    if not page.get_by_role("searchbox", name="Game").evaluate("field => field === document.activeElement"):
        tab_to(page, "searchbox", "Game")
    page.keyboard.press("Control+A")
    page.keyboard.type(name)
    page.keyboard.press("Enter")
    expect(page.get_by_role("list", name="Games found", exact=True)).to_contain_text(name)
