"""The monitoring stage: measure how the champion does, and decide whether to train again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from psycopg2.extras import Json

from components.monitor.decision import DEFAULT, FIRST_TRAINING, Decision, MonitoringInputs, Thresholds, decide
from components.monitor.drift import measure_drift
from components.monitor.feedback import Feedback, measure_experiment, measure_lists
from components.monitor.forecast import Figures, MeasuredRun
from components.monitor.quality import measure_versions, realised_quality
from components.monitor.report import html_report
from steam_recsys.data.games import GAME_COLUMNS, Games, available
from steam_recsys.data.interactions import day_after_newest, day_of
from steam_recsys.data.popularity import DECAYS
from steam_recsys.data.snapshot import Manifest, Snapshot
from steam_recsys.database.connection import connect, create_schema
from steam_recsys.database.event_partitions import make_event_partitions
from steam_recsys.database.limits import LONG_STATEMENTS
from steam_recsys.errors import other_version_error
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.logging import log
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.publications.destinations import DestinationConfig, open_destinations
from steam_recsys.publications.versions import KeptVersion, find_current
from steam_recsys.reporting.pages import write_page
from steam_recsys.storage.model_store import current_champion, read_description, stored_model

# An inference run that failed to train has a measurement only. A run of the training pipeline has stages only; it
# counts if the gate refused its model.
_LAST_TRAINING = """
SELECT (array_agg(as_of ORDER BY finished_at DESC))[1]
FROM (
    SELECT run_id, as_of, finished_at FROM recsys.monitoring JOIN recsys.pipeline_runs USING (run_id)
    WHERE monitoring.retrain AND pipeline_runs.state IN ('SUCCEEDED', 'FAILED')
    UNION ALL
    SELECT run_id, (stage -> 'facts' ->> 'as_of')::date, finished_at
    FROM recsys.pipeline_runs CROSS JOIN jsonb_array_elements(stages) AS each (stage)
    WHERE pipeline = 'training' AND stage ->> 'stage' = 'train' AND stage -> 'facts' ? 'as_of'
        AND stages @> '[{"stage": "evaluate", "facts": {"promote": false}}]'
) AS trainings
WHERE run_id <> %s
"""
_EARLIER_RUNS = """
SELECT as_of, model_version, figures FROM recsys.monitoring WHERE run_id <> %s ORDER BY measured_at DESC LIMIT 180
"""
_RECORD = """
INSERT INTO recsys.monitoring (run_id, measured_at, as_of, model_version, retrain, reasons, figures, feedback)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (run_id) DO UPDATE SET (measured_at, as_of, model_version, retrain, reasons, figures, feedback) =
    (excluded.measured_at, excluded.as_of, excluded.model_version, excluded.retrain, excluded.reasons, excluded.figures,
     excluded.feedback)
"""


@dataclass(frozen=True)
class Monitored:
    """The result of a run.

    Attributes:
        model_version: Version of the champion; None if there is none.
        decision: Whether to train again, and why.
        figures: Figures by name; None for those that could not be measured.
        feedback: What users did with the recommendations.
    """

    model_version: str | None
    decision: Decision
    figures: Figures
    feedback: Feedback

    def facts(self) -> dict[str, Any]:
        """Return the result as plain values, for the journal and artifacts."""
        return {
            "model_version": self.model_version,
            "retrain": self.decision.retrain,
            "reasons": list(self.decision.reasons),
            "figures": dict(self.figures),
            "feedback": self.feedback.facts(),
        }

    def write(self, path: str | Path) -> None:
        """Write the facts as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(f"{json.dumps(self.facts(), indent=2)}\n")


def monitor(
    snapshot: str | Path,
    config: DestinationConfig,
    store: str,
    report: str | Path,
    run: str,
    thresholds: Thresholds = DEFAULT,
) -> Monitored:
    """Measure, decide, and record both in `recsys.monitoring`; repeating a run replaces its record.

    Args:
        snapshot: The run's snapshot.
        config: Destinations of the recommendations.
        store: Store with the champion, and with the measured quality of earlier versions.
        report: HTML file to write.
        run: Id of the run.
        thresholds: Monitoring's parameters.

    Raises:
        UserError: A destination cannot be reached, or another version of this project trained the champion.
    """
    opened = Snapshot.open(snapshot)
    as_of = day_after_newest(opened)

    # 1. Measure the published versions by the reviews that users have written since.
    with connect(config.database, application="steam-recsys monitor") as connection:
        create_schema(connection, "recsys")
        connection.commit()
        with connection.cursor() as cursor:
            cursor.execute(_LAST_TRAINING, [run])
            ((last_training,),) = cursor.fetchall()
    with open_destinations(config) as destinations:
        measure_versions(opened, destinations.primary, store)
        published = find_current(destinations.primary.kept_versions())

    # 2. Measure what users did with the recommendations that they were shown.
    make_event_partitions(config.database)
    feedback = _measure_feedback(config.database, published, opened.manifest)

    # 3. Measure the champion, and decide.
    figures: dict[str, float | None] = (
        _volumes(opened.manifest) | _personalisation(published) | _feedback_figures(feedback)
    )
    champion = current_champion(store)
    decision = FIRST_TRAINING
    if champion is not None:
        since = (as_of - last_training).days if last_training else None
        inputs, without_vector = _inputs(opened, store, champion.version, as_of, published, since, thresholds)
        decision = decide(inputs, thresholds)
        figures |= _figures(inputs) | {"games_without_vector_share": without_vector}
    monitored = Monitored(champion.version if champion else None, decision, figures, feedback)

    # 4. Record the result, write the report and log the decision.
    earlier = _record(config.database, run, opened.manifest, as_of, monitored)
    runs = [*earlier, MeasuredRun(as_of, monitored.model_version, figures)]
    write_page(report, html_report(decision, runs, feedback))
    for rule in decision.rules:
        log("monitor", str(rule))
    log("monitor", f"{decision.summary} As of {as_of.isoformat()}.")
    return monitored


