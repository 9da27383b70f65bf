"""The interface of a platform that runs pipelines, and the messages for its errors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from google.api_core.retry import Retry

from steam_recsys.errors import UserError

RETRY_SECONDS = 60.0

_MAX_CHARACTERS = 300

_MESSAGES = {
    400: "refused the request ({message}): correct the settings or the parameters.",
    401: "did not accept the credentials: log in (gcloud auth application-default login), or renew the token.",
    403: "denied permission ({message}): grant the account the missing role.",
    404: "did not find the resource ({message}): correct the settings.",
    409: "already has a resource of that name ({message}): submit again.",
    429: "is over its quota ({message}): try again later, or request a larger quota.",
    503: "cannot be reached or does not answer: try again later.",
}


@dataclass(frozen=True)
class SubmittedRun:
    """A submitted run.

    Attributes:
        url: Page of the run.
        follow: Waits for the run's end and returns its state.
    """

    url: str
    follow: Callable[[], str]

    def wait(self) -> None:
        """Wait for the run's end.

        Raises:
            UserError: The run did not succeed, or the platform did not answer.
        """
        try:
            state = self.follow()
        except UserError as error:
            raise UserError(f"The run goes on, see {self.url}, but it cannot be followed: {error}") from None
        if state != "SUCCEEDED":
            raise UserError(f"The run ended as {state}: see {self.url}.")


class Platform(Protocol):
    """Runs compiled pipelines, once or on a schedule."""

    def submit(self, pipeline: Path, parameters: Mapping[str, Any]) -> SubmittedRun:
        """Start a run of a compiled pipeline; the file has the pipeline's name."""

    def schedule(self, pipeline: Path, parameters: Mapping[str, Any], cron: str) -> str:
        """Run a compiled pipeline on a cron expression of five fields in UTC, and return the schedule's page.

        Replaces the pipeline's earlier schedule: the new one exists before the old one is deleted.
        """

    def unschedule(self, name: str) -> int:
        """Remove a pipeline's schedules and return how many there were."""


def with_retries(call: Callable[..., Any], status_of: Callable[[Exception], int | None]) -> Callable[..., Any]:
    """Wrap a call so that it is retried for `RETRY_SECONDS` while the platform is over its quota or does not answer."""

    def is_temporary(error: Exception) -> bool:
        return status_of(error) in (429, 503)

    wrapped: Callable[..., Any] = Retry(predicate=is_temporary, initial=1.0, maximum=10.0, timeout=RETRY_SECONDS)(call)
    return wrapped


@contextmanager
def user_errors(platform: str, status_of: Callable[[Exception], int | None]) -> Iterator[None]:
    """Convert a platform's errors to `UserError`.

    Args:
        platform: Name of the platform.
        status_of: Returns an exception's HTTP status, None if the exception is not the platform's.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if status_of(error) is None and isinstance(error.__cause__, Exception) else error
        status = status_of(cause)
        if status is None:
            raise
        message = _MESSAGES.get(status, "answered with status {status} ({message}): see its log.")
        raise UserError(f"{platform} {message.format(status=status, message=_message(cause))}") from None


def _message(error: Exception) -> str:
    text = _api_message(error) or str(getattr(error, "message", None) or getattr(error, "reason", None) or error)
    return " ".join(text.split()).rstrip(".")[:_MAX_CHARACTERS]


def _api_message(error: Exception) -> str:
    """Return the message in the body of an answer of Kubeflow's API; empty if there is none."""
    try:
        body = json.loads(getattr(error, "body", None) or "{}")
    except ValueError:
        return ""
    if not isinstance(body, dict):
        return ""
    details = body.get("details")
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict) and "error_message" in detail:
            return str(detail["error_message"])
    return str(body.get("message") or body.get("error") or body.get("error_message") or "")  # the last by uploads
