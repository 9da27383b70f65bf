"""The overview: publications, measurements, runs and training results; and rolling back."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import psycopg2
import pytest
from psycopg2.extensions import make_dsn, parse_dsn

from demo.postgres import EmbeddedPostgres
from explorer.middleware import RateLimiter
from explorer.overview import DRIFT_LINES, QUALITY_LINES, chart, trained_until, training_result
from explorer.schemas import Measurement, PipelineRun
from explorer.status import RankingResult
from tests.explorer.conftest import TOKEN, PublishedShop, RunningExplorer, published_shop_in, serving
from tests.explorer.parsed_page import Page
from tests.explorer.publishing_runs import promote_random_model, run_inference
from tests.explorer.training_runs import facts_of, record_run, stages_of

NIGHT = datetime(2024, 3, 5, 4, 30, tzinfo=UTC)
STARTED = datetime(2024, 3, 5, 4, 30, tzinfo=UTC)


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
                "INSERT INTO recsys.monitoring "
                "(run_id, measured_at, as_of, model_version, retrain, reasons, figures, feedback) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
                [each.run_id, each.measured_at, each.as_of, each.model_version, each.retrain,
                 json.dumps(each.reasons), json.dumps(each.figures), json.dumps(each.feedback)],
            )  # fmt: skip


def test_publications_counts_and_coverage_are_shown(published_shop: PublishedShop, client: httpx.Client) -> None:
    shown = overview(client)
    assert published_shop.plan.version in shown.texts
    assert "current" in shown.texts
    assert "on time; quality has not been measured yet;" in shown.text
    headings = ["Trends", "Publications", "The model", "Realised quality", "Drift", "Runs", "The shop's data"]
    assert [text for text in shown.texts if text in headings] == headings


def test_before_the_first_measurement_and_run_the_overview_says_so(
    published_shop: PublishedShop, client: httpx.Client
) -> None:
    shown = overview(client)
    assert shown.text.count("Nothing has been measured yet") == 2
    assert "No pipeline has run yet." in shown.text
    assert "Not measured yet." in shown.text
    assert "the shop records no events" not in shown.text
    assert not shown.all("figure")


def test_the_current_model_is_shown_with_its_baselines(changing: PublishedShop) -> None:
    with changing.connection() as connection:
        record_run(connection, "first", NIGHT, stages_of("model-1", NIGHT))
        record_run(connection, "other", NIGHT + timedelta(days=1), stages_of("model-2", NIGHT))
    remember(changing, measured(1, model_age_days=3))
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    for text in (
        "Version model-1 Trained 5 Mar 2024, 04:31 UTC Trained on reviews until 2 Mar 2024 Quality check passed",
        "the model 0.2033 0.3723 recent popularity level 0.2036 0.3682 −0.0003 (−0.0033 to 0.0027)",
        "the champion of that time better 0.1999 0.3701 0.0034 (0.0004 to 0.0064) popularity better 0.1819",
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
    sentence = "Model model-2 did not pass the gate, so the present model stays. NDCG@10 of all users: 0.2033"
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
    assert len(shown.all("figure")) == len(shown.all("figcaption")) == 2
    assert len(shown.all("svg", role="img")) == 3  # with the line of the trend of quality
    for text in (
        "0.1200 (0.1100 to 0.1300)",
        "0.3000 (0.2800 to 0.3200)",
        "1,234",
        "0.0500",
        "14 Mar 2024, 04:30 UTC",
        "The games drifted.",
    ):
        assert text in shown.text
    assert "train again The games drifted." in shown.text
    regions = shown.all("div", role="region")
    assert len(regions) == 3
    assert all(region["tabindex"] == "0" and region["aria-labelledby"] for region in regions)


def test_what_users_do_is_shown_list_by_list(changing: PublishedShop) -> None:
    share = {"mean": 0.125, "low": 0.1, "high": 0.15, "error": 0.01}
    shown_list = {"users": 1_234, "shown": 56_789, "clicked": share, "bought": share, "dismissed": share}
    lists = [{"shelf": name, **shown_list} for name in ("discovery", "<b>checkout</b>")]
    feedback = {
        "overall": {"shelf": "", **shown_list},
        "lists": lists,
        "summary": "Neither group is shown to buy more.",
    }
    remember(changing, replace(measured(1, ndcg=None), feedback=feedback))
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    assert [text for text in shown.texts if text in ("All lists", "Hidden gems", "<b>checkout</b>")] == [
        "All lists", "Hidden gems", "<b>checkout</b>"
    ]  # fmt: skip
    assert "12.5 %" in shown.text
    assert "(10.0 % to 15.0 %)" in shown.text
    assert "Neither group is shown to buy more." in shown.text


def test_without_recorded_events_a_measurement_says_so(changing: PublishedShop) -> None:
    remember(changing, measured(1, ndcg=None))
    with serving(changing.settings()) as served:
        assert "Not measured: the shop records no events" in overview(served.client).text


def test_one_measurement_has_a_table_but_no_chart(changing: PublishedShop) -> None:
    remember(changing, measured(1, ndcg=None, judged_users=0, psi_games=0.25))
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    assert not shown.all("figure")
    assert "Not enough data yet" in shown.text
    assert "0.2500" in shown.text
    assert "keep the model" in shown.text


def test_drift_without_reviews_is_shown_as_unknown(changing: PublishedShop) -> None:
    nothing = {"reviews_since_training": 0, "psi_games": None, "psi_genres": None, "psi_history_lengths": None}
    remember(changing, measured(1, **nothing), measured(2, **nothing))
    with serving(changing.settings()) as served:
        shown = overview(served.client)
        assert not shown.all("figure")
        assert "Not enough data yet: no reviews since the model's training." in shown.text
        assert shown.text.count("0 not measured not measured not measured") == 2
        known = {"reviews_since_training": 7, "psi_games": 0.3, "psi_genres": 0.0}
        remember(changing, measured(3, **known), measured(4, **known))
        shown = overview(served.client)
    assert "no reviews since the model's training" not in shown.text
    assert shown.text.count("7 0.3000 0.0000 not measured") == 2
    assert len(shown.all("figure")) == 1
    assert "6 Mar 2024:" not in shown.text
    assert "8 Mar 2024: 0.3000" in shown.text


def test_the_kept_publications_say_how_personal_they_are(published_shop: PublishedShop, client: httpx.Client) -> None:
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT coverage, overlap, popular_ten FROM recsys.publications WHERE current")
        coverage, overlap, popular_ten = cursor.fetchone()
    text = overview(client).text
    assert f"{100 * coverage:.1f} % {100 * overlap:.1f} %" in text
    assert f"{100 * popular_ten:.1f} % of the users get the ten most popular games" in text
    assert f"{100 * coverage:.1f} % of the games are in some user's first ten" in text


def test_trends_follow_what_runs_published(changing: PublishedShop) -> None:
    facts = {"version": "before", "users": 25, "overlap": 0.5, "coverage": 0.1, "switched": True}
    stages = [{"stage": "plan"}, {"stage": "reverse_etl", "facts": facts}]
    again = [{"stage": "reverse_etl", "facts": {**facts, "users": 99, "switched": False}}]
    with changing.connection() as connection:
        record_run(connection, "night", NIGHT, stages, "inference")
        record_run(connection, "again", NIGHT, again, "inference")
    with serving(changing.settings()) as served:
        shown = overview(served.client)
    assert "Users with recommendations of their own 30 ▲ 5 more than at the publication before" in shown.text
    assert "From the start of the run to its end 2 min" in shown.text
    assert "1 is first, 0 not in the ten not measured" in shown.text
    assert "99" not in shown.texts


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


def test_the_rollback_form_is_shown_only_if_configured(client: httpx.Client, operated: RunningExplorer) -> None:
    assert overview(client).all("form", action="/rollback") == []
    answer = operated.client.get("/overview")
    shown = Page(answer)
    assert len(shown.all("form", action="/rollback", method="post")) == 1
    assert shown.all("input", name="token")[0]["type"] == "password"
    assert TOKEN not in answer.text
    # Without it a browser says that the form comes from nowhere, and it is refused.
    assert shown.all("meta", name="referrer", content="same-origin")


def test_without_an_earlier_publication_the_form_is_not_shown(published_shop: PublishedShop) -> None:
    settings = published_shop.settings(operator_token=TOKEN, operator_database_url=published_shop.url)
    with serving(settings) as served:
        assert overview(served.client).all("form", action="/rollback") == []


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


def run(stages: list[dict[str, Any]]) -> PipelineRun:
    return PipelineRun("run", "training", "SUCCEEDED", None, STARTED, STARTED, stages)


def monitored(as_of: date, version: str | None, **figures: float | None) -> Measurement:
    return Measurement(STARTED, as_of, "run", version, False, [], figures)


def test_a_result_has_its_baselines_the_best_first() -> None:
    found = training_result(run(stages_of("new", STARTED)))
    assert found is not None
    assert (found.version, found.users, found.cutoff) == ("new", 1676, date(2015, 10, 5))
    assert found.trained_at == STARTED + timedelta(minutes=1)
    assert found.own == RankingResult("the model", 0.2033, 0.3723)
    assert [(each.name, each.ndcg, each.recall, each.difference.outcome) for each in found.baselines] == [
        ("recent popularity", 0.2036, 0.3682, "level"),
        ("the champion of that time", 0.1999, 0.3701, "better"),
        ("popularity", 0.1819, 0.3327, "better"),
        ("item-kNN", 0.0796, 0.1642, "better"),
    ]
    assert found.passed
    assert found.failures == []


def test_a_failed_gate_lists_the_failed_rules() -> None:
    found = training_result(run(stages_of("new", STARTED, passed=False)))
    assert found is not None
    assert not found.passed
    assert [reason.partition(":")[0] for reason in found.failures] == ["NDCG@10 of all users"]


@pytest.mark.parametrize("missing", ["version", "cutoff", "promote", "failures", "users", "ndcg_at_10"])
def test_facts_of_another_version_give_no_result(missing: str) -> None:
    facts = {name: fact for name, fact in facts_of("new").items() if name != missing}
    assert training_result(run([{"stage": "evaluate", "facts": facts}])) is None
    assert training_result(run([{"stage": "evaluate", "facts": {**facts_of("new"), "cutoff": "lately"}}])) is None


def test_runs_without_an_evaluation_give_no_result() -> None:
    for stages in ([], [{"stage": "train"}], [{"stage": "evaluate", "facts": {}, "error": "no memory"}]):
        assert training_result(run(stages)) is None


def test_trained_until_is_the_day_of_a_measurement_minus_the_models_age() -> None:
    monitoring = [
        monitored(date(2016, 1, 9), "newer", model_age_days=0),
        monitored(date(2016, 1, 4), "model", model_age_days=None),
        monitored(date(2016, 1, 3), "model", model_age_days=2),
    ]
    assert trained_until("model", monitoring) == date(2015, 12, 31)
    assert trained_until("newer", monitoring) == date(2016, 1, 8)
    assert trained_until("unknown", monitoring) is None


@pytest.fixture(scope="module")
def two_to_copy(postgres: EmbeddedPostgres) -> Iterator[tuple[PublishedShop, str]]:
    """A shop with two publications, to be copied, and the second version."""
    with published_shop_in(postgres, "TWO_TO_COPY_URL") as shop:
        promote_random_model(shop.store, shop.folder / "model-2", "model-2", seed=1)
        yield shop, run_inference("env:TWO_TO_COPY_URL", shop.store, shop.folder).version


@pytest.fixture
def two_publications(
    postgres: EmbeddedPostgres, two_to_copy: tuple[PublishedShop, str]
) -> Iterator[tuple[PublishedShop, str]]:
    """A shop with two publications of the test's own, and the second version."""
    shop, second = two_to_copy
    with published_shop_in(postgres, "EXPLORER_OPERATOR_DATABASE_URL", shop) as copied:
        yield copied, second


