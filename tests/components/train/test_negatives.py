import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.train.training_data import NegativeSampler

GAMES = 9


def popularity(*histories: list[int]) -> np.ndarray:
    return np.array([sum(game in history for history in histories) for game in range(GAMES)], dtype=float)


HISTORIES = st.lists(st.lists(st.integers(0, GAMES - 1), unique=True), max_size=6)


@given(HISTORIES)
def test_half_of_the_draws_are_by_popularity_and_half_are_uniform(games: list[list[int]]) -> None:
    sampler = NegativeSampler.from_popularity(popularity(*games), 4)
    all_of_them = [game for history in games for game in history]
    expected = [
        0.5 / GAMES + (0.5 * all_of_them.count(game) / len(all_of_them) if all_of_them else 0) for game in range(GAMES)
    ]
    shares = np.diff(sampler.cumulative, prepend=0) / sampler.cumulative[-1]
    assert shares == pytest.approx(np.array(expected) / sum(expected))


@given(HISTORIES, st.integers(1, 40), st.integers(0, 99))
def test_corrections_are_the_inverse_of_the_draw_probabilities(games: list[list[int]], draws: int, seed: int) -> None:
    sampler = NegativeSampler.from_popularity(popularity(*games), draws)
    drawn = sampler.draw(np.random.default_rng(seed))
    shares = np.diff(sampler.cumulative, prepend=0) / sampler.cumulative[-1]
    assert (np.diff(drawn.games) > 0).all()
    counts = np.exp(drawn.corrections) * draws * shares[drawn.games]
    assert counts == pytest.approx(np.round(counts), abs=1e-4)
    assert (np.round(counts) >= 1).all()
    assert counts.sum() == pytest.approx(draws, rel=1e-5)
    again = sampler.draw(np.random.default_rng(seed))
    assert np.array_equal(drawn.games, again.games)


def test_sampled_sum_of_exponentials_is_unbiased() -> None:
    """Within five standard errors; without the correction it is far off."""
    random = np.random.default_rng(0)
    histories = ([0, *random.choice(range(1, GAMES), 2, replace=False)] for _ in range(20))
    sampler = NegativeSampler.from_popularity(popularity(*histories), 6)
    logits = 2 * random.standard_normal(GAMES)
    sums, uncorrected = [], []
    for _ in range(4_000):
        drawn = sampler.draw(random)
        sums.append(np.exp(logits[drawn.games] + drawn.corrections).sum())
        uncorrected.append(np.exp(logits[drawn.games]).sum() * GAMES / 6)
    error = 5 * np.std(sums) / len(sums) ** 0.5
    assert np.mean(sums) == pytest.approx(np.exp(logits).sum(), abs=error)
    assert np.mean(uncorrected) != pytest.approx(np.exp(logits).sum(), abs=2 * error)


@given(st.lists(st.lists(st.integers(0, GAMES - 1), unique=True, min_size=1), max_size=6), st.integers(0, 99))
def test_hits_are_the_drawn_targets_of_each_row(targets: list[list[int]], seed: int) -> None:
    drawn = NegativeSampler.from_popularity(popularity(), 5).draw(np.random.default_rng(seed))
    flat = np.array([game for row in targets for game in row], dtype=np.int32)
    found = drawn.with_hits(flat, np.array([len(row) for row in targets], dtype=np.int64))
    expected = {
        (row, column)
        for row, games in enumerate(targets)
        for column, game in enumerate(drawn.games.tolist())
        if game in games
    }
    assert {tuple(pair) for pair in found.hits.tolist()} == expected
    assert len(found.hits) == len(expected)
    assert found.hits.shape == (len(expected), 2)
    assert np.array_equal(found.games, drawn.games)


def test_every_game_can_be_drawn() -> None:
    """Also a game that no user has, and the last one."""
    sampler = NegativeSampler.from_popularity(popularity([0, 1], [0]), 500)
    assert sampler.draw(np.random.default_rng(0)).games.tolist() == list(range(GAMES))
