"""The stage: a snapshot is checked, the findings become a report, and errors fail the run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from components.validate.checks import (
    LAST_GOOD_RUN,
    check_blanks,
    check_freshness,
    check_nulls,
    check_ranks,
    check_references,
    check_repeats,
    check_rows,
    check_volume,
)
from components.validate.contract import check_columns, check_schema
from components.validate.findings import Finding, errors
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import Manifest, Snapshot
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.reporting.pages import render, write_page
from steam_recsys.storage.folder import open_folder


@dataclass(frozen=True)
class Validated:
    """What was checked: rows a table, and what was found."""

    snapshot_id: str
    rows: dict[str, int]
    findings: list[Finding]

    def facts(self) -> dict[str, Any]:
        """Counts as plain values, for the journal and artifacts."""
        failed = len(errors(self.findings))
        return {"snapshot_id": self.snapshot_id, "errors": failed, "warnings": len(self.findings) - failed}

    def html(self) -> str:
        """The report: one self-contained page."""
        verdict = "The run stops." if errors(self.findings) else "The run goes on."
        return render(
            "validation.html",
            title=f"Snapshot {self.snapshot_id}",
            summary=f"{len(errors(self.findings))} errors, {self.facts()['warnings']} warnings. {verdict}",
            rows=self.rows,
            findings=self.findings,
        )


def validate_snapshot(snapshot: str | Path, report: str | Path, store: str) -> Validated:
    """Check a snapshot, write the report, and remember its volume where it is good.

    Args:
        snapshot: the snapshot's folder.
        report: the HTML file to write.
        store: where the last good run's volume is kept, for the next one to compare with.

    Raises:
        UserError: there are errors; the report is written all the same. Or a file is not the one that was extracted.
    """
    opened = Snapshot.open(snapshot)
    opened.verify()
    last_good = LastGoodRun(store)
    findings = find(opened, last_good.rows())
    validated = Validated(opened.manifest.snapshot_id, _rows(opened), findings)
    write_page(report, validated.html())
    for finding in findings:
        log("validate", f"{finding.severity}: {finding.sentence()}")
    if failed := errors(findings):
        more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
        raise UserError(
            f"The snapshot breaks its contract ({failed[0].sentence()}{more}): mend the source; the report is {report}."
        )
    last_good.remember(validated.rows)
    return validated


def find(snapshot: Snapshot, last_rows: dict[str, int]) -> list[Finding]:
    """Everything that is not as it should be; `last_rows` are the last good run's rows a table, or empty."""
    rows = _rows(snapshot)
    findings = check_rows(rows) + check_volume(rows, last_rows)
    wrong_schemas = [
        finding
        for name in TABLES
        for file in snapshot.dataset(name).get_fragments()
        for finding in check_schema(name, file.physical_schema)
    ]
    if wrong_schemas:  # nothing else can be asked of such a file
        return findings + wrong_schemas
    extracted_at = datetime.fromisoformat(snapshot.manifest.extracted_at)
    tables = {name: snapshot.table(name) for name in TABLES}
    for name, content in tables.items():
        findings += check_columns(name, content, extracted_at.date())
    findings += check_references(tables["reviews"], tables["users"], tables["games"], tables["rankings"])
    findings += check_ranks(tables["rankings"])
    findings += check_nulls(tables["reviews"]) + check_blanks(tables["reviews"]) + check_repeats(tables["reviews"])
    return findings + check_freshness(_newest_change(snapshot.manifest), extracted_at)


@dataclass(frozen=True)
class LastGoodRun:
    """The rows a table that the last good run saw, in a file of the store."""

    store: str

    def rows(self) -> dict[str, int]:
        """Rows a table; empty where no run was good yet."""
        content = open_folder(self.store).read(LAST_GOOD_RUN)
        return dict(json.loads(content)) if content else {}

    def remember(self, rows: dict[str, int]) -> None:
        """Make these the last good run's."""
        open_folder(self.store).write(LAST_GOOD_RUN, f"{json.dumps(rows)}\n".encode())


def _rows(snapshot: Snapshot) -> dict[str, int]:
    return {name: snapshot.manifest.rows(name) for name in TABLES}


def _newest_change(manifest: Manifest) -> datetime | None:
    return datetime.fromisoformat(manifest.watermark[0]) if manifest.watermark else None
