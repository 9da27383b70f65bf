"""Alerts: what somebody should know of a run, posted to a webhook in the form that Slack understands.

A run that goes well says nothing: an alert is a failure, the recovery after one, or a training that the figures asked
for. What is posted never fails a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from components.notify.outcome import SUCCEEDED, Outcome
from components.shared.console import log
from components.shared.database import resolve_secret
from components.shared.errors import UserError
from components.shared.stage import StageRecord

TRIES, BACKOFF_SECONDS, TIMEOUT_SECONDS = 4, 1.0, 10.0
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
    if outcome.state != SUCCEEDED:
        reasons = (outcome.error,) if outcome.error else ()
        return Alert(f"{pipeline} run {run}: {outcome.state}", reasons, link)
    facts = {stage.stage: stage.facts for stage in stages}
    if facts.get("monitor", {}).get("retrain"):
        promoted = any(stage.stage == "promote" for stage in stages)
        ending = "and the new one serves" if promoted else "and what came out did not pass the gate"
        reasons = tuple(facts["monitor"].get("reasons", ()))
        return Alert(f"{pipeline} run {run}: a model was trained, {ending}", reasons, link)
    if previous not in (None, SUCCEEDED):
        return Alert(f"{pipeline} run {run}: it succeeded again", (), link)
    return None


def post(alerts: str, alert: Alert) -> None:
    """Post an alert, several times where the webhook does not answer; what does not arrive is said in the log.

    Args:
        alerts: reference to the webhook's URL, as `env:ALERTS_URL`.
        alert: what to post.
    """
    retry = Retry(TRIES, backoff_factor=BACKOFF_SECONDS, status_forcelist=_STATUSES, allowed_methods=None)
    try:
        with requests.Session() as session:
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=retry))
            answer = session.post(resolve_secret(alerts), json=alert.payload(), timeout=TIMEOUT_SECONDS)
        trouble = "" if answer.ok else f"it answered with status {answer.status_code}"
    except UserError as error:
        trouble = str(error)
    except (requests.RequestException, ValueError) as error:  # whose words may hold the URL, which is a secret
        trouble = type(error).__name__
    log("notify", f"the alert did not arrive: {trouble}" if trouble else f"alert: {alert.title}")


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _escaped(text: str) -> str:
    """Slack's three control characters, as text."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