@pytest.fixture
def operated(two_publications: tuple[PublishedShop, str]) -> Iterator[RunningExplorer]:
    """Its explorer, with rollback configured."""
    published_shop, _ = two_publications
    settings = {"operator_token": TOKEN, "operator_database_url": published_shop.url, "requests_per_second": 1e6}
    with serving(published_shop.settings(**settings)) as served:
        yield served


def roll_back(client: httpx.Client, token: str = TOKEN, **further: object) -> httpx.Response:
    return client.post(
        "/api/v1/rollback", headers={"authorization": f"Bearer {token}", **further.pop("headers", {})}, **further
    )


def version(client: httpx.Client) -> str:
    return client.get("/api/v1/users/1/recommendations").json()["version"]


def test_an_operator_rolls_back_to_the_previous_and_to_a_named_version(
    two_publications: tuple[PublishedShop, str], operated: RunningExplorer
) -> None:
    published_shop, second = two_publications
    assert version(operated.client) == second
    answer = roll_back(operated.client)
    assert (answer.status_code, answer.json()) == (200, {"version": published_shop.plan.version})
    assert version(operated.client) == published_shop.plan.version
    operated.wait_for_model(published_shop.plan.version)
    assert roll_back(operated.client, json={"version": second}).json() == {"version": second}
    assert version(operated.client) == second


