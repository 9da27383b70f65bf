import json
import math
import shutil
from collections import Counter
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kfp import dsl

from components.evaluate import setup
from components.evaluate.component import evaluate
from components.evaluate.evaluation import METRICS, evaluate_model
from components.evaluate.gate import Thresholds
from components.evaluate.promotion import promote
from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from steam_recsys.arrays import Int32Array
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baselines import Parameters, tune_baselines
from steam_recsys.evaluation.metrics import measure
from steam_recsys.evaluation.rankers import StaticRanker
from steam_recsys.evaluation.splits import Split, hold_out
from steam_recsys.storage.manifest import complete_artifact
from steam_recsys.storage.model_store import EVALUATION, USER_METRICS, champion, stored_model
from tests.snapshots import Review, write_snapshot_of

BASELINES = {
    "popularity", "recent popularity", "tuned recent popularity", "iALS", "item-kNN", "RP3beta", "EASE", "DLAE",
}  # fmt: skip
FIRST = date(2020, 1, 1)
DAY_ZERO = (FIRST - date(1970, 1, 1)).days
GAMES = 6


def write_model(folder: Path, *, cutoff: date, version: str = "new", towards: int = 1) -> Path:
    """Write a model that ranks one game first for every user with a history."""
    folder.mkdir(parents=True)
    candidates = -np.ones((GAMES, 1), dtype=np.float32)
    candidates[towards - 1] = 1
    none = np.zeros((0, 1), dtype=np.float32)
    np.savez(
        folder / "arrays.npz",
        history_games=np.ones((GAMES, 1), dtype=np.float32), history_attributes=none,
        candidate_games=candidates, candidate_attributes=none,
        item_item_offsets=np.zeros(GAMES + 1, np.int64), item_item_games=np.zeros(0, np.int32),
        item_item_weights=np.zeros(0, np.float32), decay_weights=np.array([0.0, 1.0, 0.0]),
    )  # fmt: skip
    (folder / "vocabulary.json").write_text(json.dumps({"games": list(range(1, GAMES + 1)), "attributes": []}))
    config = {
        "scale": 100.0, "popularity_weight": 1.0, "interests_weight": 0.5, "popularity_smoothing": 1.0,
        "top_weight": 0.0, "history_weights": {}, "next_weight": 0.0,
        "sequence": {"weight": 0.0, "scale": 1.0},
    }  # fmt: skip
    model = {"version": version, "cutoff": cutoff.isoformat(), "held_out_share": 0.1, "config": config}
    (folder / "model.json").write_text(json.dumps(model))
    complete_artifact(folder)
    return folder


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


REVIEWS: list[Review] = [
    (1, 1, day(0)), (2, 1, day(0)), (3, 1, day(1)), (4, 2, day(2)), (5, 3, day(2)), (5, 1, None),
    # From day 10 on: two new games of old users; a known game, a new user, a game without earlier reviews, no date.
    (4, 3, day(10)), (5, 2, day(11)), (1, 1, day(11)), (9, 1, day(11)), (2, 6, day(11)), (3, 2, None),
]  # fmt: skip


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    return write_snapshot_of(tmp_path / "snapshot", REVIEWS, n_games=GAMES).root


def test_only_new_games_of_known_users_are_held_out(snapshot: Path, tmp_path: Path, store: str) -> None:
    evaluated = evaluate_model(snapshot, write_model(tmp_path / "model", cutoff=day(10)), store)
    assert (evaluated.users, evaluated.left_out) == (2, 2)


def test_a_model_is_compared_with_the_baselines(snapshot: Path, tmp_path: Path, store: str) -> None:
    evaluated = evaluate_model(snapshot, write_model(tmp_path / "model", cutoff=day(10), towards=3), store)
    # Game 3 comes first for user 4, who took it up, and is excluded for user 5, for whom 1 and then 2 follow.
    assert evaluated.figures["challenger"]["ndcg_at_10"].mean == pytest.approx((1 + 1 / math.log2(3)) / 2)
    # By popularity game 1, undated for user 5 and so not yet in the history, comes first and the right one second.
    assert evaluated.figures["popularity"]["ndcg_at_10"].mean == pytest.approx(1 / math.log2(3))
    assert evaluated.figures["recent popularity"]["recall_at_20"].mean == 1
    assert set(evaluated.figures) == {"challenger", *BASELINES}
    assert set(evaluated.settings) == BASELINES
    assert evaluated.settings["recent popularity"] == "days of decay 120"


