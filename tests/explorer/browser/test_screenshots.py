"""The screenshots in docs/screenshots.md: taken in every run, kept only by `make screenshots`."""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.pages import path_of
from tests.explorer.browser.sites import ROOT, Site
from tests.explorer.conftest import routes

PICTURES = ROOT / "docs" / "screenshots"
LARGEST, LARGEST_TOGETHER = 110_000, 3_000_000
"""Bytes of a picture, and of all: they are in the repository for good."""

QUALITY = 40
"""Of WebP, in percent."""

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}
SCHEMES = ("light", "dark")

SHOWN = ("start", "users", "user", "user-compare", "user-history", "games", "games-found", "game", "try", "try-history",
         "try-compare", "overview", "api")  # fmt: skip
"""Names of the pages that are shown; see `tests.explorer.browser.pages`."""


@dataclass(frozen=True)
class Shot:
    """A screenshot of a page, at a size and in a colour scheme."""

    page: str
    size: str
    scheme: str

    @property
    def name(self) -> str:
        """The picture's name."""
        return f"{self.page}-{self.size}-{self.scheme}.webp"


SHOTS = [Shot(page, size, scheme) for page in SHOWN for size in SIZES for scheme in SCHEMES]


def take(page: Page, path: Path) -> None:
    """Write what is on the screen as WebP, which Playwright's own screenshots cannot be."""
    page.evaluate("document.fonts.ready")
    session = page.context.new_cdp_session(page)
    answer = session.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    path.write_bytes(base64.b64decode(answer["data"]))


def size_of(path: Path) -> tuple[int, int]:
    """Return width and height of a WebP picture with a colour profile."""
    content = path.read_bytes()
    assert content[:4] + content[8:16] == b"RIFFWEBPVP8X"
    return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1


@pytest.mark.parametrize("name", SHOWN)
def test_screenshots_of_each_page_are_taken(demo: Site, visit: Visit, tmp_path: Path, name: str) -> None:
    folder = ROOT / os.environ.get("SCREENSHOTS", tmp_path)
    for shot in (shot for shot in SHOTS if shot.page == name):
        width, height = SIZES[shot.size]
        viewport = {"width": width, "height": height}
        page = visit(demo, reduced_motion="reduce", color_scheme=shot.scheme, viewport=viewport)
        page.goto(path_of(demo, shot.page))
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        take(page, folder / shot.name)
        for path in (folder / shot.name, PICTURES / shot.name):
            assert size_of(path) == (width, height)


def test_the_documentation_shows_and_describes_every_screenshot() -> None:
    shown = re.findall(r"!\[([^]]*)\]\(screenshots/([a-z-]+\.webp)\)", (ROOT / "docs" / "screenshots.md").read_text())
    names = {shot.name for shot in SHOTS}
    assert {name for _, name in shown} == names == {path.name for path in PICTURES.iterdir()}
    assert all(len(alternative.split()) > 5 for alternative, _ in shown)


def test_the_screenshots_are_small() -> None:
    sizes = [path.stat().st_size for path in PICTURES.iterdir()]
    assert max(sizes) < LARGEST
    assert sum(sizes) < LARGEST_TOGETHER


def test_every_page_has_a_screenshot(demo: Site) -> None:
    pages = {route.path for route in routes() if not route.include_in_schema and "GET" in route.methods}
    shown = {re.sub(r"/\d+", "/{id}", path_of(demo, name).partition("?")[0]) for name in SHOWN}
    ours = {re.sub(r"{\w+}", "{id}", path) for path in pages} - {"/healthz", "/readyz", "/metrics", "/someone/{id}"}
    assert ours == shown
