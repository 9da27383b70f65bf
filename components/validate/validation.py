"""The validation stage: check a snapshot, write a report, and fail the run if there are errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from components.validate.checks import (
    LAST_GOOD_RUN,
    UNIQUE,
    Finding,
    check_blanks,
    check_freshness,
    check_nulls,
    check_ranks,
    check_references,
    check_repeats,
    check_rows,
    check_schema,
    check_unique,
    check_values,
    check_volume,
    count_nulls,
    errors,
)
from components.validate.snapshot_tables import SnapshotTables
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.reporting.pages import render, write_page
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import UnreadableError, seal, unseal


@dataclass(frozen=True)
class ValidationReport:
    """The findings of all checks.

    Attributes:
        snapshot_id: Id of the snapshot.
        rows: Rows per table.
        findings: Results of the checks that failed.
    """

    snapshot_id: str
    rows: dict[str, int]
    findings: list[Finding]

    @property
    def warnings(self) -> int:
        """Number of findings that do not fail the run."""
        return len(self.findings) - len(errors(self.findings))

    def facts(self) -> dict[str, Any]:
        """Return the counts as plain values for the journal and artifacts."""
        return {"snapshot_id": self.snapshot_id, "errors": len(errors(self.findings)), "warnings": self.warnings}

    def html(self) -> str:
        """Return the report as a self-contained page."""
        verdict = "The run stops." if errors(self.findings) else "The run goes on."
        return render(
            "validation.html",
            title=f"Snapshot {self.snapshot_id}",
            summary=f"{len(errors(self.findings))} errors, {self.warnings} warnings. {verdict}",
            rows=self.rows,
            findings=[{**asdict(each), "count": "" if each.count is None else each.count} for each in self.findings],
        )


def validate_snapshot(snapshot: str | Path, report: str | Path, store: str) -> ValidationReport:
    """Check a snapshot and write the report.

    Args:
        snapshot: Folder of the snapshot.
        report: The HTML file to write.
        store: Folder or bucket with the rows of the last good run, to compare with; a good run replaces them.

    Raises:
        UserError: There are errors; the report is written nevertheless. Or a file of the snapshot is damaged.
    """
    # 1. Check the files' checksums.
    opened = Snapshot.open(snapshot)
    opened.verify()

    # 2. Run all checks, also against the last good run.
    findings = find(opened, _last_rows(store))

    # 3. Write the report.
    result = ValidationReport(opened.manifest.snapshot_id, _rows(opened), findings)
    write_page(report, result.html())
    for finding in findings:
        log("validate", f"{finding.severity}: {finding.message()}")

    # 4. Fail if there are errors; else record this run as the last good one.
    if failed := errors(findings):
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise UserError(
            f"The snapshot breaks its contract ({failed[0].message()}{more}): fix the source; the report is {report}."
        )
    open_folder(store).write(LAST_GOOD_RUN, seal({"rows": result.rows}))
    return result


def find(snapshot: Snapshot, last_rows: Mapping[str, int]) -> list[Finding]:
    """Run all checks.

    Args:
        snapshot: The snapshot.
        last_rows: Rows per table of the last good run; empty if there was none.
    """
    rows = _rows(snapshot)
    findings = check_rows(rows) + check_volume(rows, last_rows)
    wrong_schemas = [
        finding
        for name in TABLES
        for file in snapshot.dataset(name).get_fragments()
        for finding in check_schema(name, file.physical_schema)
    ]
    if wrong_schemas:  # the other checks need the declared columns
        return findings + wrong_schemas
    extracted_at = datetime.fromisoformat(snapshot.manifest.extracted_at)
    with SnapshotTables.open(snapshot) as tables:
        for name in TABLES:
            findings += check_values(tables, name, extracted_at.date())
            if name in UNIQUE:
                findings += check_unique(tables, name)
        findings += check_references(tables) + check_ranks(tables)
        nulls = count_nulls(tables)
        findings += check_nulls(rows["reviews"], nulls) + check_blanks(nulls) + check_repeats(tables)
    watermark = snapshot.manifest.watermark
    newest_change = datetime.fromisoformat(watermark[0]) if watermark else None
    return findings + check_freshness(newest_change, extracted_at)


def _last_rows(store: str) -> dict[str, int]:
    """Read the rows of the last good run; none if there was none or they cannot be read."""
    content = open_folder(store).read(LAST_GOOD_RUN)
    if content is None:
        return {}
    try:
        return unseal(content, lambda fields: {table: int(rows) for table, rows in fields["rows"].items()})
    except UnreadableError as error:
        log("validate", f"{store}/{LAST_GOOD_RUN} {error}: the volume is not compared with the last good run's")
        return {}


def _rows(snapshot: Snapshot) -> dict[str, int]:
    return {name: snapshot.manifest.rows(name) for name in TABLES}
