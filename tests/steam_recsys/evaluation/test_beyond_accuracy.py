import doctest
import math
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.arrays import Float32Array, Float64Array, Int32Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation import beyond_accuracy
from steam_recsys.evaluation.beyond_accuracy import (
    Reference,
    effective_games,
    genre_divergence,
    genre_shares,
    ipw_ndcg,
    mean_jaccard,
    measure_lists,
    popularity_ranks,
    shows_popular_games,
    tail_hits,
)
from steam_recsys.evaluation.metrics import NDCG, measure_ranked
from steam_recsys.evaluation.rankers import StaticRanker, rank
from steam_recsys.evaluation.splits import HeldOut

GAMES = 12

lists = st.lists(
    st.lists(st.integers(0, GAMES - 1), unique=True, max_size=6).map(lambda games: games + [-1] * (6 - len(games))),
    min_size=1,
    max_size=8,
)
list_lengths = st.integers(1, 8)
seeds = st.integers(0, 10_000)


def random_users(seed: int, n_users: int = 9, n_games: int = GAMES, k: int = 5) -> tuple[HeldOut, Int32Array]:
    """Users with random histories and held-out games, and lists of the games that they do not have yet."""
    random = np.random.default_rng(seed)
    owned, relevant, ranked = [], [], np.full((n_users, k), -1, np.int32)
    for user in range(n_users):
        order = random.permutation(n_games).tolist()
        own = random.integers(0, n_games - 2)
        owned.append(order[:own])
        relevant.append(order[own : own + random.integers(1, 3)])
        shown = random.permutation(order[own:])[: random.integers(0, k + 1)]
        ranked[user, : len(shown)] = shown
    history = Histories.from_games(*owned)
    history.recommended[:] = random.random(len(history.games)) < 0.7
    return HeldOut(history, Histories.from_games(*relevant), 0), ranked


def games_of(histories: Histories, user: int) -> list[int]:
    return histories.games[histories.offsets[user] : histories.offsets[user + 1]].tolist()


def shown_to(ranked: Int32Array, user: int, k: int) -> list[int]:
    return [game for game in ranked[user, :k].tolist() if game >= 0]


def random_popularity(seed: int, n_games: int = GAMES) -> Float64Array:
    """Small numbers, so that some games are equally popular."""
    return np.random.default_rng(seed).integers(0, 8, n_games).astype(np.float64)


@given(lists, list_lengths)
def test_overlap_is_the_mean_jaccard_index_over_all_pairs_of_users(ranked: list[list[int]], k: int) -> None:
    shown = [games for row in ranked if (games := set(row[:k]) - {-1})]
    pairs = [len(one & other) / len(one | other) for one, other in combinations(shown, 2)]
    expected = sum(pairs) / len(pairs) if pairs else 0
    assert mean_jaccard(np.array(ranked, np.int32), k) == pytest.approx(expected, abs=1e-12)


def test_equal_lists_overlap_entirely_in_any_order() -> None:
    assert mean_jaccard(np.array([[0, 1], [1, 0], [0, 1]], np.int32), 2) == 1


def test_overlap_of_many_users_is_that_of_a_sample_and_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ranked = np.argsort(np.random.default_rng(0).random((900, 30)) + np.arange(30) / 20, axis=1).astype(np.int32)
    exact = mean_jaccard(ranked, 10)
    monkeypatch.setattr(beyond_accuracy, "JACCARD_USERS", 300)
    sampled = mean_jaccard(ranked, 10)
    assert sampled == mean_jaccard(ranked, 10)
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=0.02)


@given(lists, list_lengths)
def test_effective_games_are_the_exponential_of_the_entropy(ranked: list[list[int]], k: int) -> None:
    shown = Counter(game for row in ranked for game in row[:k] if game >= 0)
    shares = [times / shown.total() for times in shown.values()]
    expected = math.exp(-sum(share * math.log(share) for share in shares)) if shares else 0
    assert effective_games(np.array(ranked, np.int32), k) == pytest.approx(expected)


