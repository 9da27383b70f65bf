"""One contract for every baseline, on synthetic data whose best ranking is known."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import issparse

from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation import baselines as module
from steam_recsys.evaluation.baselines import (
    LARGE_GRID,
    Baseline,
    FactorRanker,
    Kind,
    Parameters,
    SimilarityRanker,
    TrainingRows,
    climb,
    fit_baselines,
    kinds,
    sample_users,
    tune_baselines,
)
from steam_recsys.evaluation.rankers import rank
from steam_recsys.evaluation.splits import HeldOut, Split, by_time, last_out
from steam_recsys.model import item_item_fits
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item_fits import EASE_MAX_GAMES

USERS, GAMES = 300, 20
CATALOGUE = np.arange(1, GAMES + 1, dtype=np.int32)
PERSONAL = {"item-kNN", "iALS", "RP3beta", "EASE", "DLAE"}


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


def tuned_baselines(past: Interactions, as_of: int | None, validation: Split) -> list[Baseline]:
    return fit_baselines(past, as_of, CATALOGUE, tune_baselines(validation, CATALOGUE))


@pytest.fixture(scope="module")
def baselines(interactions: Interactions) -> dict[str, Baseline]:
    tuned = tuned_baselines(interactions, 107, by_time(interactions, 105))
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
    tuned = tuned_baselines(interactions, None, Split(split.past, split.future, None))
    assert {baseline.name for baseline in tuned} == {"popularity", *PERSONAL}


def test_a_large_catalogue_has_the_same_baselines_without_its_square(interactions: Interactions) -> None:
    large = np.arange(1, EASE_MAX_GAMES + 2, dtype=np.int32)
    rows = TrainingRows(interactions, 107, large)
    fitted = {kind.name: kind.fit(rows, kind.starts[0]) for kind in kinds(rows)}
    assert set(fitted) == {"popularity", "recent popularity", "tuned recent popularity", *PERSONAL}
    for name in ("item-kNN", "RP3beta", "EASE", "DLAE"):
        assert issparse(fitted[name].weights)
        ranked = rank(fitted[name], Histories.from_games([0, 2, 4]), 7)
        assert set(ranked[0].tolist()) == {6, 8, 10, 12, 14, 16, 18}


def test_regressions_of_a_large_catalogue_are_the_exact_ones_if_all_games_are_neighbours(
    in_order: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = TrainingRows(in_order, None, CATALOGUE)
    dense = {kind.name: kind.fit(exact, kind.starts[0]) for kind in kinds(exact) if kind.name in ("EASE", "DLAE")}
    for limited in (module, item_item_fits):
        monkeypatch.setattr(limited, "EASE_MAX_GAMES", 0)
    monkeypatch.setattr(item_item_fits, "NEIGHBOURHOOD", GAMES)
    rows = TrainingRows(in_order, None, CATALOGUE)
    for kind in kinds(rows):
        if kind.name in dense:
            weights = kind.fit(rows, kind.starts[0]).weights
            assert weights.toarray() == pytest.approx(dense[kind.name].weights, abs=1e-5)


def test_one_pass_over_a_large_catalogue_serves_all_regressions(
    in_order: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[int] = []
    fit = module.fit_regressions
    monkeypatch.setattr(module, "fit_regressions", lambda grid, data: passes.append(len(grid)) or fit(grid, data))
    for limited in (module, item_item_fits):
        monkeypatch.setattr(limited, "EASE_MAX_GAMES", 0)
    monkeypatch.setattr(module, "FIT_WORK", 0)  # the limit on fits leaves them out
    split = last_out(in_order)
    chosen = tune_baselines(split, CATALOGUE)
    fit_baselines(in_order, None, CATALOGUE, chosen)
    assert passes == [len(LARGE_GRID), 2]


def test_the_first_settings_are_used_without_validation_rows(interactions: Interactions) -> None:
    nothing = Split(interactions, interactions.take(np.zeros(len(interactions), bool)), 107)
    chosen = tune_baselines(nothing, CATALOGUE)
    assert chosen["EASE"] == {"recency": 0.0, "λ": 200.0}
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
    assert rank(module.with_weights(ranker, {"recency": 1.0}), history, 2).tolist() == [[3, 2], [2, 3]]


def with_verdicts(*histories: list[tuple[int, bool]]) -> Histories:
    found = Histories.from_games(*([game for game, _ in history] for history in histories))
    return replace(found, recommended=np.array([liked for history in histories for _, liked in history], dtype=bool))


def test_a_disliked_game_counts_as_much_as_was_chosen() -> None:
    ranker = SimilarityRanker(np.array([[0, 0, 1, 0], [0, 0, 0, 0.9], [0] * 4, [0] * 4], np.float32))
    history = with_verdicts([(0, False), (1, True)])
    assert rank(ranker, history, 2).tolist() == [[2, 3]]
    for disliked in (0.0, -0.5):
        assert rank(module.with_weights(ranker, {"disliked": disliked}), history, 2).tolist() == [[3, 2]]


@pytest.mark.parametrize(("recency", "disliked"), [(0.0, 1.0), (0.5, 1.0), (1.5, -0.5), (0.0, 0.0)])
def test_weights_of_a_history_are_confidences_in_matrix_factorisation(recency: float, disliked: float) -> None:
    """A user's factors are the weighted ridge regression of preferences on all games; a dislike is no preference."""
    items = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    model = AlternatingLeastSquares(factors=3, regularization=2.0, alpha=4.0)
    model.item_factors = items
    history = with_verdicts([(3, True), (0, False), (4, True)])
    weights = np.zeros(5)
    weights[history.games] = HistoryWeights(disliked=disliked, recency=recency).weigh(history)
    confidence = np.diag(1 + 3.0 * np.abs(weights))
    left = items.T @ confidence @ items + 2.0 * np.eye(3)
    expected = items @ np.linalg.solve(left, items.T @ confidence @ (weights > 0))
    scores = FactorRanker(model, 5, recency, disliked).scores(history)
    assert scores[0] == pytest.approx(expected, abs=1e-5)


