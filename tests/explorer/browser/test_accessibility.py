"""Accessibility: axe's rules in light and dark, on a desktop and on a phone, and the structure of pages."""

from itertools import pairwise

import pytest
from playwright.sync_api import Page, expect

from tests.explorer.browser.accessibility import expect_accessible
from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.pages import NAMES, REFUSED, path_of
from tests.explorer.browser.reading import said_on
from tests.explorer.browser.sites import Site
from tests.explorer.browser.visitors import DESKTOP, PHONE

NAVIGATION = ["Users", "Try it", "Games", "Overview", "API"]


@pytest.mark.parametrize("name", NAMES)
def test_axe_finds_nothing(demo: Site, visit: Visit, name: str) -> None:
    page = visit(demo, *REFUSED)
    page.goto(path_of(demo, name))
    expect_accessible_everywhere(page)


@pytest.mark.parametrize("path", ["/overview", "/users/1", "/games/1", "/games/60"])
def test_axe_finds_nothing_on_pages_with_more_content(published_site: Site, visit: Visit, path: str) -> None:
    page = visit(published_site)
    page.goto(path)
    expect_accessible_everywhere(page)


def expect_accessible_everywhere(page: Page) -> None:
    """In light and dark, on a desktop and on a phone."""
    for viewport in (DESKTOP, PHONE):
        page.set_viewport_size(viewport)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            expect_accessible(page)


@pytest.mark.parametrize("name", NAMES)
def test_every_page_has_the_same_structure(demo: Site, visit: Visit, name: str) -> None:
    page = visit(demo, *REFUSED)
    page.goto(path_of(demo, name))
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.title().endswith("Steam RecSys")
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("main")).to_have_count(1)
    expect(page.get_by_role("navigation", name="Main").get_by_role("link")).to_have_text(NAVIGATION)
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(heading => Number(heading.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels)), levels


@pytest.mark.parametrize("name", NAMES)
def test_every_page_says_the_same_without_javascript(demo: Site, visit: Visit, name: str) -> None:
    contents = []
    for script in (True, False):
        page = visit(demo, *REFUSED, java_script_enabled=script)
        page.goto(path_of(demo, name))
        contents.append(said_on(page))
    assert contents[0] == contents[1]


def test_each_page_has_its_own_title(demo: Site, visit: Visit) -> None:
    page = visit(demo, *REFUSED)
    titles = []
    for name in (
        "start",
        "users",
        "user",
        "user-compare",
        "try",
        "try-compare",
        "games",
        "game",
        "overview",
        "api",
        "not-found",
    ):
        page.goto(path_of(demo, name))
        titles.append(page.title())
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("link", NAVIGATION)
def test_the_navigation_marks_the_current_page(demo: Site, visit: Visit, link: str) -> None:
    page = visit(demo)
    page.goto("/")
    page.get_by_role("navigation", name="Main").get_by_role("link", name=link, exact=True).click()
    page.wait_for_url(lambda url: not url.endswith(demo.url + "/"))
    expect(page.locator("nav [aria-current=page]")).to_have_text(link)
