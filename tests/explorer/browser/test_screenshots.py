"""The screenshots in docs/explorer.md: taken in every run, kept only by `make screenshots`."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.explorer.browser.conftest import Visit
from tests.explorer.browser.pages import path_of
from tests.explorer.browser.sites import ROOT, Site
from tests.explorer.browser.visitors import DESKTOP, PHONE
from tests.explorer.conftest import routes

PICTURES = ROOT / "docs" / "screenshots"
LARGEST = 150_000
"""Bytes of a picture: they are in the repository for good."""


@dataclass(frozen=True)
class Shot:
    """A screenshot: its name, the name of its page, its height, and options of the browser context."""

    name: str
    page: str
    height: int
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return (self.options.get("viewport", DESKTOP)["width"], self.height)


SHOTS = [
    Shot("start", "start", 760),
    Shot("users", "users", 600),
    Shot("user", "user", 900),
    Shot("try", "try-search", 860),
    Shot("games", "games-found", 600),
    Shot("game", "game", 820),
    Shot("overview", "overview", 1376),
    Shot("api", "api", 760),
    Shot("user-dark", "user-filtered", 800, {"color_scheme": "dark"}),
    Shot("try-phone", "try-history", 1100, {"viewport": PHONE, "is_mobile": True, "has_touch": True}),
]


@pytest.mark.parametrize("shot", SHOTS, ids=lambda shot: shot.name)
def test_a_screenshot_of_each_page_is_taken(demo: Site, visit: Visit, tmp_path: Path, shot: Shot) -> None:
    folder = ROOT / os.environ.get("SCREENSHOTS", tmp_path)
    width, height = shot.size
    page = visit(demo, reduced_motion="reduce", **{**shot.options, "viewport": {"width": width, "height": height}})
    page.goto(path_of(demo, shot.page))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.screenshot(path=folder / f"{shot.name}.png", animations="disabled")
    for path in (folder / f"{shot.name}.png", PICTURES / f"{shot.name}.png"):
        assert struct.unpack(">II", path.read_bytes()[16:24]) == shot.size
    assert (PICTURES / f"{shot.name}.png").stat().st_size < LARGEST


def test_the_documentation_shows_and_describes_every_screenshot() -> None:
    shown = re.findall(r"!\[([^]]*)\]\(screenshots/([a-z-]+)\.png\)", (ROOT / "docs" / "explorer.md").read_text())
    names = {shot.name for shot in SHOTS}
    assert {name for _, name in shown} == names == {path.stem for path in PICTURES.iterdir()}
    assert all(len(alternative.split()) > 5 for alternative, _ in shown)


def test_every_page_has_a_screenshot(demo: Site) -> None:
    pages = {route.path for route in routes() if not route.include_in_schema and "GET" in route.methods}
    shown = {re.sub(r"/\d+", "/{id}", path_of(demo, shot.page).partition("?")[0]) for shot in SHOTS}
    ours = {re.sub(r"{\w+}", "{id}", path) for path in pages} - {"/healthz", "/readyz", "/metrics", "/someone/{id}"}
    assert ours == shown
