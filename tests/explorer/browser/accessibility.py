"""Accessibility checks: axe's rules, and the visible focus, which axe does not check."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

FOCUS_SHOWS = """
() => {
  const focused = document.activeElement, style = getComputedStyle(focused), box = focused.getBoundingClientRect();
  return focused.matches(':focus-visible')
    && (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 || style.boxShadow !== 'none')
    && box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight && box.right > 0
    && box.left < innerWidth;
}
"""
"""Whether the focused element is on the screen and has a visible focus ring."""


def unfold(page: Page) -> None:
    """Open all collapsed parts of a page."""
    page.locator("main details").evaluate_all("all => all.forEach(details => details.open = true)")


def expect_accessible(page: Page) -> None:
    """Check that axe finds no violation with all parts open."""
    unfold(page)
    found = Axe().run(page, options={"runOnly": TAGS, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def tab_to(page: Page, role: str, name: str, presses: int = 80) -> None:
    """Press Tab until an element has the focus; check that the focus is always visible."""
    wanted = page.get_by_role(role, name=name, exact=True)
    for _ in range(presses):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            continue  # between the page's end and its beginning
        assert page.evaluate(FOCUS_SHOWS), page.evaluate("document.activeElement.outerHTML")
        if wanted.evaluate_all("found => found.includes(document.activeElement)"):
            return
    raise AssertionError(f"the {role} {name} cannot be reached by keyboard")
