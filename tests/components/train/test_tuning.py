"""The search, with random towers, and figures that depend only on the scale and the popularity weight.

test_training.py has searches that fit towers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from components.train import tuning
from components.train.assembly import fit_item_item
from components.train.choice import Setting
from components.train.deadline import Deadline
from components.train.sequential_trainer import SequentialFit
from components.train.tensorflow_runtime import get_workers
from components.train.trainer import TowerFit, Trainer
from components.train.training_data import TrainingData
from components.train.tuning import TuningResult, tune
from components.train.two_tower_model import ModelConfig
from components.train.validation_data import POPULARITY_WEIGHTS, Part, Validation, rank
from steam_recsys.arrays import Float64Array
from steam_recsys.evaluation.metrics import NDCG
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import Towers, with_top_weight
from tests.components.train.checkerboard import training_data
from tests.components.train.test_choice import BUDGET, setting
from tests.steam_recsys.model.models import random_tower

CONFIG = ModelConfig(dimensions=8, scale=0.5, trial_steps=2)


class RandomFits(Trainer):
    """Returns random towers instead of fitting them."""

    def __init__(self) -> None:
        super().__init__(0, get_workers())

    def fit(self, *arguments: Any, check: Callable[[Towers], float]) -> TowerFit:
        towers = random_towers(arguments[1])
        return TowerFit(towers, (2.0, 1.0), (check(towers), check(towers)))


def random_towers(data: TrainingData) -> Towers:
    random = np.random.default_rng(0)
    return Towers(*(random.standard_normal((rows, 8)).astype(np.float32) for rows in (len(data.games), 3) * 2))


@pytest.fixture(autouse=True)
def random_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return a random sequential tower instead of fitting it."""

    def fit(data: TrainingData, *arguments: Any) -> SequentialFit:
        tower, check = random_tower(len(data.games)), arguments[-1]
        return SequentialFit(tower, 0.25, (2.0, 1.0), (check(tower), check(tower)))

    monkeypatch.setattr(tuning, "fit_sequential_tower", fit)


@dataclass(frozen=True)
class KnownFigures(Validation):
    """Mean NDCG@10 by scale; each popularity weight below the first costs a little and lowers the overlap.

    The sequential tower adds `sequence_gain` at a weight of a half, and less at other weights.
    """

    means: dict[float, float]
    sequence_gain: float = 0.0

    def measure(
        self, scorer: Scorer, weights: Sequence[float], parts: Sequence[Part] = ()
    ) -> Iterator[tuple[Float64Array, float, float]]:
        for weight in weights:
            lower = POPULARITY_WEIGHTS.index(weight)
            tower_weight = scorer.sequence_scale / CONFIG.sequence.scale
            gain = self.sequence_gain * (1 - abs(tower_weight - 0.5)) if scorer.sequence else 0.0
            yield (
                setting(self.means.get(scorer.scale, 0.1) - 0.00105 * lower + gain, 0.9 - 0.02 * lower).ndcg,
                0.9 - 0.02 * lower,
                10 / (0.9 - 0.02 * lower),
            )

    def figures(self, scorer: Scorer, weight: float, parts: Sequence[Part], metric: NDCG) -> Float64Array:
        ((figures, *_),) = self.measure(scorer, (weight,), parts)
        return figures

    def interests_weight(self, scorer: Scorer) -> float:
        return 0.1


def tuned(
    means: dict[float, float],
    budget: float = BUDGET,
    gain: float = 0.0,
    deadline: Deadline | None = None,
) -> TuningResult:
    data = training_data(CONFIG)
    history = data.histories
    held_out = HeldOut(history, history, 0)
    validation = KnownFigures(
        held_out, data.games, np.ones((3, len(data.games))), np.ones(len(data.games), bool), means, gain
    )
    return tune(data, validation, CONFIG, RandomFits(), budget, deadline or Deadline())


