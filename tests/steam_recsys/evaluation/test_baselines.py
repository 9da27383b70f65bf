"""One contract for every baseline, on synthetic data whose best ranking is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation import baselines as module
from steam_recsys.evaluation.baselines import (
    Baseline,
    Kind,
    Setting,
    SimilarityRanker,
    TrainingRows,
    climb,
    fit_baselines,
    kinds,
    sample_users,
    tune_baselines,
    tuned_baselines,
)
from steam_recsys.evaluation.rankers import StaticRanker, rank
from steam_recsys.evaluation.splits import Split, by_time, last_out
from steam_recsys.model.item_item_fits import EASE_MAX_GAMES

USERS, GAMES = 300, 20
CATALOGUE = np.arange(1, GAMES + 1, dtype=np.int32)
PERSONAL = {"item-kNN", "iALS", "RP3beta", "EASE", "DLAE"}
LARGE = PERSONAL - {"DLAE"}


@pytest.fixture(scope="module")
def interactions() -> Interactions:
    """Even users review even games and odd users odd ones, one game per day."""
    random = np.random.default_rng(0)
    rows = [
        (user, game, day)
        for user in range(USERS)
        for day, game in enumerate(random.permutation(CATALOGUE[user % 2 :: 2])[:7], start=100)
    ]
    users, games, days = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        users.astype(np.int64), games.astype(np.int32), days.astype(np.int32),
        np.ones(len(rows), bool), np.zeros(len(rows), np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def baselines(interactions: Interactions) -> dict[str, Baseline]:
    tuned = tuned_baselines(interactions, 107, by_time(interactions, 105), CATALOGUE)
    return {baseline.name: baseline for baseline in tuned}


def test_every_baseline_is_listed_once_with_one_setting(baselines: dict[str, Baseline]) -> None:
    assert set(baselines) == {"popularity", "recent popularity", "tuned recent popularity", *PERSONAL}
    assert all(baseline.settings for name, baseline in baselines.items() if name != "popularity")


@pytest.mark.parametrize("name", sorted(PERSONAL))
def test_a_personal_baseline_finds_the_games_of_a_users_kind(name: str, baselines: dict[str, Baseline]) -> None:
    history = Histories.from_games([0, 2, 4], [1, 3, 5])
    ranked = rank(baselines[name].ranker, history, 7)
    assert set(ranked[0].tolist()) == {6, 8, 10, 12, 14, 16, 18}
    assert set(ranked[1].tolist()) == {7, 9, 11, 13, 15, 17, 19}


@pytest.mark.parametrize("name", ["popularity", "recent popularity", "tuned recent popularity", *sorted(PERSONAL)])
def test_the_history_is_never_ranked_and_ranks_stay_empty(name: str, baselines: dict[str, Baseline]) -> None:
    history = Histories.from_games([game for game in range(GAMES) if game not in (7, 9)], [])
    before = history.games.copy()
    ranked = rank(baselines[name].ranker, history, 3)
    assert sorted(ranked[0].tolist()) == [-1, 7, 9]
    assert (ranked[1] >= 0).all()
    assert np.array_equal(history.games, before)


def test_recent_popularity_is_left_out_if_time_plays_no_part(interactions: Interactions) -> None:
    split = by_time(interactions, 105)
    tuned = tuned_baselines(interactions, None, Split(split.past, split.future, None), CATALOGUE)
    assert {baseline.name for baseline in tuned} == {"popularity", *PERSONAL}


def test_a_large_catalogue_has_no_baseline_that_needs_its_square(interactions: Interactions) -> None:
    large = np.arange(1, EASE_MAX_GAMES + 2, dtype=np.int32)
    rows = TrainingRows(interactions, 107, large)
    fitted = {kind.name: kind.fit(rows, kind.starts[0]) for kind in kinds(rows)}
    assert set(fitted) == {"popularity", "recent popularity", "tuned recent popularity", *LARGE}
    for name in ("item-kNN", "RP3beta", "EASE"):
        ranked = rank(fitted[name], Histories.from_games([0, 2, 4]), 7)
        assert set(ranked[0].tolist()) == {6, 8, 10, 12, 14, 16, 18}


def test_the_first_settings_are_used_without_validation_rows(interactions: Interactions) -> None:
    nothing = Split(interactions, interactions.take(np.zeros(len(interactions), bool)), 107)
    chosen = tune_baselines(nothing, CATALOGUE)
    assert chosen["EASE"] == {"recency": 0.0, "λ": 300.0}
    assert chosen["popularity"] == {}
    assert {baseline.name for baseline in fit_baselines(interactions, 107, CATALOGUE, chosen)} == set(chosen)


def test_every_start_is_on_the_grid(interactions: Interactions) -> None:
    for size in (GAMES, EASE_MAX_GAMES + 1):
        for kind in kinds(TrainingRows(interactions, 107, np.arange(1, size + 1, dtype=np.int32))):
            for name, values in kind.axes.items():
                assert list(values) == sorted(set(values))
                assert all(start[name] in values for start in kind.starts)
            assert all(set(start) >= set(kind.axes) for start in kind.starts)


def test_later_games_of_a_history_count_more_with_recency() -> None:
    ranker = SimilarityRanker(np.array([[0, 0, 1, 0], [0, 0, 0, 1], [0] * 4, [0] * 4], np.float32))
    history = Histories.from_games([0, 1], [1, 0])
    assert rank(ranker, history, 2).tolist() == [[2, 3], [2, 3]]
    assert rank(module.with_recency(ranker, {"recency": 1.0}), history, 2).tolist() == [[3, 2], [2, 3]]


@pytest.fixture(scope="module")
def in_order() -> Interactions:
    """As above, but half of the users change over to the other kind of games after five."""
    random = np.random.default_rng(1)
    rows = []
    for user in range(USERS):
        before, after = (random.permutation(CATALOGUE[(user + other) % 2 :: 2]) for other in (0, user % 4 // 2))
        games = [*before[:5], *[game for game in after if game not in before[:5]][: 3 + user % 3]]
        rows += [(user, game, day) for day, game in enumerate(games)]
    users, games, days = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        users.astype(np.int64), games.astype(np.int32), days.astype(np.int32),
        np.ones(len(rows), bool), np.zeros(len(rows), np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(PERSONAL))
def test_order_is_used_where_it_says_what_comes_next(name: str, in_order: Interactions) -> None:
    chosen = tune_baselines(last_out(in_order), CATALOGUE)
    assert chosen[name]["recency"] > 0


def test_one_fit_serves_all_recencies(in_order: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[Setting] = []

    def fit(rows: TrainingRows, setting: Setting) -> SimilarityRanker:
        fits.append(setting)
        return SimilarityRanker(np.zeros((GAMES, GAMES), np.float32))

    grid = {"recency": (0.0, 0.5, 1.0), "λ": (1.0, 2.0)}
    only = Kind("only", grid, ({"recency": 0.0, "λ": 1.0},), fit)
    monkeypatch.setattr(module, "kinds", lambda rows: iter([only]))
    monkeypatch.setattr(module, "measure", lambda ranker, *_: {"ndcg_at_10": -np.abs([ranker.recency - 0.5])})
    chosen = tune_baselines(last_out(in_order), CATALOGUE)
    assert chosen["only"]["recency"] == 0.5
    assert fits == [{"λ": 1.0}, {"λ": 2.0}]


def test_large_data_get_few_fits(in_order: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    fits: list[Setting] = []

    def fit(rows: TrainingRows, setting: Setting) -> StaticRanker:
        fits.append(setting)
        return StaticRanker(np.roll(np.arange(GAMES, dtype=np.float32), len(fits)))

    many = tuple(float(value) for value in range(100))
    monkeypatch.setattr(module, "kinds", lambda rows: iter([Kind("only", {"x": many}, ({"x": 50.0},), fit)]))
    monkeypatch.setattr(module, "FIT_WORK", 0)
    monkeypatch.setattr(module, "measure", lambda ranker, held_out, metrics: {"ndcg_at_10": np.array([len(fits)])})
    assert tune_baselines(last_out(in_order), CATALOGUE)["only"] == {"x": 52.0}
    assert len(fits) == module.FEWEST_FITS


@given(peak=st.tuples(st.integers(0, 6), st.integers(0, 4)), start=st.tuples(st.integers(0, 6), st.integers(0, 4)))
def test_the_search_finds_the_only_peak(peak: tuple[int, int], start: tuple[int, int]) -> None:
    axes = {"x": tuple(map(float, range(7))), "y": tuple(map(float, range(5)))}

    def figure(setting: Setting) -> float:
        return -((setting["x"] - peak[0]) ** 2) - (setting["y"] - peak[1]) ** 2

    found = climb(axes, {"x": float(start[0]), "y": float(start[1])}, figure)
    assert found == {"x": float(peak[0]), "y": float(peak[1])}


def test_a_sample_of_users_is_always_the_same(interactions: Interactions) -> None:
    histories = Histories.from_interactions(interactions, CATALOGUE)
    drawn = sample_users(histories, 50)
    assert len(set(drawn.users)) == 50
    assert (np.diff(drawn.users) > 0).all()
    assert drawn.users.max() > 100
    for user, start, stop in zip(drawn.users, drawn.offsets, drawn.offsets[1:], strict=False):
        row = int(np.searchsorted(histories.users, user))
        assert drawn.games[start:stop].tolist() == histories.games[slice(*histories.offsets[row : row + 2])].tolist()
    assert (sample_users(histories, 50).users == drawn.users).all()
    assert sample_users(histories, USERS) is histories