def test_dislikes_are_weighed_if_there_are_any(in_order: Interactions) -> None:
    axes = {kind.name: kind.axes for kind in kinds(TrainingRows(in_order, None, CATALOGUE))}
    assert all("disliked" not in axes[name] for name in PERSONAL)
    verdicts = np.random.default_rng(0).random(len(in_order)) < 0.8
    axes = {
        kind.name: kind.axes for kind in kinds(TrainingRows(replace(in_order, recommended=verdicts), None, CATALOGUE))
    }
    assert all(axes[name]["disliked"] == (-0.5, 0.0, 1.0) for name in PERSONAL)


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


@pytest.mark.parametrize("name", sorted(PERSONAL - {"iALS"}))  # rounding decides which of iALS's optima is found
def test_order_is_used_where_it_says_what_comes_next(name: str, in_order: Interactions) -> None:
    chosen = tune_baselines(last_out(in_order), CATALOGUE)
    assert chosen[name]["recency"] > 0


class OnlyKind:
    """Replaces all kinds by one whose figure is a function of its parameters; its fits rank nothing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, figure: Callable[[Parameters], float], **fields: Any) -> None:
        self.fits: list[Parameters] = []
        self.users: list[int] = []
        weights: list[np.ndarray] = []

        def fit(rows: TrainingRows, parameters: Parameters) -> SimilarityRanker:
            self.fits.append(parameters)
            weights.append(np.zeros((GAMES, GAMES), np.float32))
            return SimilarityRanker(weights[-1])

        def measure(ranker: SimilarityRanker, held_out: HeldOut, metrics: object) -> dict[str, np.ndarray]:
            self.users.append(len(held_out))
            (number,) = [number for number, known in enumerate(weights) if known is ranker.weights]
            return {"ndcg_at_10": np.array([figure({**self.fits[number], "recency": ranker.recency})])}

        monkeypatch.setattr(module, "kinds", lambda rows: iter([Kind("only", fit=fit, **fields)]))
        monkeypatch.setattr(module, "measure", measure)


def test_one_fit_serves_all_recencies(in_order: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    only = OnlyKind(
        monkeypatch,
        lambda found: -abs(found["recency"] - 0.5),
        axes={"recency": (0.0, 0.5, 1.0), "λ": (1.0, 2.0)},
        starts=({"recency": 0.0, "λ": 1.0},),
    )
    assert tune_baselines(last_out(in_order), CATALOGUE)["only"] == {"recency": 0.5, "λ": 1.0}
    assert only.fits == [{"λ": 1.0}, {"λ": 2.0}]


def test_fits_that_are_not_kept_are_repeated_without_being_counted(
    in_order: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value of λ needs another recency, so that the search comes back to it."""
    only = OnlyKind(
        monkeypatch,
        lambda found: found["λ"] - 3 * abs(found["recency"] - found["λ"] / 4),
        axes={"recency": (0.0, 0.25, 0.5, 0.75), "λ": (1.0, 2.0, 3.0)},
        starts=({"recency": 0.0, "λ": 1.0},),
    )
    monkeypatch.setattr(module, "KEPT_BYTES", 0)
    monkeypatch.setattr(module, "FIT_WORK", 0)
    monkeypatch.setattr(module, "FEWEST_FITS", 3)
    assert tune_baselines(last_out(in_order), CATALOGUE)["only"] == {"recency": 0.75, "λ": 3.0}
    assert len(only.fits) > 3
    assert {fit["λ"] for fit in only.fits} == {1.0, 2.0, 3.0}