def test_baselines_are_tuned_once_per_snapshot_and_cutoff(
    snapshot: Path, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tuned: list[int | None] = []

    def tune(validation: Split, game_ids: Int32Array) -> dict[str, Parameters]:
        tuned.append(validation.as_of)
        return tune_baselines(validation, game_ids)

    monkeypatch.setattr(setup, "tune_baselines", tune)
    models = [
        write_model(tmp_path / version, cutoff=day(cutoff), version=version)
        for version, cutoff in (("one", 10), ("two", 10), ("three", 3))
    ]
    first, second = (EvaluationSetup.load(snapshot, model, store) for model in models[:2])
    assert len(tuned) == 1
    assert second.settings == first.settings
    assert EvaluationSetup.load(snapshot, models[2], store).cutoff == "2020-01-04"
    assert len(tuned) == 2


def test_the_champion_is_measured_on_the_same_rows(snapshot: Path, tmp_path: Path, store: str) -> None:
    good = write_model(tmp_path / "good", cutoff=day(10), towards=3, version="good")
    evaluate_model(snapshot, good, store, tmp_path / "evaluation")
    assert promote(store, good, tmp_path / "evaluation") == "good"
    worse = evaluate_model(snapshot, write_model(tmp_path / "bad", cutoff=day(10), towards=6), store)
    assert worse.champion == "good"
    assert worse.figures["champion"]["ndcg_at_10"].mean > worse.figures["challenger"]["ndcg_at_10"].mean
    assert worse.overall.differences["champion"]["ndcg_at_10"].high < 0
    assert "champion" in worse.slices[1].comparison.figures
    assert not worse.verdict.passed


def test_a_champion_that_cannot_be_read_is_replaced(
    snapshot: Path, tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_model(tmp_path / "good", cutoff=day(10), towards=3, version="good")
    evaluate_model(snapshot, good, store, tmp_path / "evaluation")
    promote(store, good, tmp_path / "evaluation")
    (Path(store) / "models" / "good" / "arrays.npz").write_bytes(b"PK")
    other = write_model(tmp_path / "other", cutoff=day(10), towards=3, version="other")
    evaluated = evaluate_model(snapshot, other, store, tmp_path / "evaluation")
    assert f"the model is not compared with the champion: {store}/models/good/arrays.npz is damaged" in (
        capsys.readouterr().out
    )
    assert (evaluated.champion, evaluated.verdict.passed) == ("good", True)
    assert set(evaluated.figures) == {"challenger", *BASELINES}
    assert promote(store, other, tmp_path / "evaluation") == "other"


def test_a_refitted_model_is_measured_as_it_was_before_its_refit(snapshot: Path, tmp_path: Path, store: str) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10), towards=6)
    before = evaluate_model(snapshot, model, store).figures["challenger"]
    refitted = write_model(tmp_path / "refitted", cutoff=day(10), towards=3)
    shutil.copytree(model, refitted / "evaluated")
    complete_artifact(refitted)
    assert evaluate_model(snapshot, refitted, store).figures["challenger"] == before


