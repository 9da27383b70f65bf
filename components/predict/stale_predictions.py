"""Predictions that were never published, as their version was refused or their run given up, are not kept for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from steam_recsys.logging import log
from steam_recsys.storage.folder import open_folder

KEPT = timedelta(days=2)
"""For as long a run may be started again and go on from what it had."""


def remove_stale_predictions(store: str, version: str) -> None:
    """Remove the predictions of versions to which nothing was written for two days, but for one of them.

    Args:
        store: that they are in.
        version: the one that is kept however old it is.
    """
    predictions = open_folder(f"{store.rstrip('/')}/predictions")
    written: dict[str, datetime] = {}
    for name, file in predictions.list_files("").items():
        found = name.partition("/")[0]
        written[found] = max(file.written_at, written.get(found, file.written_at))
    for abandoned, newest in written.items():
        if abandoned != version and newest < datetime.now(UTC) - KEPT:
            predictions.remove(abandoned)
            log("plan", f"removed the predictions {abandoned}, which nobody published")
