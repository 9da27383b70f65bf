"""Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from explorer.counters import SECONDS

HELP = {
    "database_up": "Whether the shop's database answers.",
    "figures_missing": "Whether figures could not be read, though the database answers.",
    "publication_info": "The current publication, its model and its snapshot.",
    "publication_users": "Users with recommendations of their own in the current publication.",
    "publication_rows": "Recommended games in the current publication, summed over users.",
    "publication_data_age_days": "Days since the newest review that the current publication knows.",
    "publication_published_age_seconds": "Since the current publication first became current.",
    "publication_made_current_age_seconds": "Since it last became current: a rollback counts.",
    "run_age_seconds": "Since the last run of a pipeline that ended in a state.",
    "run_duration_seconds": "How long that run took.",
    "stage_seconds": "How long its stages took, summed over their tasks.",
    "stage_peak_memory_megabytes": "The most memory that a task of the stage held.",
    "rows": "Rows of the shop's tables.",
    "monitoring": "The last measured figures of quality and drift.",
    "monitoring_age_seconds": "Since they were measured.",
    "retrain": "Whether they asked for a new model.",
    "live_model_info": "The publication and the model that posted histories are answered from.",
    "http_requests_total": "Requests by route and first digit of the status.",
    "http_request_duration_seconds": "How long requests took, by route.",
}
"""What each metric says; there are no others."""


class Exposition:
    """Samples of metrics, put together a metric at a time."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add a sample; names ending in _total are of counters."""
        self._sample(name, name, value, labels)

    def histogram(self, name: str, buckets: Iterable[float], seconds: float, **labels: str) -> None:
        """Add a histogram of durations, by the buckets that `SECONDS` ends and one more."""
        sums = np.cumsum(list(buckets)).tolist()
        for end, requests in zip([*map(str, SECONDS), "+Inf"], sums, strict=True):
            self._sample(name, f"{name}_bucket", requests, {**labels, "le": end})
        self._sample(name, f"{name}_sum", seconds, labels)
        self._sample(name, f"{name}_count", sums[-1], labels)

    def content(self) -> str:
        """The text."""
        return "".join(f"{line}\n" for lines in self._lines.values() for line in lines)

    def _sample(self, metric: str, name: str, value: float, labels: dict[str, str]) -> None:
        full = f"{self._prefix}_{metric}"
        if metric not in self._lines:
            kind = "counter" if metric.endswith("_total") else "gauge"
            kind = "histogram" if name != metric else kind
            self._lines[metric] = [f"# HELP {full} {HELP[metric]}", f"# TYPE {full} {kind}"]
        described = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        braces = f"{{{described}}}" if described else ""
        self._lines[metric].append(f"{self._prefix}_{name}{braces} {float(value)!r}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
