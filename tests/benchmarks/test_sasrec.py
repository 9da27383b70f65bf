"""SASRec as a baseline."""

import numpy as np

from benchmarks.generated import Size, generate_in_order
from benchmarks.public_data import Protocol
from benchmarks.sasrec import SasrecRanker
from components.train.tuning import POPULARITY_WEIGHTS
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import cutoff_day
from steam_recsys.evaluation.splits import by_time
from tests.steam_recsys.model.models import GAMES, random_tower


def test_scores_are_the_scaled_cosine_of_the_tower_plus_the_weighed_prior() -> None:
    tower, prior = random_tower(), np.arange(GAMES, dtype=np.float32)
    ranker = SasrecRanker(tower, 6.0, prior, 0.5)
    history = Histories.from_games([3, 1, 2], [])
    assert ranker.n_games == GAMES
    cosine = float(tower.queries(history)[0] @ tower.candidates[7])
    assert np.isclose(ranker.scores(history)[0, 7], 6 * cosine + 3.5, atol=1e-5)
    assert np.array_equal(ranker.scores(history)[1], prior / 2)  # without a history, popularity alone


def test_fit_tunes_the_popularity_weight_and_is_deterministic_for_a_seed() -> None:
    interactions, games = generate_in_order(Size(2_000, 150, 60), 0)
    test = by_time(interactions, cutoff_day(interactions, 0.2))
    protocol = Protocol("small", games, test, by_time(test.past, cutoff_day(test.past, 0.2)))
    first, again = (SasrecRanker.fit(protocol, 1) for _ in range(2))
    assert first.popularity_weight in POPULARITY_WEIGHTS
    assert first.settings == f"popularity × {first.popularity_weight:g}"
    users = Histories.from_interactions(test.past, games.ids)
    assert np.array_equal(first.scores(users), again.scores(users))