def test_scale_is_doubled_while_that_helps_then_one_between_is_tried() -> None:
    found = tuned({0.5: 0.39, 1.0: 0.4, 2.0: 0.395, 1.5: 0.398})
    assert [trial.scale for trial in found.trials] == [0.5, 1.0, 2.0, 1.5]
    for trial in found.trials:
        weight_one = POPULARITY_WEIGHTS.index(1.0)
        assert trial.checks[-1] == pytest.approx(trial.ndcg_at_10 - 0.00105 * weight_one)


def test_the_most_accurate_and_the_chosen_setting_are_both_reported() -> None:
    found = tuned({0.5: 0.4, 1.0: 0.2})
    assert (found.most_accurate.config.scale, found.most_accurate.mean) == (0.5, pytest.approx(0.4))
    assert found.chosen.config.popularity_weight == POPULARITY_WEIGHTS[9]  # the last with a mean of at least 0.39
    assert found.chosen.config.interests_weight == 0.1
    assert found.chosen.overlap < found.most_accurate.overlap


def test_without_a_budget_the_most_accurate_setting_is_chosen() -> None:
    found = tuned({0.5: 0.4, 1.0: 0.2}, budget=0.0)
    assert found.chosen.config == replace(found.most_accurate.config, interests_weight=0.1)


