"""The two minutes that a manager has: a persona, the dial, thumbs, what popularity would show, and a roll-back."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.reading import recommended
from tests.explorer.browser.sites import Site
from tests.explorer.browser.test_overview import current, roll_back
from tests.explorer.browser.visitors import PHONE
from tests.explorer.conftest import TOKEN

SIZES = pytest.mark.parametrize(
    "options", [{}, {"viewport": PHONE, "is_mobile": True, "has_touch": True}], ids=["desktop", "phone"]
)


def turn_dial(page: Page, value: float) -> None:
    """Drag the dial, 0 for niche and 1 for popular, and wait for the new list."""
    page.get_by_role("slider", name="Niche to popular").fill(str(value))
    if value == 1:
        expect(page).not_to_have_url(re.compile("popularity="))
    else:
        expect(page).to_have_url(re.compile(rf"popularity={value:g}(&|$)"))


def names(page: Page) -> list[str]:
    """Return the names of the recommended games, once they are shown."""
    expect(recommended(page).first).to_be_visible()
    return recommended(page).all_text_contents()


@SIZES
def test_a_fan_turns_the_dial_and_sees_the_games_move(demo: Site, visit: Visit, options: dict) -> None:
    page = visit(demo, **options)
    page.goto("/")
    shelf = page.get_by_role("region", name=re.compile("fan$")).first
    expect(shelf.get_by_role("listitem").first).to_be_visible()
    page.get_by_role("list", name="Start as").get_by_role("link", name="Horror fan").click()
    page.wait_for_url("**/try?games=*")
    page.evaluate("window.same = true")
    turn_dial(page, 1)
    popular = names(page)
    turn_dial(page, 0)
    niche = names(page)
    assert niche != popular
    expect(page.locator(".move", has_text=re.compile("▲|▼|new")).first).to_be_visible()
    expect(page.get_by_role("region", name="Hidden gems").get_by_role("listitem").first).to_be_visible()
    assert page.evaluate("window.same") is True


@SIZES
def test_a_thumb_down_removes_the_game_and_moves_the_others(demo: Site, visit: Visit, options: dict) -> None:
    page = visit(demo, **options)
    page.goto("/")
    page.get_by_role("list", name="Start as").get_by_role("link", name="Horror fan").click()
    first, *_ = names(page)
    page.get_by_role("list", name="Recommended games").get_by_role("link", name=f"I do not like {first}").click()
    history = page.get_by_role("list", name="Your history", exact=True)
    expect(history).to_contain_text(first)
    expect(history.get_by_role("link", name=f"I do not like {first}")).to_have_attribute("aria-current", "true")
    expect(recommended(page)).to_have_count(10)
    assert first not in names(page)
    expect(page.get_by_role("status")).to_contain_text(f"You do not like {first}. 10 games recommended now.")
    moved = (
        page.get_by_role("list", name="Recommended games").get_by_role("listitem").filter(has_text=re.compile("▲|new"))
    )
    expect(moved.first).to_be_visible()
    page.go_back()
    expect(recommended(page).first).to_have_text(first)


def test_hours_change_the_list_and_the_address(demo: Site, visit: Visit) -> None:
    page = visit(demo)
    page.goto("/")
    page.get_by_role("list", name="Start as").get_by_role("link", name="Horror fan").click()
    row = page.get_by_role("list", name="Your history", exact=True).get_by_role("listitem").first
    row.locator("summary").click()
    row.get_by_role("link", name=re.compile("^200 hours")).click()
    expect(page).to_have_url(re.compile(r"games=\d+:200,"))
    expect(row).to_contain_text("200 h")
    expect(row.get_by_role("link", name=re.compile("^200 hours"))).to_have_attribute("aria-current", "true")


def test_a_fan_sees_what_popularity_would_show(demo: Site, visit: Visit) -> None:
    page = visit(demo)
    page.goto("/")
    page.get_by_role("list", name="Start as").get_by_role("link", name="Horror fan").click()
    own = names(page)
    page.get_by_role("link", name="Compare with what popularity would show").click()
    lists = page.get_by_role("list", name=re.compile("^(Our model|Popularity|Played together)$"))
    expect(lists).to_have_count(3)
    assert lists.nth(0).locator("a[href^='/games/']").all_text_contents() == own
    assert lists.nth(1).locator("a[href^='/games/']").all_text_contents() != own
    page.get_by_role("link", name="Back to your history").click()
    assert names(page) == own


def test_genres_in_and_out_and_the_release_window_are_set_by_choosing(demo: Site, visit: Visit) -> None:
    page = visit(demo, 422)
    page.goto("/try")
    page.get_by_label("Add a genre").select_option("Strategy")
    expect(page).to_have_url(re.compile("include=Strategy"))
    page.get_by_label("Leave out a genre").select_option("Action")
    expect(page).to_have_url(re.compile("exclude=Action"))
    chosen = page.get_by_role("list", name="Filters that are set")
    expect(chosen.get_by_role("link")).to_have_text([re.compile("Strategy"), re.compile("no Action")])
    # By keyboard: a click may miss it while shelves are laid out.
    page.get_by_text("Year, memory, storage, system").press("Enter")
    page.get_by_label("Released from").fill("2020")
    page.get_by_label("Released to").fill("2010")
    page.get_by_label("Released to").press("Enter")
    expect(page.get_by_role("main")).to_contain_text("The years from 2020 to 2010 are reversed")


def test_the_operator_rolls_back_and_a_visitor_sees_other_games(published_site: Site, visit: Visit) -> None:
    reader, operator = visit(published_site), visit(published_site)
    reader.goto("/users/1")
    version, before = current(published_site), names(reader)
    roll_back(operator, TOKEN)
    expect(operator).to_have_url(f"{published_site.url}/overview")
    reader.reload()
    assert names(reader) != before
    roll_back(operator, TOKEN, version)
    expect(operator).to_have_url(f"{published_site.url}/overview")
    reader.reload()
    assert names(reader) == before
