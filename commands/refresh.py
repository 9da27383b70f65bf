"""`recsys refresh`: refresh the current publication on this machine, once or for as long as the command runs."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

from components.extract.extraction import write_snapshot
from components.notify.outcome import FAILED, SUCCEEDED, conclude
from components.refresh import STAGES
from components.refresh.refresh import refresh_publication
from steam_recsys.database.connection import connect, require_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import log_warning
from steam_recsys.publications.destinations import PUBLISH_TO, DestinationConfig
from steam_recsys.stage import stage

PAUSE_SECONDS = 15.0
"""How often to look for changes, if no run takes longer: then as long as the last run took."""

WHOLE_SECONDS = 900.0
"""How often to run if no change is dated: deleted reviews leave no date."""

# Single look-ups in indexes.
_CHANGED = "SELECT max(updated_at)::text FROM steam.reviews"
_VERSION = "SELECT max(version) FROM recsys.publications WHERE current"

State = tuple[str | None, str | None]
"""The date of the newest change of a review, and the current version."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = "On Kubeflow and Vertex AI, schedule the pipeline refresh instead."
    parser.add_argument("--store", required=True, help="the store, a folder, gs://… or s3://…")
    parser.add_argument("--database", default="env:DATABASE_URL", help="reference to the database's URL (%(default)s)")
    parser.add_argument("--replica", default="", help="reference to the URL of a replica to read instead")
    parser.add_argument(
        "--publish-to", default="postgresql", choices=PUBLISH_TO, help="where versions are published (%(default)s)"
    )
    parser.add_argument("--mongodb", default="env:MONGODB_URL", help="reference to the URL of MongoDB (%(default)s)")
    parser.add_argument("--alerts", default="", help="reference to the URL of a webhook for alerts")
    parser.add_argument("--follow", action="store_true", help="refresh whenever reviews have changed, until Ctrl-C")


def run(arguments: argparse.Namespace) -> None:
    """Refresh once, with exit code 1 if that fails; or follow the changes."""
    if arguments.follow:
        follow(arguments)
    elif not refresh_once(arguments):
        sys.exit(1)


def refresh_once(arguments: argparse.Namespace) -> bool:
    """Do what a run of the pipeline does, its record included, and return whether it succeeded."""
    store, run_id = arguments.store, f"refresh-{datetime.now(UTC):%Y%m%dT%H%M%S.%f}"
    config = DestinationConfig(arguments.database, arguments.publish_to, arguments.mongodb)
    source, state = arguments.replica or arguments.database, SUCCEEDED
    try:
        with tempfile.TemporaryDirectory(prefix="steam-recsys-") as folder:
            snapshot = str(Path(folder) / "snapshot")
            with stage("extract", store, run_id) as record:
                record.facts["pipeline"] = "refresh"
                record.facts.update(write_snapshot(source, snapshot, store).facts())
            with stage("refresh", store, run_id) as record:
                record.facts.update(refresh_publication(snapshot, source, store, config).facts())
    except SystemExit:  # the stage has logged and recorded why
        state = FAILED
    except Exception:  # a bug: the run is recorded all the same, and --follow goes on
        traceback.print_exc()
        state = FAILED
    conclude(arguments.database, store, run_id, "refresh", STAGES, state, None, arguments.alerts)
    return state == SUCCEEDED


def follow(arguments: argparse.Namespace) -> None:
    """Refresh whenever a review or the current version has changed. A failure is logged, and tried again."""
    seen: State | None = None
    pause, unreadable, last = PAUSE_SECONDS, PAUSE_SECONDS, float("-inf")
    while True:
        started = time.monotonic()
        try:
            state = _read_state(arguments.database, arguments.replica)
        except UserError as error:
            unreadable = _longer(unreadable)
            log_warning("refresh", f"{error} Trying again in {unreadable:.0f} seconds.")
            time.sleep(unreadable)
            continue
        unreadable = PAUSE_SECONDS
        if state != seen or started - last >= WHOLE_SECONDS:
            try:
                succeeded = refresh_once(arguments)
            except UserError as error:  # the database was lost, and with it the record of the run
                log_warning("refresh", str(error))
                succeeded = False
            seen, last = state if succeeded else None, started
            pause = max(PAUSE_SECONDS if succeeded else _longer(pause), time.monotonic() - started)
        time.sleep(pause)


def _read_state(database: str, replica: str) -> State:
    """Look for changes where the refresh reads them: a replica may be some seconds behind."""
    return _read_value(replica or database, "steam", _CHANGED), _read_value(database, "recsys", _VERSION)


def _read_value(source: str, schema: str, query: str) -> str | None:
    with connect(source, application="steam-recsys refresh") as connection, connection.cursor() as cursor:
        require_schema(connection, schema)
        cursor.execute(query)
        ((value,),) = cursor.fetchall()
    found: str | None = value
    return found


def _longer(pause: float) -> float:
    """Return the pause after one more failure."""
    return min(2 * pause, WHOLE_SECONDS)