@given(seeds, list_lengths)
def test_the_popular_games_are_those_that_popularity_would_rank_first(seed: int, k: int) -> None:
    held_out, ranked = random_users(seed, k=3)
    orders = np.stack([random_popularity(seed), random_popularity(seed + 1)])
    found = shows_popular_games(ranked, held_out.history, orders, k)
    for user, popular in enumerate(found.tolist()):
        shown = shown_to(ranked, user, k)
        expected = False
        for one in orders:
            new = [game for game in range(GAMES) if game not in games_of(held_out.history, user)]
            best = sorted(new, key=lambda game, one=one: (-one[game], game))[: len(shown)]
            expected |= bool(shown) and set(shown) == set(best)
        assert popular == expected


def test_a_ranking_by_popularity_shows_everybody_the_popular_games() -> None:
    held_out, _ = random_users(1, n_users=50)
    popularity = random_popularity(1)
    ranked = rank(StaticRanker(popularity.astype(np.float32)), held_out.history, 5)
    assert shows_popular_games(ranked, held_out.history, popularity[None], 5).all()


@given(lists, list_lengths, st.lists(st.integers(0, 5), min_size=GAMES, max_size=GAMES))
def test_equally_popular_games_share_the_mean_of_their_ranks(
    ranked: list[list[int]], k: int, popularity: list[int]
) -> None:
    order = sorted(popularity, reverse=True)
    ranks = [np.mean([rank for rank, one in enumerate(order, start=1) if one == other]) for other in popularity]
    expected = [np.mean([ranks[game] for game in row[:k] if game >= 0]) for row in ranked if row[0] >= 0]
    found = popularity_ranks(np.array(ranked, np.int32), np.array(popularity, np.float64), k)
    assert found == pytest.approx(expected)


def random_genres(seed: int) -> Float32Array:
    """Random shares of four genres; some games have none."""
    shares = np.random.default_rng(seed).integers(0, 2, (GAMES, 4)).astype(np.float32)
    return shares / np.maximum(1, shares.sum(axis=1, keepdims=True))


@given(seeds, list_lengths)
def test_divergence_is_that_of_the_genres_of_the_list_from_those_of_the_liked_games(seed: int, k: int) -> None:
    held_out, ranked = random_users(seed)
    genres = random_genres(seed)
    expected = []
    for user in range(len(held_out)):
        liked = held_out.history.take(np.array([user])).recommended_only().games
        wanted, shown = genres[liked].sum(axis=0), genres[shown_to(ranked, user, k)].sum(axis=0)
        if wanted.sum() == 0:
            continue
        p, q = wanted / wanted.sum(), shown / max(1e-9, shown.sum())
        expected.append(
            sum(one * math.log(one / (0.01 * one + 0.99 * other)) for one, other in zip(p, q, strict=True) if one)
        )
    assert genre_divergence(ranked, held_out.history, genres, k) == pytest.approx(expected, abs=1e-6)


def test_divergence_is_the_same_for_blocks_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    held_out, ranked = random_users(3)
    expected = genre_divergence(ranked, held_out.history, random_genres(3), 5)
    monkeypatch.setattr(beyond_accuracy, "_BLOCK_USERS", 2)
    assert genre_divergence(ranked, held_out.history, random_genres(3), 5) == pytest.approx(expected)


def test_genres_of_a_game_have_equal_shares_and_other_attributes_none() -> None:
    attributes = [{"genre RPG": 0.5, "genre Action": 0.5, "os Linux": 1.0}, {"word war": 1.0}, {"genre Action": 1.0}]
    assert genre_shares(Games(np.arange(3, dtype=np.int32), attributes)).tolist() == [[0.5, 0.5], [0, 0], [1, 0]]


@given(seeds, list_lengths)
def test_inverse_propensity_weighted_gain_is_the_weighted_mean_over_held_out_games(seed: int, k: int) -> None:
    held_out, ranked = random_users(seed)
    reviews = random_popularity(seed)
    gain = total = 0.0
    for user in range(len(held_out)):
        shown = ranked[user, :k].tolist()
        for game in games_of(held_out.relevant, user):
            weight = max(1, reviews[game]) ** -0.5
            total += weight
            gain += weight / math.log2(shown.index(game) + 2) if game in shown else 0
    assert ipw_ndcg(ranked, held_out.relevant, reviews, k) == pytest.approx(gain / total)