def _inputs(
    snapshot: Snapshot,
    store: str,
    version: str,
    as_of: date,
    published: KeptVersion | None,
    days_since_training: int | None,
    thresholds: Thresholds,
) -> tuple[MonitoringInputs, float]:
    """Measure the champion; also return the share of the available games without a vector."""
    with stored_model(store, version) as folder:
        model = TwoTowerArrays.load(folder)
        description = read_description(folder)
    try:
        trained_until = day_of(date.fromisoformat(description["trained_until"]))
        games_then = description["catalogue_games"]
    except KeyError as error:
        raise other_version_error(f"The champion {version} in {store} is", error) from None
    table = snapshot.table("games", ["name", *GAME_COLUMNS, "delisted_on"]).sort_by("game_id")
    is_available = available(table, as_of)
    games = Games.from_table(table)
    scorer = model.for_catalogue(games, np.zeros((len(DECAYS), len(games))))
    norms = np.linalg.norm(scorer.history, axis=1)
    without_vector = is_available & ~scorer.candidates.any(axis=1)
    inputs = MonitoringInputs(
        quality=realised_quality(store, thresholds.quality_floor, version),
        drift=measure_drift(snapshot, model.game_ids, norms, trained_until),
        age_days=max(day_of(as_of) - 1 - trained_until, 0),
        catalogue_growth=max(1 - games_then / max(len(games), 1), 0.0),
        published=published,
        days_since_training=days_since_training,
    )
    share_without_vector = int(np.count_nonzero(without_vector)) / max(int(np.count_nonzero(is_available)), 1)
    return inputs, share_without_vector


def _volumes(manifest: Manifest) -> dict[str, float | None]:
    """Return the rows of each table, and the days since the source last changed by its own clock."""
    age = None
    if manifest.watermark:
        extracted, changed = map(datetime.fromisoformat, (manifest.extracted_at, manifest.watermark[0]))
        age = round((extracted - changed) / timedelta(days=1), 3)
    return {**{table: float(manifest.rows(table)) for table in ("reviews", "users", "games")}, "source_age_days": age}


def _personalisation(published: KeptVersion | None) -> dict[str, float | None]:
    """Return how personal the current publication is."""
    names = ("overlap", "coverage", "popular_ten")
    return {name: getattr(published, name) if published else None for name in names}


def _measure_feedback(database: str, published: KeptVersion | None, manifest: Manifest) -> Feedback:
    """Measure the events up to the snapshot; nothing before the first publication."""
    if published is None:
        return Feedback()
    until = datetime.fromisoformat(manifest.extracted_at)
    connected = connect(database, application="steam-recsys monitor", limits=LONG_STATEMENTS)
    with connected as connection, connection.cursor() as cursor:
        measured = measure_lists(cursor, until)
        experiment = measure_experiment(cursor, published.control_share, published.published_at, until)
    return Feedback(measured[0] if measured else None, tuple(measured[1:]), experiment)


def _feedback_figures(feedback: Feedback) -> dict[str, float | None]:
    """Return what users did with all lists together, and how recommendations compare with popular games."""
    overall, experiment = feedback.overall, feedback.experiment
    return {
        "games_shown": overall.shown if overall else None,
        **_interval("click_through", overall.clicked if overall else None),
        **_interval("conversion", overall.bought if overall else None),
        **_interval("conversion_gain", experiment.test.difference if experiment else None),
        "conversion_gain_p": experiment.test.p_value if experiment else None,
    }


def _figures(inputs: MonitoringInputs) -> dict[str, float | None]:
    quality, drift = inputs.quality, asdict(inputs.drift)
    reviews = drift.pop("reviews")
    return {
        "judged_users": quality.users,
        **_interval("ndcg", quality.ndcg),
        **_interval("popular_ndcg", quality.popular_ndcg),
        **_interval("hit_rate", quality.hit_rate),
        **_interval("popular_hit_rate", quality.popular_hit_rate),
        **_interval("ndcg_gain", quality.ndcg_gain),
        **_interval("above_floor", quality.above_floor),
        "reviews_since_training": reviews,
        **{name: figure if reviews else None for name, figure in drift.items()},
        "model_age_days": inputs.age_days,
        "catalogue_growth": inputs.catalogue_growth,
    }


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {name: None, f"{name}_lower": None, f"{name}_upper": None}
    return {name: interval.mean, f"{name}_lower": interval.low, f"{name}_upper": interval.high}


def _record(database: str, run: str, manifest: Manifest, as_of: date, monitored: Monitored) -> list[MeasuredRun]:
    """Write the run's row, and return earlier runs, the oldest first."""
    facts = monitored.facts()
    with connect(database, application="steam-recsys monitor") as connection, connection.cursor() as cursor:
        cursor.execute(_EARLIER_RUNS, [run])
        earlier = [MeasuredRun(*row) for row in cursor.fetchall()[::-1]]
        cursor.execute(
            _RECORD,
            [run, manifest.extracted_at, as_of, facts["model_version"], facts["retrain"], Json(facts["reasons"]),
             Json(facts["figures"]), Json(facts["feedback"])],
        )  # fmt: skip
    return earlier
