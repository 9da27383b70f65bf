"""Pages on a phone, in dark colours and with reduced motion."""

import pytest
from playwright.sync_api import Page

from tests.explorer.browser.accessibility import unfold
from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.pages import NAMES, REFUSED, path_of
from tests.explorer.browser.sites import Site
from tests.explorer.browser.visitors import PHONE

LUMINANCE = """
() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const luminance = colour => {
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data;
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255;
  };
  const opaque = [document.body, document.documentElement].map(element => getComputedStyle(element).backgroundColor)
    .find(colour => colour !== 'rgba(0, 0, 0, 0)');
  return [luminance(opaque ?? 'canvas'), luminance(getComputedStyle(document.body).color)];
}
"""

MOVING = """
() => [...document.querySelectorAll('*')].filter(element => {
  const {animationName, animationDuration, transitionDuration} = getComputedStyle(element);
  const seconds = durations => Math.max(...durations.split(',').map(parseFloat));
  return animationName !== 'none' && seconds(animationDuration) > 0.01 || seconds(transitionDuration) > 0.01;
}).map(element => element.outerHTML.slice(0, 100))
"""


@pytest.mark.parametrize("name", NAMES)
def test_no_page_scrolls_sideways_on_a_phone(demo: Site, visit: Visit, name: str) -> None:
    page = visit(demo, *REFUSED, viewport=PHONE, is_mobile=True, has_touch=True)
    page.goto(path_of(demo, name))
    expect_no_scrolling_sideways(page)


@pytest.mark.parametrize("path", ["/overview", "/users/1", "/games/1", "/games/60"])
def test_no_page_with_more_content_scrolls_sideways(published_site: Site, visit: Visit, path: str) -> None:
    page = visit(published_site, viewport=PHONE, is_mobile=True, has_touch=True)
    page.goto(path)
    expect_no_scrolling_sideways(page)


@pytest.mark.parametrize("path", ["/overview", "/users/7", "/games/7", "/games/18", "/try?games=1,3,18"])
def test_no_page_with_unusual_names_scrolls_sideways(hostile: Site, visit: Visit, path: str) -> None:
    page = visit(hostile, viewport=PHONE, is_mobile=True, has_touch=True)
    page.goto(path)
    expect_no_scrolling_sideways(page)


def expect_no_scrolling_sideways(page: Page) -> None:
    """Check a page with all parts open, on this phone and on the smallest."""
    unfold(page)
    for width in (PHONE["width"], 320):
        page.set_viewport_size({**PHONE, "width": width})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("name", ["user", "try-history", "game", "overview", "api", "not-found"])
def test_pages_follow_the_readers_colour_scheme(demo: Site, visit: Visit, name: str) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page = visit(demo, *REFUSED, color_scheme=scheme)
        page.goto(path_of(demo, name))
        brightness[scheme] = page.evaluate(LUMINANCE)
    assert brightness["light"][0] > 0.8 > 0.3 > brightness["light"][1]
    assert brightness["dark"][0] < 0.2 < 0.6 < brightness["dark"][1]


@pytest.mark.parametrize("name", ["start", "user", "try-history", "overview"])
def test_reduced_motion_turns_animations_off(demo: Site, visit: Visit, name: str) -> None:
    page = visit(demo, reduced_motion="reduce")
    page.goto(path_of(demo, name))
    assert page.evaluate(MOVING) == []
