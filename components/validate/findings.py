"""What a check finds, and whether a run may go on with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
        examples: a few of the rows that do, as text.
    """

    severity: Severity
    table: str
    check: str
    count: int
    examples: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The finding in words."""
        shown = f" (for example {self.examples[0]})" if self.examples else ""
        return f"{self.table}: {self.check}: {self.count:,}{shown}"


def describe(row: Mapping[str, object], column: str) -> str:
    """A row as an example: its ids and the column that a check is about."""
    return ", ".join(f"{name} {value}" for name, value in row.items() if name.endswith("_id") or name == column)


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Those that fail the run."""
    return [finding for finding in findings if finding.severity == "error"]