def test_a_version_that_is_not_kept_is_refused(operated: RunningExplorer) -> None:
    answer = roll_back(operated.client, json={"version": "'; DROP TABLE recsys.publications --"})
    assert answer.status_code == 409
    assert "is not kept: choose one of" in answer.json()["detail"]
    assert roll_back(operated.client, content=b"{").status_code == 400
    for body in (b"[]", b'{"version": 5}', b'{"version": "nul\\u0000"}'):
        assert roll_back(operated.client, content=body).status_code == 422


@pytest.mark.parametrize(
    ("change", "status", "sentence"),
    [
        ("ALTER DATABASE {} SET default_transaction_read_only = on", 503, "is read-only, as a standby is: let"),
        ("ALTER TABLE recsys.lease RENAME TO leases", 409, "does not match this release's schema"),
        ("ALTER DATABASE {} CONNECTION LIMIT 0", 503, "has no connection left"),
    ],
    ids=["read-only", "another schema", "no connection"],
)
def test_a_rollback_that_the_database_refuses_is_answered_with_the_reason(
    two_publications: tuple[PublishedShop, str], operated: RunningExplorer, change: str, status: int, sentence: str
) -> None:
    published_shop, _ = two_publications
    parts = parse_dsn(published_shop.url)
    role = f"operator_{parts['dbname']}"
    connection = psycopg2.connect(published_shop.url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p'; GRANT USAGE ON SCHEMA recsys TO {role}")
        cursor.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA recsys TO {role}")
        cursor.execute(change.format(parts["dbname"]))
    connection.close()
    with pytest.MonkeyPatch.context() as patch:  # limits of connections do not concern superusers
        patch.setenv("EXPLORER_OPERATOR_DATABASE_URL", make_dsn(**{**parts, "user": role, "password": "p"}))
        answer = roll_back(operated.client)
    assert answer.status_code == status
    assert sentence in answer.json()["detail"]


def test_a_role_without_rights_may_not_roll_back(
    two_publications: tuple[PublishedShop, str], operated: RunningExplorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    published_shop, _ = two_publications
    monkeypatch.setenv("EXPLORER_OPERATOR_DATABASE_URL", published_shop.reader_url)
    answer = roll_back(operated.client)
    assert answer.status_code == 409
    assert "may not do this (permission denied for table schema_version): grant it." in answer.json()["detail"]


def test_an_empty_version_is_not_the_one_before_the_current_one(operated: RunningExplorer) -> None:
    assert roll_back(operated.client, json={"version": ""}).status_code == 409
    assert roll_back(operated.client, content=b"null").status_code == 422


def test_a_form_that_is_sent_twice_rolls_back_once(
    two_publications: tuple[PublishedShop, str], operated: RunningExplorer
) -> None:
    published_shop, _ = two_publications
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recsys.publications (version, model_version, snapshot_id, users, rows, as_of, first_switch, "
            "last_switch) VALUES ('oldest', 'm', 's', 1, 1, '2020-01-01', -1, -1)"
        )
    own = {"origin": str(operated.client.base_url).rstrip("/"), "sec-fetch-site": "same-origin"}
    shown = overview(operated.client)
    (chosen,) = [each["value"] for each in shown.all("option") if "selected" in each]
    assert {each["value"] for each in shown.all("option")} == {published_shop.plan.version, "oldest"}
    for _ in range(2):
        answer = operated.client.post("/rollback", data={"token": TOKEN, "version": chosen}, headers=own)
        assert (answer.status_code, answer.headers["location"]) == (303, "/overview")
        assert version(operated.client) == published_shop.plan.version


def test_the_form_requires_a_version(two_publications: tuple[PublishedShop, str], operated: RunningExplorer) -> None:
    answer = operated.client.post("/rollback", data={"token": TOKEN, "version": ""})
    assert answer.status_code == 422
    assert "No version is chosen: choose one on the overview." in answer.text
    assert version(operated.client) == two_publications[1]


def test_a_rollback_to_the_current_version_changes_nothing(
    two_publications: tuple[PublishedShop, str], operated: RunningExplorer
) -> None:
    published_shop, second = two_publications
    with published_shop.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM recsys.publications ORDER BY version")
        before = cursor.fetchall()
        assert roll_back(operated.client, json={"version": second}).json() == {"version": second}
        cursor.execute("SELECT * FROM recsys.publications ORDER BY version")
        assert cursor.fetchall() == before


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "tökén"])
def test_wrong_tokens_are_refused(
    two_publications: tuple[PublishedShop, str], operated: RunningExplorer, token: str
) -> None:
    _, second = two_publications
    headers = {"authorization": f"Bearer {token}".strip().encode()}
    assert operated.client.post("/api/v1/rollback", headers=headers).status_code == 403
    assert operated.client.post("/rollback", data={"token": token}).status_code == 403
    assert version(operated.client) == second


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://elsewhere.example"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_requests_from_other_sites_are_refused_even_with_the_token(
    two_publications: tuple[PublishedShop, str], operated: RunningExplorer, headers: dict[str, str]
) -> None:
    assert roll_back(operated.client, headers=headers).status_code == 403
    assert operated.client.post("/rollback", data={"token": TOKEN}, headers=headers).status_code == 403
    assert version(operated.client) == two_publications[1]


