"""Alerts: what somebody should know of a run, posted to a webhook in the form that Slack understands.

A run that goes well says nothing: an alert is a failure, the recovery after one, or a training that the figures asked
for. What is posted never fails a run, nor holds it up for longer than a few minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import HTTPError
from urllib3.util import Retry

from components.notify.outcome import SUCCEEDED, Outcome
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.secrets import resolve_secret
from steam_recsys.stage import StageRecord

JOB = "{job}"
"""What stands in a page's URL for the run's name there."""

RETRIES, BACKOFF_SECONDS, LONGEST_PAUSE_SECONDS, TIMEOUT_SECONDS = 4, 1.0, 30, 10.0
"""The pauses grow from the second to the third, whatever longer one the webhook asks for (`Retry-After`)."""

_STATUSES = (429, 500, 502, 503, 504)
_MOST, _LONGEST = 10, 500
"""Reasons, and characters of each; Slack takes 3,000 in a section, and an escaped character is up to five."""


@dataclass(frozen=True)
class Alert:
    """What somebody should know: a title, the reasons, and where to look."""

    title: str
    reasons: tuple[str, ...] = ()
    link: str = ""

    def payload(self) -> dict[str, Any]:
        """The body of the request, as "Incoming Webhooks" and "Block Kit" of Slack's documentation have it."""
        title = _escaped(self.title[:_LONGEST])
        blocks = [_section(f"*{title}*")]
        blocks += [_section(f"• {_escaped(reason[:_LONGEST])}") for reason in self.reasons[:_MOST]]
        if self.link:
            blocks.append(_section(f"<{_escaped(self.link)}|The run>"))
        return {"text": title, "blocks": blocks}


def alert_of(
    pipeline: str, run: str, outcome: Outcome, stages: Sequence[StageRecord], previous: str | None, link: str
) -> Alert | None:
    """What somebody should know of a run; None where it went as it should.

    Args:
        pipeline: the pipeline's name.
        run: the run's id.
        outcome: how it ended.
        stages: what its stages left in the journal.
        previous: how the pipeline's run before this one ended, as far as is known.
        link: the run's page.
    """
    monitored = next((stage.facts for stage in stages if stage.stage == "monitor"), {})
    retrain = bool(monitored.get("retrain"))
    why_trained = tuple(monitored.get("reasons", ())) if retrain else ()
    if outcome.state != SUCCEEDED:
        return Alert(f"{pipeline} run {run}: {outcome.state}", (*filter(None, [outcome.error]), *why_trained), link)
    if retrain:
        promoted = any(stage.stage == "promote" for stage in stages)
        ending = "and the new one serves" if promoted else "and what came out did not pass the gate"
        return Alert(f"{pipeline} run {run}: a model was trained, {ending}", why_trained, link)
    if previous not in (None, SUCCEEDED):
        return Alert(f"{pipeline} run {run}: it succeeded again", (), link)
    return None


def post(alerts: str, alert: Alert) -> None:
    """Post an alert, again where the webhook is busy or does not answer; what does not arrive is said in the log.

    The webhook's URL is a secret, so nothing is said in which it may stand, and it is not followed elsewhere.

    Args:
        alerts: reference to the webhook's URL, as `env:ALERTS_URL`.
        alert: what to post.
    """
    try:
        status = _status_of_post(resolve_secret(alerts), alert.payload())
        trouble = "" if 200 <= status < 300 else f"the webhook answered with status {status}: see that its URL is right"
    except UserError as error:
        trouble = str(error)
    except (requests.RequestException, HTTPError, ValueError) as error:
        trouble = f"the webhook cannot be reached ({type(error).__name__}): see that its URL is right"
    log("notify", f"the alert did not arrive: {trouble}" if trouble else f"alert: {alert.title}")


def _status_of_post(url: str, payload: dict[str, Any]) -> int:
    """Post JSON; the last answer's status. The answer's body is left unread, however long it is."""
    retry = Retry(
        RETRIES,
        allowed_methods=None,
        status_forcelist=_STATUSES,
        raise_on_status=False,
        backoff_factor=BACKOFF_SECONDS,
        backoff_max=LONGEST_PAUSE_SECONDS,
        retry_after_max=LONGEST_PAUSE_SECONDS,
    )
    with _unlogged(), requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=retry))
        with session.post(url, json=payload, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True) as answer:
            return int(answer.status_code)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep the HTTP client from logging its retries, with the URL that it retries."""
    logger = logging.getLogger("urllib3")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _escaped(text: str) -> str:
    """Slack's three control characters, as text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