def test_inverse_propensity_weighted_gain_of_one_game_each_is_ndcg_if_all_games_are_equally_popular() -> None:
    held_out, ranked = random_users(5)
    single = Histories.from_games(*([games_of(held_out.relevant, user)[0]] for user in range(len(held_out))))
    expected = measure_ranked(ranked, single, (NDCG(5),))["ndcg_at_5"].mean()
    assert ipw_ndcg(ranked, single, np.full(GAMES, 7.0), 5) == pytest.approx(expected)


@given(seeds, list_lengths)
def test_tail_hits_are_the_held_out_games_outside_the_head_in_the_list(seed: int, k: int) -> None:
    held_out, ranked = random_users(seed)
    popularity = random_popularity(seed)
    order = sorted(range(GAMES), key=lambda game: (-popularity[game], game))
    expected = [
        game in shown_to(ranked, user, k)
        for user in range(len(held_out))
        for game in games_of(held_out.relevant, user)
        if game not in order[:4]
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beyond_accuracy, "HEAD_GAMES", 4)
        assert tail_hits(ranked, held_out.relevant, popularity, k).tolist() == expected


def reviews(rows: list[tuple[int, int, int]]) -> Interactions:
    users, games, days = np.array(rows).T
    return Interactions(
        users.astype(np.int64), games.astype(np.int32), days.astype(np.int32), np.ones(len(rows), bool),
        np.ones(len(rows), np.float32),
    )  # fmt: skip


def test_the_reference_counts_reviews_and_knows_what_was_popular_recently() -> None:
    games = Games(np.arange(3, dtype=np.int32), [{"genre RPG": 1.0}, {}, {}])
    past = reviews([(1, 0, 0), (2, 0, 0), (3, 1, 900)])
    prior = np.array([0, 0, 1], np.float32)
    dated, undated = (Reference.from_past(past, games, as_of, (prior,)) for as_of in (901, None))
    assert dated.reviews.tolist() == undated.reviews.tolist() == undated.popularity.tolist() == [2, 1, 0]
    assert np.argmax(dated.popularity) == 1
    assert dated.popular_lists.argmax(axis=1).tolist() == [1, 0, 2]
    assert dated.genres.tolist() == [[1], [0], [0]]


FIGURES = {
    "coverage_at_10", "effective_games_at_10", "jaccard_at_10", "popular_ten", "popularity_rank_at_10",
    "genre_divergence_at_10", "ipw_ndcg_at_10", "tail_recall_at_20",
}  # fmt: skip


def test_any_lists_have_every_figure_that_is_defined() -> None:
    held_out, ranked = random_users(6, n_games=80)
    popularity = random_popularity(6, 80)
    genres = np.ones((80, 1), np.float32)
    reference = Reference(popularity, popularity, popularity[None], genres)
    figures = measure_lists(ranked, held_out, reference)
    assert set(figures) == FIGURES
    assert all(isinstance(figure, float) and math.isfinite(figure) for figure in figures.values())
    empty = measure_lists(np.full((9, 5), -1, np.int32), held_out, reference)
    assert set(empty) == FIGURES - {"popularity_rank_at_10"}
    small, few = random_users(6)
    nothing = Reference(np.ones(GAMES), np.ones(GAMES), np.ones((1, GAMES)), np.zeros((GAMES, 0), np.float32))
    assert set(measure_lists(few, small, nothing)) == FIGURES - {"genre_divergence_at_10", "tail_recall_at_20"}


def test_the_inputs_are_not_changed() -> None:
    held_out, ranked = random_users(7)
    popularity, before = random_popularity(7), ranked.copy()
    measure_lists(ranked, held_out, Reference(popularity, popularity, popularity[None], random_genres(7)))
    assert np.array_equal(ranked, before)
    assert np.array_equal(popularity, random_popularity(7))


def test_doctests() -> None:
    assert doctest.testmod(beyond_accuracy).failed == 0
