"""Probes and metrics."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client import generate_latest
from psycopg2.extras import Json

from explorer import health
from explorer.health import Gauges
from explorer.schemas import Publication
from tests.explorer.conftest import PublishedShop, serving
from tests.explorer.publishing_runs import GAMES, USERS
from tests.explorer.training_runs import record_run

SAMPLE = re.compile(r'([a-z_]+)((?:\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\})?) (\S+)')


def samples(text: str) -> dict[str, float]:
    """Return samples by name and labels; each metric must have one HELP and one TYPE before its samples."""
    found, described = {}, []
    for line in text.splitlines():
        if line.startswith("# HELP "):
            described.append(line.split()[2])
            continue
        if line.startswith("# TYPE "):
            assert line.split()[2] == described[-1]
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        assert name.startswith(described[-1])
        assert name + labels not in found
        found[name + labels] = float(value)
    assert len(described) == len(set(described))
    return found


def test_the_explorer_is_alive_without_a_database_and_ready_with_one(
    client: httpx.Client, published_shop: PublishedShop
) -> None:
    assert client.get("/healthz").text == "ok\n"
    assert client.get("/readyz").text == "ready\n"
    with serving(published_shop.settings(database_url="postgresql://unknown@127.0.0.1:1/nothing")) as served:
        assert served.client.get("/healthz").status_code == 200
        assert served.client.get("/readyz").status_code == 503
        found = samples(served.client.get("/metrics").text)
        assert found["steam_recsys_database_up"] == 0
        assert not [name for name in found if name.startswith(("steam_recsys_rows", "steam_recsys_figures"))]
        assert found['steam_recsys_http_requests_total{route="/readyz",status="5xx"}'] == 1


@pytest.mark.parametrize(("seconds", "looks"), [(3600.0, 2), (0.0, 10)])
def test_only_a_successful_readiness_check_is_remembered(
    published_shop: PublishedShop, monkeypatch: pytest.MonkeyPatch, seconds: float, looks: int
) -> None:
    monkeypatch.setattr(health, "READY_SECONDS", seconds)
    with serving(published_shop.settings(store=None)) as served:
        repository, looked = served.app.state.repository, []
        publication = repository.publication

        async def noted() -> Publication | None:
            looked.append(1)
            return await publication() if len(looked) > 1 else None

        repository.publication = noted
        statuses = [served.client.get("/readyz").status_code for _ in range(10)]
    assert statuses == [503] + [200] * 9
    assert len(looked) == looks


def test_metrics_cover_the_publication_the_runs_and_the_tables(changing: PublishedShop) -> None:
    now = datetime.now(UTC)
    stages = [
        {"stage": "predict", "part": "0", "seconds": 2.0, "peak_memory_mb": 100.0},
        {"stage": "predict", "part": "1", "seconds": 3.5, "peak_memory_mb": 300.0},
        {"stage": "extract", "part": "", "seconds": 1.0, "peak_memory_mb": 50.0},
    ]
    with changing.connection() as connection, connection.cursor() as cursor:
        for run, state, hours in (("a", "SUCCEEDED", 30), ("b", "SUCCEEDED", 6), ("c", "FAILED", 2)):
            cursor.execute(
                "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, started_at, finished_at, stages) "
                "VALUES (%s, 'inference', %s, %s, %s, %s)",
                [run, state, now - timedelta(hours=hours, minutes=5), now - timedelta(hours=hours), Json(stages)],
            )
        cursor.execute(
            "INSERT INTO recsys.monitoring (run_id, measured_at, as_of, retrain, figures) VALUES "
            "('a', %s, '2020-01-01', false, '{}'), ('b', %s, '2020-01-02', true, %s)",
            [now - timedelta(hours=30), now - timedelta(hours=6), Json({"ndcg": 0.25, "psi_games": None})],
        )
        cursor.execute("SELECT max(reviewed_on) FROM steam.reviews")
        ((newest,),) = cursor.fetchall()
    with serving(changing.settings()) as served:
        served.wait_for_model(changing.plan.version)
        answer = served.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(answer.text)
    plan = changing.plan
    info = f'model="{plan.model_version}",snapshot="{plan.snapshot_id}",version="{plan.version}"'
    assert found[f"steam_recsys_publication_info{{{info}}}"] == 1
    assert found[f'steam_recsys_live_model_info{{model="model-1",version="{plan.version}"}}'] == 1
    assert found["steam_recsys_publication_users"] == USERS
    assert found['steam_recsys_rows{table="games"}'] == GAMES
    days = (now.date() - newest).days
    assert found["steam_recsys_publication_data_age_days"] in (days, days + 1)  # midnight may have passed
    assert found["steam_recsys_retrain"] == 1
    assert 6 * 3600 <= found["steam_recsys_monitoring_age_seconds"] < 30 * 3600
    assert {name: value for name, value in found.items() if "_monitoring{" in name} == {
        'steam_recsys_monitoring{figure="ndcg"}': 0.25
    }
    assert found["steam_recsys_publication_published_age_seconds"] >= 0
    succeeded = 'pipeline="inference",state="SUCCEEDED"'
    predict = 'pipeline="inference",stage="predict",state="SUCCEEDED"'
    assert 6 * 3600 <= found[f"steam_recsys_run_age_seconds{{{succeeded}}}"] < 30 * 3600
    assert found[f"steam_recsys_run_duration_seconds{{{succeeded}}}"] == pytest.approx(300)
    assert found['steam_recsys_run_age_seconds{pipeline="inference",state="FAILED"}'] >= 2 * 3600
    assert found[f"steam_recsys_stage_seconds{{{predict}}}"] == 5.5
    assert found[f"steam_recsys_stage_peak_memory_megabytes{{{predict}}}"] == 300


def test_unreadable_figures_do_not_hide_others(changing: PublishedShop) -> None:
    with changing.connection() as connection, connection.cursor() as cursor:
        cursor.execute("REVOKE SELECT ON recsys.pipeline_runs FROM recsys_reader")
    with serving(changing.settings()) as served:
        found = samples(served.client.get("/metrics").text)
    assert found["steam_recsys_database_up"] == 1
    assert found["steam_recsys_publication_users"] == USERS
    assert found['steam_recsys_rows{table="games"}'] == GAMES
    assert {name: value for name, value in found.items() if "_figures_missing{" in name} == {
        'steam_recsys_figures_missing{of="publication"}': 0,
        'steam_recsys_figures_missing{of="runs"}': 1,
        'steam_recsys_figures_missing{of="rows"}': 0,
        'steam_recsys_figures_missing{of="monitoring"}': 0,
    }


def test_requests_are_counted_by_route_and_status_and_timed(published_shop: PublishedShop) -> None:
    with serving(published_shop.settings()) as served:
        for path in ("users/1", "users/2", "users/x", "games/1/similar?limit=0"):
            served.client.get(f"/api/v1/{path}")
        served.client.get("/nowhere/at/all")
        served.client.post("/api/v1/recommend", content=b"{")
        found = samples(served.client.get("/metrics").text)
    requests = {name: value for name, value in found.items() if "http_requests_total" in name}
    assert requests == {
        'steam_recsys_http_requests_total{route="/api/v1/users/{user_id}",status="2xx"}': 2,
        'steam_recsys_http_requests_total{route="/api/v1/users/{user_id}",status="4xx"}': 1,
        'steam_recsys_http_requests_total{route="/api/v1/games/{game_id}/similar",status="4xx"}': 1,
        'steam_recsys_http_requests_total{route="/api/v1/recommend",status="4xx"}': 1,
        'steam_recsys_http_requests_total{route="other",status="4xx"}': 1,
    }
    name = 'steam_recsys_http_request_duration_seconds_{}{{route="/api/v1/users/{{user_id}}"}}'
    assert found[name.format("count")] == 3
    assert found[name.format("sum")] > 0
    last = 'steam_recsys_http_request_duration_seconds_bucket{le="+Inf",route="/api/v1/users/{user_id}"}'
    assert found[last] == 3


def test_stages_without_figures_are_left_out_of_the_metrics(changing: PublishedShop) -> None:
    stages = [
        {"stage": "predict", "seconds": None, "peak_memory_mb": 100.0},
        {"stage": "predict", "seconds": 2.0},
        {"seconds": 1.0},
        {"stage": "extract"},
    ]
    with changing.connection() as connection:
        record_run(connection, "odd", datetime.now(UTC), stages)
    with serving(changing.settings()) as served:
        found = samples(served.client.get("/metrics").text)
    assert found['steam_recsys_figures_missing{of="runs"}'] == 0
    labels = '{pipeline="training",stage="predict",state="SUCCEEDED"}'
    assert {name: value for name, value in found.items() if "_stage_" in name} == {
        f"steam_recsys_stage_seconds{labels}": 2.0,
        f"steam_recsys_stage_peak_memory_megabytes{labels}": 100.0,
    }


def test_a_group_of_figures_that_fails_does_not_hide_the_others(
    changing: PublishedShop, caplog: pytest.LogCaptureFixture
) -> None:
    with changing.connection() as connection:
        record_run(connection, "odd", datetime.now(UTC), [{"stage": "predict", "seconds": "two"}])
    with serving(changing.settings()) as served:
        found = samples(served.client.get("/metrics").text)
    assert found['steam_recsys_figures_missing{of="runs"}'] == 1
    assert found["steam_recsys_publication_users"] == USERS
    assert found['steam_recsys_rows{table="games"}'] == GAMES
    assert "The figures of the group runs cannot be read." in caplog.text


WORKER = """
import sys
from explorer.health import RequestMetrics
metrics = RequestMetrics()
metrics.count("/a", 200, 0.003)
metrics.count("/b", 503, 9.0)
metrics.count(None, 404, 0.001)
"""


def test_metrics_are_summed_over_workers_including_those_that_ended(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(3):
        subprocess.run([sys.executable, "-c", WORKER], env=environment, check=True)
    report = "from prometheus_client import generate_latest\nprint(generate_latest(metrics.registry()).decode())"
    done = subprocess.run(
        [sys.executable, "-c", WORKER + report], env=environment, check=True, capture_output=True, text=True
    )
    found = samples(done.stdout.strip())
    assert {name: value for name, value in found.items() if "requests_total" in name} == {
        'steam_recsys_http_requests_total{route="/a",status="2xx"}': 4,
        'steam_recsys_http_requests_total{route="/b",status="5xx"}': 4,
        'steam_recsys_http_requests_total{route="other",status="4xx"}': 4,
    }
    name = "steam_recsys_http_request_duration_seconds"
    assert found[f'{name}_sum{{route="/a"}}'] == pytest.approx(0.012)
    assert found[f'{name}_bucket{{le="0.0025",route="/a"}}'] == 0
    assert found[f'{name}_bucket{{le="0.005",route="/a"}}'] == 4
    assert found[f'{name}_bucket{{le="0.001",route="other"}}'] == 4
    assert found[f'{name}_bucket{{le="5.0",route="/b"}}'] == 0
    assert found[f'{name}_bucket{{le="+Inf",route="/b"}}'] == 4


def test_labels_are_escaped_and_nan_is_written() -> None:
    gauges = Gauges()
    gauges.add("rows", float("nan"), table='a"b\\c\nd')
    gauges.add("rows", 12345678901, table="b")
    text = generate_latest(gauges).decode()
    found = samples(text.strip())
    assert found['steam_recsys_rows{table="b"}'] == 12345678901
    assert r'steam_recsys_rows{table="a\"b\\c\nd"} NaN' in text