class Readings:
    """A clock that goes one second forward each time it is read."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> float:
        self.count += 1
        return float(self.count)


MEANS = {0.5: 0.39, 1.0: 0.4, 2.0: 0.395, 1.5: 0.398}


def test_a_budget_that_is_too_small_for_anything_has_one_fit_and_its_best_popularity_weight() -> None:
    found = tuned(MEANS, deadline=Deadline(1e-6, Readings()))
    assert found.cut_short
    assert [trial.scale for trial in found.trials] == [0.5]
    assert found.most_accurate.config == replace(CONFIG, popularity_weight=POPULARITY_WEIGHTS[0])
    assert found.chosen.config.popularity_weight in POPULARITY_WEIGHTS[1:]
    assert found.chosen.config.interests_weight == 0.1


def test_a_search_that_fits_in_the_budget_chooses_as_without_one(capsys: pytest.CaptureFixture[str]) -> None:
    found, unlimited = tuned(MEANS, deadline=Deadline(1e9, Readings())), tuned(MEANS)
    assert found.chosen.config == unlimited.chosen.config
    assert found.trials == unlimited.trials
    assert not found.cut_short
    assert not unlimited.cut_short
    assert "the search for settings" not in capsys.readouterr().err


@pytest.mark.parametrize("share", [0.1, 0.25, 0.5, 0.75, 0.9])
def test_a_search_that_is_cut_short_anywhere_keeps_to_the_budget_and_chooses_what_it_has_measured(
    share: float, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, clock = Readings(), Readings()
    unlimited = tuned(MEANS, gain=0.02, deadline=Deadline(1e9, whole))
    seconds = share * whole.count
    deadline = Deadline(seconds / 60, clock)
    found = tuned(MEANS, gain=0.02, deadline=deadline)
    assert found.cut_short
    assert clock.count <= seconds
    assert found.trials == unlimited.trials[: len(found.trials)]
    assert found.most_accurate.mean <= unlimited.most_accurate.mean
    printed = "".join(capsys.readouterr())
    assert "[train] the search for settings is cut short after" in printed
    assert f"of training_minutes = {deadline.minutes:g} are for the final fit" in printed


def test_a_sequential_tower_that_would_take_too_long_is_left_out_and_the_search_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, improved = [0.0], []

    def fit_slowly(*arguments: Any) -> SequentialFit:
        tower = random_tower(len(training_data(CONFIG).games))
        while True:
            now[0] += 10
            arguments[-1](tower)

    monkeypatch.setattr(tuning, "fit_sequential_tower", fit_slowly)
    monkeypatch.setattr(tuning._Search, "improve_item_item", lambda _, find: improved.append(find()))
    found = tuned(MEANS, gain=0.02, deadline=Deadline(105 / 57, lambda: now[0]))
    assert now == [60]  # 45 s are left, and the final fit would need at least 60
    assert found.cut_short
    assert not found.most_accurate.config.sequence.weight
    assert found.most_accurate in improved


def test_a_table_that_is_no_longer_kept_is_fitted_again_for_the_choice_after_the_deadline() -> None:
    deadline = Deadline(1e-6, Readings())
    search = search_with_random_towers(deadline)
    with deadline.enforced():
        search.measure(ALL_KINDS, (1.0,))
    assert deadline.passed
    assert not search.settings
    assert search.scorer(ALL_KINDS).next_games is not None


ALL_KINDS = replace(
    CONFIG, regression_weight=2.0, regression_dropout=0.33, neighbour_weight=0.5, next_weight=3.0, next_recency=0.5,
    regression_per_game=4, neighbours_per_game=3, next_per_game=5, history_weights=HistoryWeights(recency=0.5),
)  # fmt: skip

WITH_SEQUENCE = replace(ALL_KINDS, sequence=replace(CONFIG.sequence, weight=0.5))


def search_with_random_towers(deadline: Deadline | None = None) -> tuning._Search:
    data = training_data(CONFIG)
    users = HeldOut(data.histories, data.histories, 0)
    popularity = np.random.default_rng(1).integers(1, 100, (3, len(data.games))).astype(np.float64)
    validation = Validation(users, data.games, popularity, np.ones(len(data.games), bool))
    search = tuning._Search(data, validation, CONFIG, deadline or Deadline())
    search._scorers[CONFIG.scale] = search._tower_scorer(random_towers(data), CONFIG)
    search._fitted_sequence = SequentialFit(random_tower(len(data.games)), 1.0, ())
    return search


@pytest.mark.parametrize("memory", [1 << 30, 0])
@pytest.mark.parametrize("without", [(), ("regression_weight",), ("neighbour_weight", "next_weight"), tuning.FACTORS])
@pytest.mark.parametrize("start", [ALL_KINDS, WITH_SEQUENCE], ids=["two towers", "with a sequential tower"])
def test_the_parts_of_a_setting_add_up_to_the_taste_of_its_scorer(
    start: ModelConfig, without: Sequence[str], memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "PART_BYTES", memory)
    search = search_with_random_towers()
    users, config = search._validation.held_out, replace(start, **dict.fromkeys(without, 0.0))
    scorer = search.scorer(config)
    assert (scorer.next_games is None) is ("next_weight" in without)
    assert (scorer.sequence is None) is (start is ALL_KINDS)
    for _ in range(2):  # the second time from memory
        parts = search._parts_of(config)
        assert sum(factor * part for factor, part in parts) == pytest.approx(scorer.taste(users.history), abs=1e-4)
    for added, at_once in zip(rank(scorer, users, (1.0,), 5, parts=parts), rank(scorer, users, (1.0,), 5), strict=True):
        assert np.array_equal(added, at_once)


def test_the_model_has_the_item_item_weights_that_were_tuned() -> None:
    search = search_with_random_towers()
    scorer = search.scorer(ALL_KINDS)
    item_item, next_games = fit_item_item(search._data, ALL_KINDS)
    assert scorer.next_games is not None
    assert next_games is not None
    assert next_games.recency == scorer.next_games.recency == 0.5
    for fitted, tried in ((item_item, scorer.item_item), (next_games.weights, scorer.next_games.weights)):
        assert np.array_equal(fitted.offsets, tried.offsets)
        assert np.array_equal(fitted.games, tried.games)
        assert fitted.weights == pytest.approx(tried.weights)


def test_a_factor_of_one_spread_makes_a_kind_differ_as_much_between_games_as_the_towers() -> None:
    search = search_with_random_towers()
    for factor in tuning.FACTORS:
        unit = search._unit(WITH_SEQUENCE, factor)
        only = replace(ALL_KINDS, **(dict.fromkeys(tuning.FACTORS, 0.0) | {factor: unit}))
        (_, towers), (_, part) = search._parts_of(only)
        assert unit * part.std(axis=1).mean() == pytest.approx(towers.std(axis=1).mean(), rel=1e-4)


def test_weights_of_next_games_are_not_used_where_the_order_means_nothing() -> None:
    search = search_with_random_towers()
    (present,) = search.measure(CONFIG, (1.0,))
    search.improve_item_item(lambda: present)
    assert any(setting.config.regression_weight for setting in search.settings.values())
    assert all(not setting.config.next_weight for setting in search.settings.values())


@pytest.mark.parametrize("clearly", [True, False])
def test_item_knn_and_next_games_are_used_only_if_they_make_the_setting_clearly_better(
    clearly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "is_clearly_better", lambda *_: clearly)
    search = search_with_random_towers()
    (present,) = search.measure(CONFIG, (1.0,))
    search.improve_item_item(lambda: present)
    for factor in ("neighbour_weight", "next_weight"):
        assert any(getattr(setting.config, factor) for setting in search.settings.values()) is clearly


@pytest.mark.parametrize("clearly", [True, False])
def test_another_number_of_weights_per_game_is_used_only_if_it_is_clearly_better(
    clearly: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = set()

    def is_clearly_better(best: Setting, present: Setting, _: int) -> bool:
        compared.add((best.config.popularity_weight, present.config.popularity_weight))
        return clearly

    monkeypatch.setattr(tuning, "is_clearly_better", is_clearly_better)
    search = search_with_random_towers()
    (present,) = search.measure(replace(CONFIG, regression_weight=2.0, regression_per_game=4), (1.0,))
    search._try_numbers(lambda: present, "regression_weight", "regression_per_game", (2, 4, 8))
    numbers = {setting.config.regression_per_game for setting in search.settings.values()}
    assert numbers == ({2, 4, 8} if clearly else {4})
    assert compared == {(1.0, 1.0)}


@pytest.mark.parametrize(
    ("best", "tried"),
    [
        (100.0, [50.0, 200.0]),
        (25.0, [50.0, 25.0, 12.5]),
        (400.0, [50.0, 200.0, 400.0, 800.0]),
        (0.1, [50.0, 25.0, 12.5]),
    ],
)
def test_regularisation_is_halved_or_else_doubled_while_that_helps(
    best: float, tried: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    search, values = search_with_random_towers(), []

    def measure(regularisation: float) -> None:
        config = replace(CONFIG, regression_weight=2.0, regression_regularisation=regularisation)
        search._keep([Setting(config, np.full(2, -abs(np.log(regularisation / best))), 0.0, 0.0)])

    def try_kinds(find: Callable[[], Setting], factor: str, kinds: Sequence[dict[str, float]]) -> None:
        values.extend(kind["regression_regularisation"] for kind in kinds)
        measure(values[-1])

    monkeypatch.setattr(search, "_try_kinds", try_kinds)
    measure(100.0)
    search._refine_regularisation(lambda: tuning.most_accurate(search.settings.values()))
    assert values == tried


def test_popularity_may_count_more_at_the_top_with_every_smaller_popularity_weight() -> None:
    search = search_with_random_towers()
    search.try_top_weights(CONFIG)
    found = {(config.top_weight, config.popularity_weight) for config in search.settings}
    expected = {(top, weight) for top in tuning.TOP_WEIGHTS for weight in POPULARITY_WEIGHTS if weight <= 1}
    assert found == expected
    for config in search.settings:
        scorer, plain = (search.scorer(each) for each in (config, replace(config, top_weight=0.0)))
        raised = with_top_weight(plain.popularity_prior, config.top_weight)
        assert np.array_equal(scorer.popularity_prior, raised)


def test_the_regularisation_of_no_regression_is_not_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    search = search_with_random_towers()
    (present,) = search.measure(CONFIG, (1.0,))
    monkeypatch.setattr(search, "_try_kinds", lambda *_: pytest.fail("there is no regression"))
    search._refine_regularisation(lambda: present)


@pytest.mark.parametrize(("gain", "weight"), [(0.02, 0.5), (0.0, 0.0), (-0.02, 0.0)])
def test_the_sequential_tower_gets_its_best_weight_if_that_is_clearly_better_than_none(
    gain: float, weight: float
) -> None:
    sequence = tuned({0.5: 0.4}, gain=gain).chosen.config.sequence
    assert sequence.weight == weight
    if weight:
        assert sequence.share == 0.25