def test_large_data_get_few_fits(
    in_order: Interactions, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    many = tuple(float(value) for value in range(100))
    only = OnlyKind(monkeypatch, lambda found: found["x"], axes={"x": many}, starts=({"x": 50.0},))
    monkeypatch.setattr(module, "FIT_WORK", 0)
    assert tune_baselines(last_out(in_order), CATALOGUE)["only"] == {"x": 52.0}
    assert len(only.fits) == module.FEWEST_FITS
    assert capsys.readouterr().out.count("only: the search ended after 3 fits, the most for data of this size") == 1


def test_the_search_goes_on_from_the_best_start(in_order: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if few fits are allowed: the first start does not use them up."""
    many = tuple(float(value) for value in range(100))
    only = OnlyKind(
        monkeypatch, lambda found: -abs(found["x"] - 81), axes={"x": many}, starts=({"x": 50.0}, {"x": 80.0})
    )
    monkeypatch.setattr(module, "FIT_WORK", 0)
    assert tune_baselines(last_out(in_order), CATALOGUE)["only"] == {"x": 81.0}
    assert only.fits == [{"x": 50.0}, {"x": 80.0}, {"x": 81.0}]


def test_one_measurement_has_a_bounded_number_of_users(in_order: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TUNING_USERS", 10)
    for scores, most, users in ((10**9, 20_000, USERS), (10**9, 60, 60), (30 * GAMES, 60, 30), (0, 60, 10)):
        only = OnlyKind(monkeypatch, lambda found: 0.0, axes={"x": (0.0,)}, starts=({"x": 0.0},))
        monkeypatch.setattr(module, "MOST_TUNING_USERS", most)
        monkeypatch.setattr(module, "TUNING_SCORES", scores)
        tune_baselines(last_out(in_order), CATALOGUE)
        assert only.users == [users]


def test_factors_are_swept_less_often_to_compare_them(in_order: Interactions, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeps: list[int] = []

    def recorded(**fields: Any) -> AlternatingLeastSquares:
        sweeps.append(fields["iterations"])
        return AlternatingLeastSquares(**fields)

    monkeypatch.setattr(module, "AlternatingLeastSquares", recorded)
    tuned_baselines(in_order, None, last_out(in_order))
    assert set(sweeps[:-1]) == {module.IALS_TUNING_SWEEPS}
    assert sweeps[-1] == module.IALS_SWEEPS


def test_the_search_steps_over_one_worse_value() -> None:
    figures = {1.0: 0.5, 2.0: 0.4, 3.0: 0.6, 4.0: 0.3, 5.0: 0.2, 6.0: 0.9}
    axes, start = {"x": tuple(figures)}, {"x": 1.0}
    assert climb(axes, start, lambda found: figures[found["x"]]) == {"x": 3.0}
    assert climb(axes, start, lambda found: figures[found["x"]], costly=("x",)) == {"x": 1.0}


@given(peak=st.tuples(st.integers(0, 6), st.integers(0, 4)), start=st.tuples(st.integers(0, 6), st.integers(0, 4)))
def test_the_search_finds_the_only_peak(peak: tuple[int, int], start: tuple[int, int]) -> None:
    axes = {"x": tuple(map(float, range(7))), "y": tuple(map(float, range(5)))}

    def figure(found: Parameters) -> float:
        return -((found["x"] - peak[0]) ** 2) - (found["y"] - peak[1]) ** 2

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
