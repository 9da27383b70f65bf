"""What goes wrong, in one sentence and with an HTTP status: the API shows it as JSON, a page as a page."""

from __future__ import annotations


class Problem(Exception):
    """A request that cannot be answered.

    The sentence says what is wrong and what to do; it is shown to whoever asked, so it holds nothing secret.
    """

    def __init__(self, status: int, sentence: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = headers or {}
