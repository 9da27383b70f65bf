"""Alerts, posted to a webhook in Slack's format.

Posting an alert never fails a run, nor delays it by more than a few minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from steam_recsys.errors import UserError
from steam_recsys.logging import log, log_warning
from steam_recsys.secrets import mask, resolve_secret

RETRIES, BACKOFF_SECONDS, LONGEST_PAUSE_SECONDS, TIMEOUT_SECONDS = 4, 1.0, 30, 10.0
"""Pauses between attempts grow from the second to the third, also if the webhook asks for longer (`Retry-After`)."""

_RETRIED_STATUSES = (429, 500, 502, 503, 504)
_MAX_REASONS, _MAX_CHARACTERS = 10, 500
"""How many reasons, and of how many characters; Slack takes 3,000 per section, and escaping makes up to five of one."""


@dataclass(frozen=True)
class Alert:
    """A message to an operator: a title, the reasons, and the URL of the run's page."""

    title: str
    reasons: tuple[str, ...] = ()
    link: str = ""

    def payload(self) -> dict[str, Any]:
        """The body of the request, as in "Incoming Webhooks" and "Block Kit" of Slack's documentation."""
        title = _shown(self.title)
        blocks = [_section(f"*{title}*")]
        blocks += [_section(f"• {_shown(reason)}") for reason in self.reasons[:_MAX_REASONS]]
        if self.link:
            blocks.append(_section(f"<{_escape(mask(self.link))}|The run>"))
        return {"text": title, "blocks": blocks}


def post(alerts: str, alert: Alert) -> None:
    """Post an alert; try again if the webhook is busy or does not answer, and log if the alert did not arrive.

    The webhook's URL is a secret: messages that may contain it are not logged, and redirects are not followed.

    Args:
        alerts: Reference to the webhook's URL, such as `env:ALERTS_URL`.
        alert: Alert to post.
    """
    try:
        status = _post(resolve_secret(alerts), alert.payload())
        problem = "" if 200 <= status < 300 else f"the webhook answered with status {status}: check its URL"
    except UserError as error:
        problem = str(error)
    except (requests.RequestException, HTTPError, ValueError) as error:
        problem = f"the webhook cannot be reached ({type(error).__name__}): check its URL"
    if problem:
        log_warning("notify", f"the alert did not arrive: {problem}")
    else:
        log("notify", f"alert: {alert.title}")


def _post(url: str, payload: dict[str, Any]) -> int:
    """Post JSON; the status of the last answer, whose body is not read, as it may be long."""
    retry = Retry(
        RETRIES,
        allowed_methods=None,
        status_forcelist=_RETRIED_STATUSES,
        raise_on_status=False,
        backoff_factor=BACKOFF_SECONDS,
        backoff_max=LONGEST_PAUSE_SECONDS,
        retry_after_max=LONGEST_PAUSE_SECONDS,
    )
    with _without_logs(), requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        with session.post(url, json=payload, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True) as answer:
            return int(answer.status_code)


@contextmanager
def _without_logs() -> Iterator[None]:
    """Keep the HTTP client from logging its retries, as they show the URL."""
    logger = logging.getLogger("urllib3")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _shown(text: str) -> str:
    """Mask secrets, then shorten: what is left of a secret that was cut would not be recognised."""
    return _escape(mask(text)[:_MAX_CHARACTERS])


def _escape(text: str) -> str:
    """Escape Slack's three control characters."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
