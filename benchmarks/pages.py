"""The explorer's pages in Chromium: how soon each shows something, and how soon its list follows the dial."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from benchmarks.record import Row, at_most

PROGRAMS = ("chromium-headless-shell", "google-chrome", "chromium", "chromium-browser")
REPETITIONS = 7
"""Visits of each page, and steps of each dial; the median counts."""

PAUSE_MS = 500.0
MUST_PAINT_MS, MUST_STEP_MS = 200.0, 50.0
DESKTOP = ViewportSize(width=1280, height=800)
USER = 1

_PAINT = """() => new Promise(resolve => {
  new PerformanceObserver(list => list.getEntriesByName("first-contentful-paint").forEach(({startTime}) =>
    resolve(startTime))).observe({type: "paint", buffered: true});
})"""

_STEP = """value => new Promise((resolve, reject) => {
  const dial = document.getElementById("popularity");
  const started = performance.now();
  const observer = new MutationObserver(() => {
    observer.disconnect();
    requestAnimationFrame(() => {
      const {port1, port2} = new MessageChannel();
      port1.onmessage = () => resolve(performance.now() - started);
      port2.postMessage(null);
    });
  });
  observer.observe(document.querySelector("[data-results]"), {childList: true, subtree: true});
  setTimeout(reject, 10_000, new Error("The list did not change."));
  dial.focus();
  dial.value = value;
  dial.dispatchEvent(new Event("input", {bubbles: true}));
})"""


def chromium() -> str | None:
    """Return the path of a Chromium, or None if the machine has none."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextmanager
def browsing(program: str | None, flags: Sequence[str] = ("--disable-gpu",)) -> Iterator[Browser]:
    """Yield a headless browser, without a GPU, as in a container; for root it works only without its sandbox."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=flags, chromium_sandbox=os.geteuid() != 0, timeout=60_000
        )
        yield browser
        browser.close()


def page_rows(url: str, games: int) -> Iterator[Row]:
    """Measure an explorer's pages with the style sheet in the browser's cache, as after the first page.

    Args:
        url: The explorer's URL.
        games: Size of its catalogue; the ids are 1 to this.
    """
    history = ",".join(str(1 + number * games // 4) for number in range(4))
    paths = {
        "start": "/",
        "try, without a history": "/try",
        "try, with four games": f"/try?games={history}",
        "games": "/games",
        "game": "/games/1",
        "overview": "/overview",
        "comparison": f"/users/{USER}/compare",
        "user": f"/users/{USER}",
    }
    with browsing(chromium()) as browser:
        page = browser.new_context(base_url=url, viewport=DESKTOP).new_page()
        for name, path in paths.items():
            painted = [first_paint(page, path) for _ in range(REPETITIONS + 1)][1:]
            yield at_most(f"page {name!r}, {games:,} games, first contentful paint, ms", median(painted), MUST_PAINT_MS)
        for name in ("try, with four games", "user"):
            yield at_most(
                f"page {name!r}, {games:,} games, a step of the dial until it is painted, ms",
                median(dial_steps(page, paths[name])),
                MUST_STEP_MS,
            )


def first_paint(page: Page, path: str) -> float:
    """Visit a page and return its first contentful paint, in milliseconds from the start of the navigation."""
    page.goto("about:blank")
    page.goto(path)
    return float(page.evaluate(_PAINT))


def dial_steps(page: Page, path: str) -> list[float]:
    """Move a page's dial step by step; return the milliseconds of each step from the input to the painted list."""
    page.goto(path)
    steps = []
    for number in range(REPETITIONS + 1):
        page.wait_for_timeout(PAUSE_MS)  # until the shelves below the list have followed the step before, too
        steps.append(float(page.evaluate(_STEP, str(round(0.9 - 0.1 * number, 1)))))
    return steps[1:]
