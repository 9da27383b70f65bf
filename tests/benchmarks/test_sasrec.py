"""SASRec as a baseline."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import sasrec as module
from benchmarks.generated import Size, generate_in_order
from benchmarks.public_data import Protocol
from benchmarks.sasrec import SasrecRanker, SasrecSettings, figures
from components.train.sequential_tower import SequenceConfig
from components.train.validation_data import POPULARITY_WEIGHTS
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import cutoff_day
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, measure
from steam_recsys.evaluation.splits import HeldOut, Split, by_time
from tests.steam_recsys.model.models import GAMES, random_tower


def test_scores_are_the_scaled_cosine_of_the_tower_plus_the_weighed_prior() -> None:
    tower, prior = random_tower(), np.arange(GAMES, dtype=np.float32)
    ranker = SasrecRanker(tower, 6.0, prior, 0.5)
    history = Histories.from_games([3, 1, 2], [])
    assert ranker.n_games == GAMES
    cosine = float(tower.queries(history)[0] @ tower.candidates[7])
    assert np.isclose(ranker.scores(history)[0, 7], 6 * cosine + 3.5, atol=1e-5)
    assert np.array_equal(ranker.scores(history)[1], prior / 2)  # without a history, popularity alone


def test_figures_are_those_of_the_ranker_with_each_popularity_weight() -> None:
    random = np.random.default_rng(0)
    ranker = SasrecRanker(random_tower(), 6.0, random.normal(size=GAMES).astype(np.float32))
    games = [random.permutation(GAMES) for _ in range(30)]
    history, relevant = (
        Histories.from_games(*(each[part].tolist() for each in games)) for part in (slice(3), slice(3, 6))
    )
    held_out = HeldOut(history, relevant, 0)
    found = figures(ranker, held_out)
    assert [weight for _, weight in found] == list(POPULARITY_WEIGHTS)
    for ndcg, weight in found:
        expected = measure(replace(ranker, popularity_weight=weight), held_out, (HEADLINE_METRIC,))
        assert np.isclose(ndcg, expected[HEADLINE_METRIC.name].mean(), atol=1e-6)
    assert len({ndcg for ndcg, _ in found}) > 1


def small_protocol() -> Protocol:
    interactions, games = generate_in_order(Size(2_000, 150, 60), 0)
    test = by_time(interactions, cutoff_day(interactions, 0.2))
    return Protocol("small", games, test, by_time(test.past, cutoff_day(test.past, 0.2)))


def test_the_best_dropout_width_and_popularity_weight_on_validation_data_are_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With figures that grow with the width and fall with the dropout, and are best with one popularity weight."""
    checked: list[float] = []

    def fit(
        split: Split, games: Games, sequence: SequenceConfig, seed: int, figure: Callable[[SequenceConfig], float]
    ) -> tuple[SequenceConfig, float]:
        assert split is protocol.validation
        checked.append(figure(sequence))
        return sequence, 0.75

    def known(sequence: SequenceConfig, held_out: HeldOut) -> list[tuple[float, float]]:
        best = sequence.dimensions / 1000 - sequence.dropout / 100
        return [(best - 0.01, 1.0), (best, 0.8), (best - 0.02, 0.5)]

    protocol = small_protocol()
    monkeypatch.setattr(module, "_fit", fit)
    monkeypatch.setattr(module, "figures", known)
    chosen = SasrecSettings.tune(protocol, 0)
    assert (chosen.sequence.dimensions, chosen.sequence.dropout, chosen.sequence.share) == (128, 0.2, 0.75)
    assert chosen.popularity_weight == 0.8
    assert checked == pytest.approx([0.062, 0.126, 0.059, 0.123])
    assert str(chosen) == "128 dimensions, dropout 0.2, 75% of the steps, popularity × 0.8"


def test_a_fit_has_the_chosen_settings_and_is_deterministic_for_a_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DROPOUTS", (0.5,))
    monkeypatch.setattr(module, "DIMENSIONS", (16,))
    protocol = small_protocol()
    chosen = SasrecSettings.tune(protocol, 1)
    first, again, other = (SasrecRanker.fit(protocol, chosen, seed) for seed in (1, 1, 2))
    assert first.tower.candidates.shape == (60, 16)
    assert first.popularity_weight == chosen.popularity_weight
    users = Histories.from_interactions(protocol.test.past, protocol.games.ids)
    assert np.array_equal(first.scores(users), again.scores(users))
    assert not np.array_equal(first.scores(users), other.scores(users))
