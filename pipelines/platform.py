"""What a platform that runs pipelines is asked for, and what goes wrong there, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from google.api_core.retry import Retry

from steam_recsys.errors import UserError

RETRY_SECONDS = 60.0

_SENTENCES = {
    400: "refused the request ({message}): correct the settings or the parameters.",
    401: "does not know who asks: log in (gcloud auth application-default login), or renew the token.",
    403: "does not allow this ({message}): grant the account the role that is missing.",
    404: "does not know what was named ({message}): correct the settings.",
    409: "has something of that name already ({message}): submit again.",
    429: "has no room for another request now ({message}): try again later, or ask for a larger quota.",
    503: "cannot be reached or does not answer now: try again later.",
}


@dataclass(frozen=True)
class Submitted:
    """A run that was submitted: where to watch it, and a function that follows it to its end and returns its state."""

    url: str
    follow: Callable[[], str]

    def wait(self) -> None:
        """Follow the run to its end.

        Raises:
            UserError: it did not succeed.
        """
        state = self.follow()
        if state != "SUCCEEDED":
            raise UserError(f"The run ended as {state}: see {self.url}.")


class Platform(Protocol):
    """Runs compiled pipelines, now or on a schedule."""

    def submit(self, pipeline: Path, parameters: Mapping[str, Any]) -> Submitted:
        """Start a run of a compiled pipeline, whose file is named after it."""

    def schedule(self, pipeline: Path, parameters: Mapping[str, Any], cron: str) -> str:
        """Run a compiled pipeline by a cron expression of five fields, in UTC; the page to watch it on.

        A schedule of the same pipeline is replaced: the new one is there before the old one goes.
        """

    def unschedule(self, name: str) -> int:
        """Remove a pipeline's schedules; how many there were."""


def retried(call: Callable[..., Any], status_of: Callable[[Exception], int | None]) -> Callable[..., Any]:
    """The same call, tried again for `RETRY_SECONDS` where the platform has no room or does not answer."""

    def passes(error: Exception) -> bool:
        return status_of(error) in (429, 503)

    wrapped: Callable[..., Any] = Retry(predicate=passes, initial=1.0, maximum=10.0, timeout=RETRY_SECONDS)(call)
    return wrapped


@contextmanager
def in_sentences(platform: str, status_of: Callable[[Exception], int | None]) -> Iterator[None]:
    """Turn a platform's refusals into sentences.

    Args:
        platform: its name.
        status_of: the HTTP status that an exception stands for, None for one that is no answer of the platform.
    """
    try:
        yield
    except Exception as error:
        cause = error.__cause__ if status_of(error) is None and isinstance(error.__cause__, Exception) else error
        status = status_of(cause)
        if status is None:
            raise
        sentence = _SENTENCES.get(status, "answered with status {status} ({message}): see its log.")
        raise UserError(f"{platform} {sentence.format(status=status, message=_message(cause))}") from None


def _message(error: Exception) -> str:
    text = str(getattr(error, "message", None) or getattr(error, "reason", None) or error)
    return " ".join(text.split()).rstrip(".")[:300]
