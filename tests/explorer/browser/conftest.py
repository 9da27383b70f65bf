"""Fixtures of the browser tests: the browser, its contexts, and the sites.

Their scope is the package, not the session: while Playwright runs, no other test can run an event loop.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from benchmarks.pages import PROGRAMS, browsing, chromium
from demo.postgres import EmbeddedPostgres
from tests.explorer.browser.shops import hostile_texts, two_publications
from tests.explorer.browser.sites import Site, demo_site
from tests.explorer.browser.visitors import FLAGS, SECONDS, Visitor

Visit = Callable[..., Page]

expect.set_options(timeout=1000 * SECONDS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests in a browser as slow."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A headless Chromium; if the machine has none, the tests are skipped, or fail in CI."""
    program = chromium()
    if program is None:
        sentence = f"This machine has none of {', '.join(PROGRAMS)}: install Debian's package chromium-headless-shell."
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(sentence)
    with browsing(program, FLAGS) as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Opens a new browser context at a site, see `Visitor`; at the end, no visitor may have complaints."""
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
    """The explorer of the demo on real data, which tests do not change; it starts only if there is a browser."""
    with demo_site() as site:
        yield site


@pytest.fixture(scope="package")
def published_site(browser: Browser, postgres: EmbeddedPostgres) -> Iterator[Site]:
    """The explorer of a small shop with two publications, where an operator may roll back."""
    with two_publications(postgres) as site:
        yield site


@pytest.fixture(scope="package")
def hostile(browser: Browser, postgres: EmbeddedPostgres) -> Iterator[Site]:
    """The explorer of a small shop with hostile texts, where rollback is not configured."""
    with hostile_texts(postgres) as site:
        yield site
