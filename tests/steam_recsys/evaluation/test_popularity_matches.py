import numpy as np
import pytest

from steam_recsys.data.histories import Histories
from steam_recsys.evaluation import popularity_matches
from steam_recsys.evaluation.popularity_matches import PopularityMatches, rank_and_match
from steam_recsys.evaluation.rankers import StaticRanker, rank
from steam_recsys.evaluation.splits import HeldOut
from tests.steam_recsys.evaluation.test_beyond_accuracy import games_of, random_popularity, random_users


@pytest.mark.parametrize("chunk", [1, 1 << 20])
@pytest.mark.parametrize("seed", range(12))
def test_auc_compares_with_the_nearest_games_in_popularity_that_the_user_does_not_have(
    seed: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(popularity_matches, "MATCHES", 4)
    monkeypatch.setattr(popularity_matches, "HEAD_GAMES", 5)
    monkeypatch.setattr(popularity_matches, "_BLOCK_CANDIDATES", chunk)
    held_out, _ = random_users(seed, n_games=40)
    popularity = random_popularity(seed, 40)
    weights = np.random.default_rng(seed).integers(0, 6, 40).astype(np.float32)  # some are equal
    order = sorted(range(40), key=lambda game: (-popularity[game], game))
    expected, tail = [], []
    for user in range(len(held_out)):
        owned = games_of(held_out.history, user) + games_of(held_out.relevant, user)
        for game in games_of(held_out.relevant, user):
            place = order.index(game)
            free = [other for other in range(40) if order[other] not in owned]
            nearest = sorted(free, key=lambda other, place=place: (abs(other - place), other))[:4]
            wins = [float(np.sign(weights[game] - weights[order[other]]) + 1) / 2 for other in nearest]
            if wins:
                expected.append(np.mean(wins))
                tail.append(place >= 5)
    matches = PopularityMatches.from_held_out(held_out, popularity)
    ranked, auc = rank_and_match(StaticRanker(weights), held_out.history, 5, matches)
    assert auc == pytest.approx(expected)
    assert np.array_equal(ranked, rank(StaticRanker(weights), held_out.history, 5))
    assert matches.tail.tolist() == tail
    figures = matches.figures(np.array(expected))
    assert figures["matched_auc"] == pytest.approx(np.mean(expected))
    assert figures["tail_matched_auc"] == pytest.approx(np.mean(np.array(expected)[tail]))


def auc_by(ranker: StaticRanker, held_out: HeldOut, matches: PopularityMatches) -> np.ndarray:
    return rank_and_match(ranker, held_out.history, 1, matches)[1]


def test_popularity_cannot_tell_games_of_about_the_same_popularity_apart() -> None:
    held_out, _ = random_users(2, n_users=300, n_games=400)
    popularity = np.sort(np.random.default_rng(2).random(400))[::-1]
    matches = PopularityMatches.from_held_out(held_out, popularity)
    auc = auc_by(StaticRanker(popularity.astype(np.float32)), held_out, matches)
    assert auc[matches.tail].mean() == pytest.approx(0.5, abs=0.06)
    none = auc_by(StaticRanker(np.zeros(400, np.float32)), held_out, matches)
    assert (none == 0.5).all()


def test_of_many_held_out_games_the_same_sample_is_matched_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out, _ = random_users(4, n_users=40, n_games=60)
    monkeypatch.setattr(popularity_matches, "MATCHED_PAIRS", 15)
    first, second = (PopularityMatches.from_held_out(held_out, random_popularity(4, 60)) for _ in range(2))
    assert len(first.users) == 15
    assert np.array_equal(first.games, second.games)
    assert (np.diff(first.users) >= 0).all()


def test_a_game_without_any_other_is_not_matched() -> None:
    held_out = HeldOut(Histories.from_games([0]), Histories.from_games([1]), 0)
    matches = PopularityMatches.from_held_out(held_out, np.array([1.0, 2.0]))
    assert matches.figures(auc_by(StaticRanker(np.ones(2, np.float32)), held_out, matches)) == {}