def test_attempts_with_wrong_tokens_are_limited(operated: RunningExplorer) -> None:
    statuses = [roll_back(operated.client, f"guess {number}").status_code for number in range(8)]
    assert statuses[:5] == [403] * 5
    assert 429 in statuses[5:]


def test_without_configuration_rollback_returns_404(client: httpx.Client) -> None:
    for token in (TOKEN, "None"):
        answer = roll_back(client, token)
        assert answer.status_code == 404
        assert "Rolling back is not configured" in answer.json()["detail"]


def test_readers_never_see_errors_or_mixed_versions_during_rollbacks(
    two_publications: tuple[PublishedShop, str], operated: RunningExplorer
) -> None:
    operated.app.state.operator.rates = RateLimiter(per_second=0.1, burst=100)
    published_shop, second = two_publications
    users = range(1, 8)

    def answers(client: httpx.Client) -> Iterator[tuple[str, int, tuple[int, ...]]]:
        for user in users:
            answer = client.get(f"/api/v1/users/{user}/recommendations")
            assert answer.status_code == 200, answer.text
            yield answer.json()["version"], user, tuple(game["game_id"] for game in answer.json()["games"])

    at_rest = set()
    for wanted in (published_shop.plan.version, second):
        roll_back(operated.client, json={"version": wanted})
        at_rest |= set(answers(operated.client))
    assert len({games for _, _, games in at_rest}) == len(at_rest) == 2 * len(users)

    stop, seen = threading.Event(), set()

    def ask() -> None:
        with httpx.Client(base_url=operated.client.base_url, timeout=30) as client:
            while not stop.is_set():
                seen.update(answers(client))

    with ThreadPoolExecutor(3) as readers:
        asking = [readers.submit(ask) for _ in range(3)]
        try:
            for wanted in (published_shop.plan.version, second) * 5:
                assert roll_back(operated.client, json={"version": wanted}).status_code == 200
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert seen <= at_rest
    assert {version for version, _, _ in seen} == {published_shop.plan.version, second}
