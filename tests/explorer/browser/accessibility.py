"""What a page is held to, so that everybody can use it: axe's rules, and what axe does not look at."""

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
"""Whether what has the focus is on the screen, and can be seen to have it."""


def unfold(page: Page) -> None:
    """Open what can be opened on a page."""
    page.locator("main details").evaluate_all("all => all.forEach(details => details.open = true)")


def expect_accessible(page: Page) -> None:
    """No violation of the rules that axe knows, whatever is open."""
    unfold(page)
    found = Axe().run(page, options={"runOnly": TAGS, "resultTypes": ["violations"]})
    assert found.violations_count == 0, found.generate_report()


def tab_to(page: Page, role: str, name: str, presses: int = 80) -> None:
    """Press the tabulator until something has the focus; on the way it can always be seen where the focus is."""
    wanted = page.get_by_role(role, name=name, exact=True)
    for _ in range(presses):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            continue  # between the page's end and its beginning
        assert page.evaluate(FOCUS_SHOWS), page.evaluate("document.activeElement.outerHTML")
        if wanted.evaluate_all("found => found.includes(document.activeElement)"):
            return
    raise AssertionError(f"the {role} {name} cannot be reached by keyboard")