def test_a_champion_of_another_version_is_replaced(
    snapshot: Path, tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_model(tmp_path / "good", cutoff=day(10), towards=3, version="good")
    evaluate_model(snapshot, good, store, tmp_path / "evaluation")
    promote(store, good, tmp_path / "evaluation")
    folder = Path(store) / "models" / "good"
    description = json.loads((folder / "model.json").read_text())
    del description["cutoff"]
    (folder / "model.json").write_text(json.dumps(description))
    complete_artifact(folder)
    other = write_model(tmp_path / "other", cutoff=day(10), towards=3, version="other")
    assert evaluate_model(snapshot, other, store).champion == "good"
    assert "the model is not compared with the champion: The champion good in" in capsys.readouterr().out


def test_a_model_that_ties_with_the_champion_does_not_pass(
    snapshot: Path, tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    reigning = write_model(tmp_path / "old", cutoff=day(10), towards=3, version="old")
    evaluate_model(snapshot, reigning, store, tmp_path / "evaluation")
    assert "[evaluate] model old passes the gate\n" in capsys.readouterr().out
    promote(store, reigning, tmp_path / "evaluation")
    level = evaluate_model(snapshot, write_model(tmp_path / "new", cutoff=day(10), towards=3), store)
    failures = [rule.about for rule in level.verdict.failures]
    few_users = [
        f"Users on whom the challenger is compared with {name}, all users" for name in ("popularity", "champion")
    ]
    assert failures == [*few_users, "Advantages over the champion"]
    assert "[evaluate] model new does not pass the gate: the champion stays old\n" in capsys.readouterr().out
    strict = Thresholds(coverage_floor=7.0)
    evaluate_model(snapshot, tmp_path / "new", f"{store}/empty", thresholds=strict)
    assert "[evaluate] model new does not pass the gate: there is no champion yet\n" in capsys.readouterr().out


def test_a_repeated_training_passes_again_and_leaves_the_pointer_unchanged(
    snapshot: Path, tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10), towards=3)
    pointers = []
    for _ in range(2):
        evaluated = evaluate_model(snapshot, model, store, tmp_path / "evaluation")
        assert evaluated.verdict.passed
        assert promote(store, model, tmp_path / "evaluation") == "new"
        pointers.append(champion(store))
    assert pointers[0] == pointers[1]
    assert evaluated.is_champion
    assert set(evaluated.figures) == {"challenger", *BASELINES}
    assert "[evaluate] model new passes the gate: it is the champion already\n" in capsys.readouterr().out


def test_thresholds_decide_and_are_stored(snapshot: Path, tmp_path: Path, store: str) -> None:
    model, strict = write_model(tmp_path / "model", cutoff=day(10), towards=3), Thresholds(coverage_floor=7.0)
    evaluated = evaluate_model(snapshot, model, store, thresholds=strict)
    assert evaluated.thresholds == strict
    assert [rule.about for rule in evaluated.verdict.failures] == ["Share of the catalogue that is in any user's ten"]


def test_newcomers_and_unreviewed_games_are_slices_outside_the_headline_figures(
    snapshot: Path, tmp_path: Path, store: str
) -> None:
    evaluated = evaluate_model(snapshot, write_model(tmp_path / "model", cutoff=day(10)), store)
    users = {part.name: part.comparison.users for part in evaluated.slices}
    assert users["no review"] == users["not reviewed before"] == 1
    assert users["1 review"] == evaluated.users == 2


BEYOND = {
    "coverage_at_10", "effective_games_at_10", "jaccard_at_10", "popular_ten", "popularity_rank_at_10", "gini_at_10",
    "ipw_ndcg_at_10", "matched_auc",
}  # fmt: skip
"""The figures of games without genres, all of which are among the fifty most popular."""


def test_every_ranking_has_every_metric_and_a_difference_to_the_challenger(
    snapshot: Path, tmp_path: Path, store: str
) -> None:
    evaluated = evaluate_model(snapshot, write_model(tmp_path / "model", cutoff=day(10)), store)
    metrics = {"ndcg_at_10", "recall_at_20", "mrr_at_10", "hit_rate_at_10", "novelty_at_10"}
    assert {frozenset(figures) for figures in evaluated.figures.values()} == {frozenset(metrics)}
    assert {frozenset(figures) for figures in evaluated.overall.differences.values()} == {frozenset(metrics)}
    assert set(evaluated.beyond_accuracy) == set(evaluated.figures) == {"challenger", *BASELINES}
    assert {frozenset(figures) for figures in evaluated.beyond_accuracy.values()} == {frozenset(BEYOND)}
    assert evaluated.metrics["coverage_at_10"] == 1  # six games, ten places
    assert {"gini_at_10", "mrr_at_10", "recent_popularity_novelty_at_10"} <= set(evaluated.metrics)
    assert evaluated.metrics["popularity_popular_ten"] == evaluated.metrics["recent_popularity_popular_ten"] == 1


@pytest.mark.parametrize(
    "reviews",
    [
        [(1, 1, day(0)), (2, 2, day(0)), (1, 2, day(12))],
        [(1, 1, day(0)), (2, 2, day(0)), (2, 1, day(12)), (1, 2, day(12))],
        [(1, 1, day(0)), (2, 2, day(0)), (3, 3, day(1)), (1, 2, day(12)), (3, 1, day(13))],
    ],
    ids=["one user", "all games known", "two users"],
)
def test_the_figures_of_a_tiny_shop_are_numbers_that_every_platform_accepts(
    reviews: list[Review], tmp_path: Path, store: str
) -> None:
    """Kubeflow and Vertex AI fail a task whose metrics or facts are not a number."""
    snapshot = write_snapshot_of(tmp_path / "snapshot", reviews, n_games=GAMES)
    evaluated = evaluate_model(snapshot.root, write_model(tmp_path / "model", cutoff=day(10)), store)
    assert "ndcg_at_10" in evaluated.metrics
    json.dumps(evaluated.facts(), allow_nan=False)
    assert {type(figure) for figure in evaluated.metrics.values()} <= {float, int}


def test_what_the_model_costs_and_gains_is_logged(
    snapshot: Path, tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated = evaluate_model(snapshot, write_model(tmp_path / "model", cutoff=day(10), towards=3), store)
    assert f"[evaluate] {evaluated.trades[0]}\n" in capsys.readouterr().out


def test_the_component_logs_every_mean_and_writes_evaluation_and_report(
    snapshot: Path, tmp_path: Path, store: str
) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10), towards=3)
    names = {"metrics": dsl.Metrics, "report": dsl.HTML, "evaluation": dsl.Artifact}
    outputs = {name: kind(name=name, uri=str(tmp_path / f"{name}.out")) for name, kind in names.items()}
    promoted = evaluate.python_func(
        snapshot=dsl.Dataset(uri=str(snapshot)), model=dsl.Model(uri=str(model)), store=store, run="run",
        **asdict(Thresholds()), **outputs,
    )  # fmt: skip
    kept = Evaluation.read(tmp_path / "evaluation.out" / EVALUATION)
    assert promoted == kept.verdict.passed is True
    assert outputs["metrics"].metadata == kept.metrics
    assert "Model new passes the gate" in (tmp_path / "report.out").read_text()


