"""What the tests in a browser share: the browser, who visits with it, and the sites that are visited.

They are of this package alone, not of the session: while Playwright runs, no other test can run an event loop.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from demo.postgres import EmbeddedPostgres
from tests.explorer.browser.shops import hostile_texts, two_publications
from tests.explorer.browser.sites import Site, demo_site
from tests.explorer.browser.visitors import PROGRAMS, SECONDS, Visitor, browsing, chromium

Visit = Callable[..., Page]

expect.set_options(timeout=1000 * SECONDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo on real data takes minutes, and `local/` holds one that workers cannot share."""
    for item in items:
        if item.path.parent == Path(__file__).parent and "demo" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium of the machine's own; without one the tests are skipped, but never in CI."""
    program = chromium()
    if program is None:
        sentence = f"There is no browser on this machine ({', '.join(PROGRAMS)}): install Debian's package chromium."
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(sentence)
    with browsing(program) as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a browser of somebody's own at a site, see `Visitor`; in the end nobody may have had a complaint."""
    visitors = []

    def come(site: Site, *refused: int, **options: Any) -> Page:
        visitors.append(Visitor(browser, site.url, refused, **options))
        return visitors[-1].page

    yield come
    for visitor in visitors:
        visitor.leave()
    assert [complaint for visitor in visitors for complaint in visitor.complaints] == []


@pytest.fixture(scope="package")
def demo(browser: Browser) -> Iterator[Site]:
    """The explorer of the demo on real data, which is not changed; sites wait for a browser, which there may not be."""
    with demo_site() as site:
        yield site


@pytest.fixture(scope="package")
def nights(browser: Browser, postgres: EmbeddedPostgres) -> Iterator[Site]:
    """The explorer of a small shop after two nights, where an operator may roll back."""
    with two_publications(postgres) as site:
        yield site


@pytest.fixture(scope="package")
def hostile(browser: Browser, postgres: EmbeddedPostgres) -> Iterator[Site]:
    """The explorer of a small shop of hostile texts, where nobody may roll back."""
    with hostile_texts(postgres) as site:
        yield site
