"""Browser contexts at the explorer, which record everything that must not happen on a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request

FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-lcd-text",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SECONDS = 30
"""Longest wait for an element of a page."""

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 375, "height": 667}

REPORT = "addEventListener('securitypolicyviolation', e => console.error(`${e.violatedDirective}: ${e.blockedURI}`))"


class Visitor:
    """A browser context at one site.

    Attributes:
        page: The open page.
        complaints: Errors and warnings in the console, exceptions, violations of the content security policy, dialogs,
            and requests to other hosts.
    """

    def __init__(self, browser: Browser, site: str, refused: Sequence[int] = (), **options: Any) -> None:
        """Open a page.

        Args:
            browser: The browser.
            site: URL of the site.
            refused: Error statuses that pages may have.
            options: Options of `Browser.new_context`.
        """
        self.complaints: list[str] = []
        self._site = urlsplit(site).netloc
        self._expected = tuple(f"the server responded with a status of {status} " for status in refused)
        plain = {"viewport": DESKTOP, "locale": "en-GB", "timezone_id": "UTC", "color_scheme": "light"}
        self._context = browser.new_context(base_url=site, **{**plain, **options})
        self._context.set_default_timeout(1000 * SECONDS)
        self._context.add_init_script(REPORT)
        self._context.on("console", self._hear)
        self._context.on("weberror", lambda error: self.complaints.append(f"exception: {error.error}"))
        self._context.on("dialog", self._dismiss)
        self._context.on("request", self._watch)
        self.page: Page = self._context.new_page()

    def leave(self) -> None:
        """Close the browser's windows."""
        self._context.close()

    def _hear(self, message: ConsoleMessage) -> None:
        expected = any(text in message.text for text in self._expected)
        if message.type in ("error", "warning") and not expected:
            self.complaints.append(f"console: {message.text} ({message.page and message.page.url})")

    def _dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _watch(self, request: Request) -> None:
        where = urlsplit(request.url)
        if where.netloc != self._site and where.scheme != "data":
            self.complaints.append(f"request: {request.url}")