def test_the_champion_keeps_the_metrics_of_each_user_whose_means_are_the_headline_figures(
    snapshot: Path, tmp_path: Path, store: str
) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10), towards=3)
    evaluated = evaluate_model(snapshot, model, store, tmp_path / "evaluation")
    promote(store, model, tmp_path / "evaluation")
    with stored_model(store, "new") as folder:
        table = pq.read_table(folder / USER_METRICS)
    for ranking, figures in evaluated.figures.items():
        rows = table.filter(pc.field("ranking") == ranking)
        assert rows.select(["user_id", "history", "held_out"]).to_pydict() == {
            "user_id": [4, 5], "history": [1, 1], "held_out": [1, 1]
        }  # fmt: skip
        for metric, figure in figures.items():
            assert np.mean(rows[metric]) == pytest.approx(figure.mean)


def test_a_snapshot_without_held_out_users_is_reported(tmp_path: Path, store: str) -> None:
    snapshot = write_snapshot_of(tmp_path / "snapshot", [(1, 1, day(0)), (2, 2, day(1))], n_games=GAMES)
    with pytest.raises(UserError, match=r"cannot be evaluated: .*Ingest more reviews"):
        evaluate_model(snapshot.root, write_model(tmp_path / "model", cutoff=day(1)), store)


pairs = st.dictionaries(st.tuples(st.integers(0, 7), st.integers(0, GAMES - 1)), st.integers(0, 19), min_size=4)


@settings(max_examples=50)
@given(pairs, st.integers(1, 19))
def test_popularity_scores_as_in_a_naive_implementation(reviews: dict[tuple[int, int], int], cutoff: int) -> None:
    rows = Interactions(
        np.array([user for user, _ in reviews], dtype=np.int64), np.array([game for _, game in reviews], np.int32),
        np.array(list(reviews.values()), np.int32), np.ones(len(reviews), bool), np.zeros(len(reviews), np.float32),
    )  # fmt: skip
    past, future = rows.take(rows.days < cutoff), rows.take(rows.days >= cutoff)
    catalogue = np.arange(GAMES, dtype=np.int32)
    held_out = hold_out(past, future, catalogue)
    counts = Counter(game for (_, game), when in reviews.items() if when < cutoff)
    expected = []
    for user in range(8):
        seen = {game for (owner, game), when in reviews.items() if owner == user and when < cutoff}
        new = {game for (owner, game), when in reviews.items() if owner == user and when >= cutoff} & set(counts)
        if not seen or not new:
            continue
        order = sorted(set(range(GAMES)) - seen, key=lambda game: (-counts[game], game))
        gain = sum(1 / math.log2(place + 2) for place, game in enumerate(order) if game in new)
        expected.append(gain / sum(1 / math.log2(place + 2) for place in range(len(new))))
    assert len(held_out) == len(expected)
    if expected:
        by_popularity = StaticRanker(popularity(past, catalogue).astype(np.float32))
        assert measure(by_popularity, held_out, METRICS)["ndcg_at_10"].mean() == pytest.approx(np.mean(expected))
