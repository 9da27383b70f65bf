"""The overview: publications, measurements and runs, and the rollback form."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from explorer.overview import DRIFT_LINES, QUALITY_LINES, chart
from explorer.schemas import Measurement
from tests.explorer.conftest import TOKEN, PublishedShop, serving
from tests.explorer.parsed_page import Page
from tests.explorer.publishing_runs import USERS
from tests.explorer.training_runs import record_run, stages_of

NIGHT = datetime(2024, 3, 5, 4, 30, tzinfo=UTC)


def overview(client: httpx.Client) -> Page:
    return Page(client.get("/overview"))


def measured(night: int, retrain: bool = False, **figures: float | None) -> Measurement:
    moment = NIGHT + timedelta(days=night)
    return Measurement(moment, moment.date(), f"run {night}", "model-1", retrain, [], figures)


def remember(published_shop: PublishedShop, *measurements: Measurement) -> None:
    """Write measurements into the database."""
    with published_shop.connection() as connection, connection.cursor() as cursor:
        for each in measurements:
            cursor.execute(
                "INSERT INTO recsys.monitoring (run_id, measured_at, as_of, model_version, retrain, reasons, figures) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                [each.run_id, each.measured_at, each.as_of, each.model_version, each.retrain,
                 json.dumps(each.reasons), json.dumps(each.figures)],
            )  # fmt: skip


def test_publications_counts_and_coverage_are_shown(published_shop: PublishedShop, client: httpx.Client) -> None:
    shown = overview(client)
    assert published_shop.plan.version in shown.texts
    assert "current" in shown.texts
    assert "of the available games are recommended to at least one user" in shown.text
    headings = ["Publications", "Coverage", "The model", "Realised quality", "Drift", "Runs"]
    assert [text for text in shown.texts if text in headings] == headings


def test_before_the_first_measurement_and_run_the_overview_says_so(
    published_shop: PublishedShop, client: httpx.Client
) -> None:
    shown = overview(client)
    assert shown.text.count("Nothing has been measured yet") == 2
    assert "No pipeline has run yet." in shown.text
    assert not shown.all("figure")


def test_the_current_model_is_shown_with_its_baselines(changing: PublishedShop) -> None:
    with changing.connection() as connection:
        record_run(connection, "first", NIGHT, stages_of("model-1", NIGHT))
        record_run(connection, "other", NIGHT + timedelta(days=1), stages_of("model-2", NIGHT))
    remember(changing, measured(1, model_age_days=3))
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    for text in (
        "Version model-1 Trained 5 Mar 2024, 04:31 UTC Trained on reviews until 2 Mar 2024 Gate passed",
        "Ranking NDCG@10 Recall@20 the model 0.2033 0.3723 recent popularity 0.2036 0.3682",
        "the champion of that time 0.1999 0.3701 popularity 0.1819",
        "Reviews of 1,676 users from 5 Oct 2015 on",
    ):
        assert text in shown.text


def test_a_model_without_a_recorded_evaluation_says_so(client: httpx.Client) -> None:
    shown = overview(client)
    assert "Version model-1 Trained on – No recorded run evaluated this model." in shown.text


def test_a_run_shows_the_gates_verdict(changing: PublishedShop) -> None:
    with changing.connection() as connection:
        record_run(connection, "first", NIGHT, stages_of("model-1", NIGHT))
        later = NIGHT + timedelta(days=1)
        record_run(connection, "second", later, stages_of("model-2", later, passed=False), "inference")
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    assert "Model model-1 passed the gate." in shown.text
    sentence = "Model model-2 did not pass the gate, so the champion stays. NDCG@10 of all users is 0.2033"
    assert sentence in shown.text
    assert "3 of at least 100 users" not in shown.text


def test_quality_and_drift_have_charts_and_tables(changing: PublishedShop) -> None:
    figures = {"ndcg": 0.12, "ndcg_lower": 0.11, "ndcg_upper": 0.13, "popular_ndcg": 0.1, "judged_users": 1234,
               "hit_rate": 0.3, "hit_rate_lower": 0.28, "hit_rate_upper": 0.32}  # fmt: skip
    drift = {"psi_games": 0.2, "psi_genres": 0.1, "psi_history_lengths": 0.05}
    last = replace(measured(9, True, **figures, **drift), reasons=["The games drifted."])
    remember(changing, measured(1, **figures, **drift), measured(2, ndcg=None), last)
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    assert len(shown.all("figure")) == len(shown.all("figcaption")) == len(shown.all("svg", role="img")) == 2
    for text in (
        "0.1200 (0.1100 to 0.1300)",
        "0.3000 (0.2800 to 0.3200)",
        "1,234",
        "0.0500",
        "14 Mar 2024, 04:30 UTC",
        "The games drifted.",
    ):
        assert text in shown.text
    assert "retrain The games drifted." in shown.text
    regions = shown.all("div", role="region")
    assert len(regions) == 3
    assert all(region["tabindex"] == "0" and region["aria-labelledby"] for region in regions)


def test_one_measurement_has_a_table_but_no_chart(changing: PublishedShop) -> None:
    remember(changing, measured(1, ndcg=None, judged_users=0, psi_games=0.25))
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    assert not shown.all("figure")
    assert "Not enough data yet" in shown.text
    assert "0.2500" in shown.text
    assert "keep" in shown.text


def test_drift_without_reviews_is_shown_as_unknown(changing: PublishedShop) -> None:
    nothing = {"reviews_since_training": 0, "psi_games": 0.0, "psi_genres": 0.0, "psi_history_lengths": 0.0}
    remember(changing, measured(1, **nothing), measured(2, **nothing))
    with serving(changing.settings()) as served:
        shown = overview(served.client)
        assert not shown.all("figure")
        assert "Not enough data yet: no reviews since the model's training." in shown.text
        assert shown.text.count("0 not enough data – – –") == 2
        known = {"reviews_since_training": 7, "psi_games": 0.3, "psi_genres": 0.0}
        remember(changing, measured(3, **known), measured(4, **known))
        shown = overview(served.client)
    assert "no reviews since the model's training" not in shown.text
    assert shown.text.count("7 0.3000 0.0000 –") == 2
    assert len(shown.all("figure")) == 1
    assert "6 Mar 2024:" not in shown.text
    assert "8 Mar 2024: 0.3000" in shown.text


def test_coverage_states_its_sample(published_shop: PublishedShop, client: httpx.Client) -> None:
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT round(avg(cardinality(game_ids))) FROM recsys.recommendations")
        ((games,),) = cursor.fetchall()
    sentence = f"Estimated from all published recommendations of a sample of {USERS} users, about {games} games each."
    assert sentence in overview(client).text


def test_runs_show_states_durations_and_stages(changing: PublishedShop) -> None:
    stages = [{"stage": "train", "seconds": 75.0, "peak_memory_mb": 812.4}, {"stage": "evaluate", "error": "no memory"}]
    with changing.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, error, started_at, finished_at, stages) VALUES "
            "('run-1', 'training', 'FAILED', 'There is no memory left.', %s, %s, %s), "
            "('run-2', 'inference', 'SUCCEEDED', NULL, NULL, %s, '[]')",
            [NIGHT, NIGHT + timedelta(hours=1, minutes=2), json.dumps(stages), NIGHT],
        )
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    for text in (
        "training failed",
        "took 1 h 2 min",
        "There is no memory left.",
        "train 1 min 812 MB",
        "inference succ",
    ):
        assert text in shown.text
    assert "evaluate – – MB" not in shown.text


@pytest.mark.parametrize("missing", [None, "operator_token", "operator_database_url"])
def test_the_rollback_form_is_shown_only_if_configured(published_shop: PublishedShop, missing: str | None) -> None:
    settings = {"operator_token": TOKEN, "operator_database_url": published_shop.url, missing or "": None}
    settings.pop("", None)
    with serving(published_shop.settings(**settings)) as served:
        answer = served.client.get("/overview")
    shown = Page(answer)
    forms = shown.all("form", action="/rollback", method="post")
    if missing:
        assert forms == []
        return
    assert len(forms) == 1
    assert shown.all("input", name="token")[0]["type"] == "password"
    assert shown.all("select", name="version")
    assert TOKEN not in answer.text
    # Without it a browser says that the form comes from nowhere, and it is refused.
    assert shown.all("meta", name="referrer", content="same-origin")


def test_a_chart_shows_measurements_in_order_without_missing_ones() -> None:
    monitoring = [measured(3, ndcg=0.3), measured(2, ndcg=None), measured(1, ndcg=0.1, popular_ndcg=0.2)]
    drawn = chart("NDCG", QUALITY_LINES, monitoring)
    assert drawn is not None
    assert drawn.index("recommendations, 6 Mar 2024: 0.1000") < drawn.index("recommendations, 8 Mar 2024: 0.3000")
    assert "recent popularity, 6 Mar 2024: 0.2000" in drawn
    assert "7 Mar 2024:" not in drawn
    assert chart("drift", DRIFT_LINES, monitoring) is None
    assert chart("drift", DRIFT_LINES, []) is None


def test_a_chart_of_one_day_shows_times() -> None:
    monitoring = [replace(measured(0, psi_games=0.1), measured_at=NIGHT + timedelta(hours=h)) for h in (10, 0)]
    drawn = chart("drift", DRIFT_LINES, monitoring)
    assert drawn is not None
    assert ">5 Mar, 09:30<" in drawn
