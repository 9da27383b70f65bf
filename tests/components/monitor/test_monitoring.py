"""The stage on a real PostgreSQL: its figures, its records and its report."""

import json
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from psycopg2.extensions import connection as Connection

from components.monitor.decision import Thresholds
from components.monitor.monitoring import Monitored, monitor
from components.notify.outcome import conclude
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig
from steam_recsys.stage import stage
from steam_recsys.storage.manifest import complete_artifact
from tests.components.monitor.test_quality import publish_lists
from tests.components.predict.artifacts import promote_model, write_model
from tests.shop import add_game, add_user
from tests.snapshots import write_snapshot_of

TRAINED = date(2020, 6, 30)
UNTIL_THEN = [(user, 1 + user % 3, TRAINED) for user in range(1, 10)]


@pytest.fixture
def champion(tmp_path: Path, store: str) -> None:
    model = write_model(tmp_path / "model", [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    described = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(
        json.dumps({**described, "trained_until": TRAINED.isoformat(), "catalogue_games": 3})
    )
    complete_artifact(model)
    promote_model(store, model)


def watch(database: str, snapshot: Snapshot, store: str, tmp_path: Path, run: str = "run-1") -> Monitored:
    report = tmp_path / "reports" / f"{run}.html"
    return monitor(snapshot.root, DestinationConfig(database), store, report, run, Thresholds(drift_reviews=2))


def rows(connection: Connection) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, model_version, as_of, retrain, reasons, figures FROM recsys.monitoring ORDER BY 1"
        )
        return cursor.fetchall()


def test_a_recent_model_stays_and_the_figures_are_recorded_and_shown(
    shop: Connection, database: str, store: str, champion: None, tmp_path: Path
) -> None:
    snapshot = write_snapshot_of(tmp_path / "shop", UNTIL_THEN, n_games=3)
    monitored = watch(database, snapshot, store, tmp_path)
    assert not monitored.decision.retrain
    ((run, model, as_of, retrain, reasons, figures),) = rows(shop)
    assert (run, model, as_of, retrain, reasons) == ("run-1", "model-1", date(2020, 7, 1), False, [])
    assert figures == monitored.figures
    assert (figures["reviews"], figures["model_age_days"], figures["judged_users"], figures["ndcg"]) == (9, 0, 0, None)
    page = (tmp_path / "reports" / "run-1.html").read_text()
    assert "The model stays." in page
    assert "not enough evidence" in page


def test_realised_quality_is_recorded_with_intervals_and_shown(
    shop: Connection, database: str, store: str, champion: None, tmp_path: Path
) -> None:
    for number in range(1, 10):
        add_user(shop, f"user {number}")
    for number in range(1, 4):
        add_game(shop, f"Game {number}")
    tomorrow = TRAINED + timedelta(days=1)
    publish_lists(tmp_path, database, "v1", tomorrow, {user: [1 + (user + 1) % 3] for user in range(1, 10)}, [3])
    hits = [(user, 1 + (user + 1) % 3, tomorrow) for user in range(1, 6)]
    misses = [(user, 1 + (user + 2) % 3, tomorrow) for user in range(6, 10)]
    snapshot = write_snapshot_of(tmp_path / "shop", [*UNTIL_THEN, *hits, *misses], n_games=3)
    figures = watch(database, snapshot, store, tmp_path).figures
    assert (figures["judged_users"], figures["ndcg"], figures["hit_rate"]) == (9, 5 / 9, 5 / 9)
    for name in ("ndcg", "hit_rate", "popular_ndcg", "popular_hit_rate"):
        low, value, high = (figures[f"{name}{end}"] for end in ("_lower", "", "_upper"))
        assert low is not None
        assert value is not None
        assert high is not None
        assert 0 <= low < value < high <= 1
    page = (tmp_path / "reports" / "run-1.html").read_text()
    # Each of three games is all that three of the users have, and one of them is the popular one.
    assert [figures[name] for name in ("overlap", "coverage", "popular_ten")] == pytest.approx([0.25, 1.0, 1 / 3])
    assert "<td>overlap of two users&#39; first ten published games</td><td>0.2500</td>" in page
    interval = f"0.5556 ({figures['hit_rate_lower']:.4f} to {figures['hit_rate_upper']:.4f})"
    assert f"<td>realised hit rate@10</td><td>{interval}</td><td>not measured</td>" in page


def test_failed_rules_are_reported_and_the_previous_run_is_shown_too(
    shop: Connection, database: str, store: str, champion: None, tmp_path: Path
) -> None:
    watch(database, write_snapshot_of(tmp_path / "before", UNTIL_THEN, n_games=3), store, tmp_path)
    later = [(user, 4, TRAINED + timedelta(days=user)) for user in range(1, 10)]
    snapshot = write_snapshot_of(tmp_path / "after", [*UNTIL_THEN, *later], n_games=4)
    for _ in range(2):  # again for the same run replaces what it found
        monitored = watch(database, snapshot, store, tmp_path, "run-2")
    assert monitored.decision.retrain
    assert [reason.split(":")[0] for reason in monitored.decision.reasons] == [
        "Population stability index of the games",
        "Population stability index of the history lengths",
        "Share of new reviews of games unknown to the model",
        "Days of reviews that the model lacks",
        "Share of the catalogue's games that were added since the training",
    ]
    assert monitored.figures["model_age_days"] == 9
    assert monitored.figures["games_without_vector_share"] == 0.25
    assert monitored.figures["vector_norm_change"] == -1  # all new reviews are of the game that is unknown
    assert [(run, retrain) for run, _, _, retrain, _, _ in rows(shop)] == [("run-1", False), ("run-2", True)]
    page = (tmp_path / "reports" / "run-2.html").read_text()
    assert "<td>reviews</td><td>18</td><td>9</td>" in page
    assert "<svg" in page


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED"])
def test_the_run_after_a_training_or_a_failed_one_waits(
    shop: Connection, database: str, store: str, champion: None, tmp_path: Path, state: Literal["SUCCEEDED", "FAILED"]
) -> None:
    old = [(user, 1, TRAINED + timedelta(days=9)) for user in range(1, 3)]
    snapshot = write_snapshot_of(tmp_path / "shop", [*UNTIL_THEN, *old], n_games=3)
    assert watch(database, snapshot, store, tmp_path, "run-1").decision.retrain
    assert watch(database, snapshot, store, tmp_path, "run-2").decision.retrain  # run-1 has no recorded end
    conclude(database, store, "run-2", "inference", [], state, None)
    waiting = watch(database, snapshot, store, tmp_path, "run-3")
    assert not waiting.decision.retrain
    assert waiting.decision.cooling_down
    assert "a training was tried a few days ago" in (tmp_path / "reports" / "run-3.html").read_text()
    assert watch(database, snapshot, store, tmp_path, "run-2").decision.retrain  # the same run decides the same again


def test_inference_waits_after_a_training_pipelines_model_did_not_pass_the_gate(
    shop: Connection, database: str, store: str, champion: None, tmp_path: Path
) -> None:
    old = [(user, 1, TRAINED + timedelta(days=9)) for user in range(1, 3)]
    snapshot = write_snapshot_of(tmp_path / "shop", [*UNTIL_THEN, *old], n_games=3)
    assert watch(database, snapshot, store, tmp_path, "run-1").decision.retrain
    for run, promoted in (("promoted", True), ("refused", False)):
        assert watch(database, snapshot, store, tmp_path, f"before {run}").decision.retrain
        with stage("train", store, run) as record:
            record.facts["as_of"] = (TRAINED + timedelta(days=10)).isoformat()
        with stage("evaluate", store, run) as record:
            record.facts["promote"] = promoted
        conclude(database, store, run, "training", [], "SUCCEEDED", None)
    waiting = watch(database, snapshot, store, tmp_path, "run-2")
    assert waiting.decision.cooling_down
    later = [(user, 1, TRAINED + timedelta(days=13)) for user in range(1, 3)]
    snapshot = write_snapshot_of(tmp_path / "later", [*UNTIL_THEN, *later], n_games=3)
    assert watch(database, snapshot, store, tmp_path, "run-3").decision.retrain


def test_a_training_on_a_wrong_day_does_not_delay_the_next(
    shop: Connection, database: str, store: str, champion: None, tmp_path: Path
) -> None:
    late = [(1, 1, TRAINED + timedelta(days=9)), (2, 1, TRAINED + timedelta(days=9))]
    mistaken = write_snapshot_of(tmp_path / "mistaken", [*UNTIL_THEN, *late, (3, 1, date(2099, 1, 1))], n_games=3)
    assert watch(database, mistaken, store, tmp_path, "run-1").decision.retrain
    conclude(database, store, "run-1", "inference", [], "SUCCEEDED", None)
    shop.cursor().execute("UPDATE recsys.monitoring SET measured_at = measured_at - interval '1 day'")
    corrected = write_snapshot_of(tmp_path / "corrected", [*UNTIL_THEN, *late], n_games=3)
    assert watch(database, corrected, store, tmp_path, "run-2").decision.retrain
    conclude(database, store, "run-2", "inference", [], "SUCCEEDED", None)
    assert watch(database, corrected, store, tmp_path, "run-3").decision.cooling_down


def test_without_a_champion_one_is_trained(shop: Connection, database: str, store: str, tmp_path: Path) -> None:
    monitored = watch(database, write_snapshot_of(tmp_path / "shop", UNTIL_THEN), store, tmp_path)
    assert monitored.facts()["reasons"] == ["There is no champion yet."]
    assert monitored.decision.retrain
    ((_, model, _, retrain, _, figures),) = rows(shop)
    assert (model, retrain, figures["users"]) == (None, True, 9)


def test_reviews_without_days_have_figures_too(
    shop: Connection, database: str, store: str, champion: None, tmp_path: Path
) -> None:
    snapshot = write_snapshot_of(tmp_path / "shop", [(1, 1, None)], n_games=3)
    monitored = watch(database, snapshot, store, tmp_path)
    assert monitored.figures["reviews_since_training"] == 0
    assert monitored.figures["psi_games"] is None
    monitored.write(tmp_path / "artifacts" / "monitoring")
    assert json.loads((tmp_path / "artifacts" / "monitoring").read_text()) == monitored.facts()


def test_a_champion_of_another_version_of_the_project_is_reported(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    promote_model(store, write_model(tmp_path / "model", [[1.0, 0.0]]))
    with pytest.raises(UserError, match=r"is of another version of this project \(trained_until\): train again"):
        watch(database, write_snapshot_of(tmp_path / "shop", UNTIL_THEN), store, tmp_path)


def test_it_imports_nothing_that_only_the_model_image_has() -> None:
    look = "import sys, components.monitor.monitoring; print({'implicit', 'scipy', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
