"""The benchmark of training: generated reviews, both loops on a small shop, and their figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.generated import Size, generate, write_generated
from benchmarks.learning_curves import Task, ours, popularity, tutorial
from benchmarks.record import measured
from benchmarks.training import PEER, LearningCurve, Point, large_shop_result, results, train_on
from components.train.two_tower_model import ModelConfig
from steam_recsys.data.interactions import load_interactions

SMALL = Size(interactions=6_000, users=600, games=200)
SPARSE = Size(interactions=20_000, users=2_000, games=5_000)


@pytest.fixture(scope="module")
def task() -> Task:
    return Task.generate(SMALL, 0)


def test_a_seed_generates_the_same_distinct_reviews_in_the_requested_number() -> None:
    first, again = generate(SMALL, 0), generate(SMALL, 0)
    assert all(np.array_equal(vars(first)[name], column) for name, column in vars(again).items())
    assert 0.7 * SMALL.interactions < len(first) <= SMALL.interactions
    assert len(generate(SPARSE, 0)) == SPARSE.interactions
    assert len(np.unique(first.users * 1_000 + first.games)) == len(first)
    assert not np.array_equal(first.games, generate(SMALL, 1).games)


def test_a_generated_snapshot_holds_the_generated_reviews(tmp_path: Path) -> None:
    loaded, made = load_interactions(write_generated(tmp_path, SMALL, 0)), generate(SMALL, 0)
    pairs = [set(zip(rows.users.tolist(), rows.games.tolist(), strict=True)) for rows in (loaded, made)]
    assert pairs[0] == pairs[1]
    assert 0.05 < 1 - loaded.recommended.mean() < 0.15


def test_held_out_reviews_are_not_in_the_training_data(task: Task) -> None:
    users = np.repeat(task.held_out.relevant.users, task.held_out.relevant.lengths)
    held_out = set(zip(users.tolist(), task.game_ids[task.held_out.relevant.games].tolist(), strict=True))
    assert len(held_out) > 100
    assert not held_out & set(zip(task.past.users.tolist(), task.past.games.tolist(), strict=True))


def test_our_loop_beats_popularity(task: Task) -> None:
    curve = ours(task, ModelConfig(scale=4.0, min_steps=128))
    assert len(curve.points) == 2
    assert [point.seconds for point in curve.points] == sorted(point.seconds for point in curve.points)
    assert curve.best.recall > popularity(task)


@pytest.mark.slow
def test_the_tutorial_stops_when_its_recall_no_longer_rises(task: Task) -> None:
    curve = tutorial(task)
    assert len(curve.points) == curve.points.index(curve.best) + 3
    assert curve.points[0].interactions == len(task.past)


def curve_with(*recalls: float, pace: float) -> LearningCurve:
    points = [Point(1 + pace * number, 1_000 * number, recall) for number, recall in enumerate(recalls, start=1)]
    return LearningCurve(points, first_step=1.0, peak_mb=500.0, popularity=0.1)


def test_the_time_to_the_tutorials_best_recall_decides() -> None:
    peer = curve_with(0.2, 0.5, 0.4, pace=10)
    row, speed, recall, memory, popular = results(curve_with(0.4, 0.6, pace=2), peer)
    assert row == {
        "what": "seconds to a recall@100 of 0.5000", "ours": 5, "peer": 21, "peer_name": PEER, "ratio": 4.2,
        "must": 3.0, "met": True,
    }  # fmt: skip
    assert (speed["ours"], speed["peer"]) == (500, 100)
    assert (recall["ours"], recall["peer"], memory["ratio"], popular["ours"]) == (0.6, 0.5, 1.0, 0.1)
    assert not results(curve_with(0.4, 0.6, pace=5), peer)[0]["met"]
    never = results(curve_with(0.4, 0.4, pace=1), peer)[0]
    assert (never["ours"], never["ratio"], never["met"]) == (None, None, False)


def test_a_curve_is_read_from_the_record_of_its_process(task: Task) -> None:
    curve = ours(task, ModelConfig(scale=4.0, min_steps=64))
    read = LearningCurve.from_record(curve.record() | {"popularity": 0.1})
    assert read.points == curve.points
    assert read.examples_per_second > 0


@pytest.mark.slow
@pytest.mark.parametrize("side", ["ours", "tutorial"])
def test_each_side_is_measured_in_its_own_process(side: str) -> None:
    read = LearningCurve.from_record(measured("benchmarks.training", side, "3000", "300", "80"))
    assert read.peak_mb > 100
    assert 0 < read.popularity < read.best.recall * 2


def test_the_large_shop_must_fit_into_four_gigabytes() -> None:
    assert large_shop_result(4_000.0, 1.0)[0]["met"]
    assert not large_shop_result(4_097.0, 1.0)[0]["met"]


@pytest.mark.slow
def test_training_on_a_generated_snapshot_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.train.training.ModelConfig", lambda: ModelConfig(min_steps=1))
    measured = train_on(replace(SMALL, interactions=3_000, games=80), tmp_path)
    assert measured["peak_mb"] > 100
    assert measured["seconds"] > 0
