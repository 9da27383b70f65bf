"""The benchmark of training: what it generates, both loops on a small shop, and what it makes of their figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.generated import Size, generate, write_generated
from benchmarks.learning_curves import Task, ours, popularity, tutorial
from benchmarks.record import measured
from benchmarks.scale import train_on
from benchmarks.training import PEER, Point, Side, results, scale_result
from components.train.two_tower_model import ModelConfig
from steam_recsys.data.interactions import load_interactions

SMALL = Size(interactions=6_000, users=600, games=200)
SPARSE = Size(interactions=20_000, users=2_000, games=5_000)


@pytest.fixture(scope="module")
def task() -> Task:
    return Task.generate(SMALL, 0)


def test_a_seed_makes_the_same_reviews_as_many_as_asked_for_and_each_pair_once() -> None:
    first, again = generate(SMALL, 0), generate(SMALL, 0)
    assert all(np.array_equal(vars(first)[name], column) for name, column in vars(again).items())
    assert 0.7 * SMALL.interactions < len(first) <= SMALL.interactions
    assert len(generate(SPARSE, 0)) == SPARSE.interactions
    assert len(np.unique(first.users * 1_000 + first.games)) == len(first)
    assert not np.array_equal(first.games, generate(SMALL, 1).games)


def test_a_generated_snapshot_holds_these_reviews(tmp_path: Path) -> None:
    loaded, made = load_interactions(write_generated(tmp_path, SMALL, 0)), generate(SMALL, 0)
    pairs = [set(zip(rows.users.tolist(), rows.games.tolist(), strict=True)) for rows in (loaded, made)]
    assert pairs[0] == pairs[1]
    assert 0.05 < 1 - loaded.recommended.mean() < 0.15


def test_what_is_asked_for_was_not_learnt_from(task: Task) -> None:
    users = np.repeat(task.held_out.relevant.users, task.held_out.relevant.lengths)
    asked = set(zip(users.tolist(), task.game_ids[task.held_out.relevant.games].tolist(), strict=True))
    assert len(asked) > 100
    assert not asked & set(zip(task.past.users.tolist(), task.past.games.tolist(), strict=True))


def test_ours_learns_what_popularity_does_not_know(task: Task) -> None:
    curve = ours(task, ModelConfig(scale=4.0, min_steps=128))
    assert len(curve.points) == 2
    assert [point.seconds for point in curve.points] == sorted(point.seconds for point in curve.points)
    assert curve.best.recall > popularity(task)


def test_the_tutorial_goes_on_until_its_recall_no_longer_rises(task: Task) -> None:
    curve = tutorial(task)
    assert len(curve.points) == curve.points.index(curve.best) + 3
    assert curve.points[0].interactions == len(task.past)


def side(*recalls: float, pace: float) -> Side:
    points = [Point(1 + pace * number, 1_000 * number, recall) for number, recall in enumerate(recalls, start=1)]
    return Side(points, first_step=1.0, peak_mb=500.0, popularity=0.1)


def test_the_time_to_the_tutorials_best_recall_decides() -> None:
    theirs = side(0.2, 0.5, 0.4, pace=10)
    row, speed, recall, memory, popular = results(side(0.4, 0.6, pace=2), theirs)
    assert row == {
        "what": "seconds to a recall@100 of 0.5000", "ours": 5, "peer": 21, "peer_name": PEER, "ratio": 4.2,
        "must": 3.0, "met": True,
    }  # fmt: skip
    assert (speed["ours"], speed["peer"]) == (500, 100)
    assert (recall["ours"], recall["peer"], memory["ratio"], popular["ours"]) == (0.6, 0.5, 1.0, 0.1)
    assert not results(side(0.4, 0.6, pace=5), theirs)[0]["met"]
    never = results(side(0.4, 0.4, pace=1), theirs)[0]
    assert (never["ours"], never["ratio"], never["met"]) == (None, None, False)


def test_a_side_is_read_from_what_its_process_wrote(task: Task) -> None:
    curve = ours(task, ModelConfig(scale=4.0, min_steps=64))
    read = Side.read(curve.record() | {"popularity": 0.1})
    assert read.points == curve.points
    assert read.examples_per_second > 0


@pytest.mark.parametrize("which", ["ours", "tutorial"])
def test_each_side_is_measured_in_a_process_of_its_own(which: str) -> None:
    small = ["--interactions", "3000", "--users", "300", "--games", "80"]
    read = Side.read(measured("benchmarks.learning_curves", which, *small))
    assert read.peak_mb > 100
    assert 0 < read.popularity < read.best.recall * 2


def test_the_large_shop_may_take_four_gigabytes() -> None:
    assert scale_result(4_000.0, 1.0)[0]["met"]
    assert not scale_result(4_097.0, 1.0)[0]["met"]


def test_training_on_a_generated_snapshot_says_what_it_took(tmp_path: Path) -> None:
    measured = train_on(replace(SMALL, interactions=3_000, games=80), tmp_path)
    assert measured["peak_mb"] > 100
    assert measured["seconds"] > 0
