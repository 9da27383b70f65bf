"""The stage: a run's snapshot and the last versions → figures, and the decision whether to train again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from psycopg2.extras import Json

from components.monitor.decision import FIRST, Decision, Measured, decide
from components.monitor.drift import measure_drift
from components.monitor.quality import judge, realised
from components.monitor.report import html_report, verdict
from components.monitor.thresholds import DEFAULT, Thresholds
from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.interactions import UNDATED, date_of, day_of, newest_day
from steam_recsys.data.popularity import DECAYS
from steam_recsys.data.snapshot import Manifest, Snapshot
from steam_recsys.database.connection import connect, create_schema
from steam_recsys.errors import other_version_error
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.logging import log
from steam_recsys.model.availability import available
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.publications.destinations import DestinationConfig, open_destinations
from steam_recsys.storage.model_store import DESCRIPTION, current_champion, stored_model

_REMEMBER = """
INSERT INTO recsys.monitoring (run_id, measured_at, as_of, model_version, retrain, reasons, figures)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (run_id) DO UPDATE SET (measured_at, as_of, model_version, retrain, reasons, figures) =
    (excluded.measured_at, excluded.as_of, excluded.model_version, excluded.retrain, excluded.reasons, excluded.figures)
"""
_LAST_TRAINING = """
SELECT (array_agg(as_of ORDER BY measured_at DESC))[1] FROM recsys.monitoring JOIN recsys.pipeline_runs USING (run_id)
WHERE monitoring.retrain AND pipeline_runs.state IN ('SUCCEEDED', 'FAILED') AND run_id <> %s
"""
_EARLIER = """
SELECT as_of, figures FROM recsys.monitoring WHERE run_id <> %s ORDER BY measured_at DESC LIMIT 180
"""


@dataclass(frozen=True)
class Monitored:
    """What a run found.

    Attributes:
        model_version: the champion; None where there is none.
        decision: whether to train again, and why.
        figures: numbers by name; None where there was nothing to measure.
    """

    model_version: str | None
    decision: Decision
    figures: Mapping[str, float | None]

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return {
            "model_version": self.model_version,
            "retrain": self.decision.retrain,
            "reasons": list(self.decision.reasons),
            "figures": dict(self.figures),
        }

    def write(self, path: str | Path) -> None:
        """Write the facts as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(f"{json.dumps(self.facts(), indent=2)}\n")


def monitor(
    snapshot: str | Path,
    places: DestinationConfig,
    store: str,
    report: str | Path,
    run: str,
    thresholds: Thresholds = DEFAULT,
) -> Monitored:
    """Measure, decide, and remember both in `recsys.monitoring`; again for the same run replaces what it found.

    Args:
        snapshot: the run's.
        places: where recommendations are published.
        store: with the champion, and what earlier versions were judged to be worth.
        report: the HTML file to write.
        run: the run's id.
        thresholds: the limits.

    Raises:
        UserError: a destination cannot be reached, or the champion is of another version of this project.
    """
    opened = Snapshot.open(snapshot)
    with connect(places.database, application="steam-recsys monitor") as connection:
        create_schema(connection, "recsys")
        connection.commit()
        with connection.cursor() as cursor:
            cursor.execute(_LAST_TRAINING, [run])
            ((last_training,),) = cursor.fetchall()
        connection.commit()
        with open_destinations(places, connection) as destinations:
            judge(opened, destinations.leading, store)
    as_of = _as_of(opened)
    figures: dict[str, float | None] = dict(_volumes(opened.manifest))
    champion = current_champion(store)
    decision = FIRST
    if champion is not None:
        measured, of_vectors = _measure(opened, store, champion.version, as_of, thresholds)
        since = (as_of - last_training).days if last_training else None
        decision = decide(replace(measured, days_since_training=since), thresholds)
        figures |= _figures(measured) | of_vectors
    monitored = Monitored(champion.version if champion else None, decision, figures)
    earlier = _remember(places.database, run, opened.manifest, as_of, monitored)
    Path(report).parent.mkdir(parents=True, exist_ok=True)
    Path(report).write_text(
        html_report(monitored.model_version, decision, [*earlier, (as_of, figures)]), encoding="utf-8"
    )
    for rule in decision.rules:
        log("monitor", rule.sentence)
    log("monitor", f"{verdict(decision)} As of {as_of.isoformat()}.")
    return monitored


