"""What a check finds, and whether a run may go on with it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        severity: an error fails the run, a warning does not.
        table: the table it was found in.
        check: what should hold.
        count: the number of rows that break it.
        examples: a few of the values or rows that do, as text.
    """

    severity: Severity
    table: str
    check: str
    count: int
    examples: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The finding in words."""
        shown = f" (for example {', '.join(self.examples[:3])})" if self.examples else ""
        return f"{self.table}: {self.check}: {self.count:,}{shown}"


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that fail the run."""
    return [finding for finding in findings if finding.severity == "error"]