def _measure(
    snapshot: Snapshot, store: str, version: str, as_of: date, thresholds: Thresholds
) -> tuple[Measured, dict[str, float | None]]:
    with stored_model(store, version) as folder:
        model = TwoTowerArrays.load(folder)
        described = json.loads((folder / DESCRIPTION).read_text())
    try:
        trained_until, games_then = day_of(date.fromisoformat(described["trained_until"])), described["catalogue_games"]
    except KeyError as error:
        raise other_version_error(f"The champion {version} in {store} is", error) from None
    table = snapshot.table("games", [*GAME_COLUMNS, "delisted_on"]).sort_by("game_id")
    is_available = available(table, as_of)
    games = Games.from_table(table)
    catalogue = model.for_catalogue(games, np.zeros((len(DECAYS), len(games))))
    norms = np.linalg.norm(catalogue.history, axis=1)
    without = ~catalogue.candidates.any(axis=1)
    measured = Measured(
        quality=realised(store, thresholds.quality_floor),
        drift=measure_drift(snapshot, model.game_ids, norms, trained_until),
        age_days=max(day_of(as_of) - 1 - trained_until, 0),
        catalogue_growth=max(1 - games_then / max(len(games), 1), 0.0),
    )
    unplaced = int(np.count_nonzero(is_available & without)) / max(int(np.count_nonzero(is_available)), 1)
    return measured, {"games_without_vector_share": unplaced}


def _as_of(snapshot: Snapshot) -> date:
    """The day after the newest review; that of the extraction where none has a day."""
    newest = newest_day(snapshot)
    if newest == UNDATED:
        return datetime.fromisoformat(snapshot.manifest.extracted_at).date()
    return date_of(newest + 1)


def _volumes(manifest: Manifest) -> dict[str, float | None]:
    """Rows, and the days since the source last changed, by its own clock."""
    age = None
    if manifest.watermark:
        extracted, changed = map(datetime.fromisoformat, (manifest.extracted_at, manifest.watermark[0]))
        age = round((extracted - changed) / timedelta(days=1), 3)
    return {**{table: float(manifest.rows(table)) for table in ("reviews", "users", "games")}, "source_age_days": age}


def _figures(measured: Measured) -> dict[str, float | None]:
    quality, drift = measured.quality, asdict(measured.drift)
    drift["reviews_since_training"] = drift.pop("reviews")
    return {
        "judged_users": quality.users,
        **_interval("ndcg", quality.ndcg),
        **_interval("popular_ndcg", quality.popular_ndcg),
        **_interval("hit_rate", quality.hit_rate),
        **_interval("popular_hit_rate", quality.popular_hit_rate),
        **drift,
        "model_age_days": measured.age_days,
        "catalogue_growth": measured.catalogue_growth,
    }


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {name: None, f"{name}_lower": None, f"{name}_upper": None}
    return {name: interval.mean, f"{name}_lower": interval.low, f"{name}_upper": interval.high}


def _remember(
    database: str, run: str, manifest: Manifest, as_of: date, monitored: Monitored
) -> list[tuple[date, Mapping[str, float | None]]]:
    """Write a run's row; what earlier runs found, the oldest first."""
    facts = monitored.facts()
    with connect(database, application="steam-recsys monitor") as connection, connection.cursor() as cursor:
        cursor.execute(_EARLIER, [run])
        earlier = cursor.fetchall()[::-1]
        cursor.execute(
            _REMEMBER,
            [run, manifest.extracted_at, as_of, facts["model_version"], facts["retrain"], Json(facts["reasons"]),
             Json(facts["figures"])],
        )  # fmt: skip
    return earlier
