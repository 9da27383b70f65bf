"""Scores, lists and reasons, compared with naive versions."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.model import retrieval
from steam_recsys.model import scorer as module
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.retrieval import GameList
from steam_recsys.model.scorer import PopularityOrder, Scorer
from steam_recsys.model.two_tower import TwoTowerArrays
from tests.steam_recsys.model.models import GAMES, random_model, random_tower, scorer_for

POPULAR = np.array([9, 7, 5, 3, 1], dtype=np.float32)


@pytest.fixture
def model() -> TwoTowerArrays:
    return random_model()


def histories(*games: list[int]) -> Histories:
    return Histories.from_games(*games)


def test_score_is_scaled_cosine_plus_item_item_weights_plus_weighted_log_popularity_share(
    model: TwoTowerArrays,
) -> None:
    popularity = np.arange(GAMES, dtype=np.float64)
    scorer = scorer_for(replace(model, popularity_weight=0.5), popularity=popularity)
    scores, more_popular = scorer.scores(histories([3, 5])), scorer.scores(histories([3, 5]), 2.0)
    towers = model.towers
    user = sum(towers.history_games[game] + towers.history_attributes[game % 3] for game in (3, 5))
    for game in range(GAMES):
        candidate = towers.candidate_games[game] + towers.candidate_attributes[game % 3]
        cosine = user @ candidate / np.linalg.norm(user) / np.linalg.norm(candidate)
        share = (popularity[game] + 1) / (popularity + 1).sum()
        pair = np.array([3, 5]), np.array([[game]]), np.zeros(2, int)
        assert model.next_games is not None
        added = float(model.item_item.between(*pair).sum() + [0.5, 1.0] @ model.next_games.weights.between(*pair)[:, 0])
        assert scores[0, game] == pytest.approx(4 * cosine + added + 0.5 * np.log(share), abs=1e-5)
        assert more_popular[0, game] == pytest.approx(4 * cosine + added + 2 * np.log(share), abs=1e-5)


@pytest.mark.parametrize("sequence_scale", [0.5, 4.0, 12.0])
def test_the_sequential_tower_adds_its_scaled_cosine_to_the_scores(
    model: TwoTowerArrays, sequence_scale: float
) -> None:
    history, tower = histories([3, 5, 8], [], [2]), random_tower()
    plain = scorer_for(model)
    both = scorer_for(replace(model, sequence=tower, sequence_scale=sequence_scale))
    added = sequence_scale * tower.queries(history) @ tower.candidates.T
    assert both.scores(history) == pytest.approx(plain.scores(history) + added, abs=1e-5)
    assert not added[1].any()
    lengths = np.linalg.norm(both.queries(history), axis=1) * np.linalg.norm(both.vectors, axis=1)[:, None]
    assert lengths[:, [0, 2]] == pytest.approx(model.scale + sequence_scale, rel=1e-5)
    assert both.query_length == pytest.approx(np.linalg.norm(both.queries(history)[0]))


def test_scores_of_recommendations_are_the_sum_of_taste_and_popularity(model: TwoTowerArrays) -> None:
    scorer, history = scorer_for(model, popularity=np.arange(GAMES, dtype=np.float64)), histories([3, 5], [], [8])
    for weight in (0.0, 0.3, 1.0, 5.0):
        found = scorer.recommend(history, k=GAMES, popularity_weight=weight)
        filled = found.positions >= 0
        prior = (np.float32(weight) * scorer.popularity_prior)[found.positions]
        assert np.array_equal(found.popularity, np.where(filled, prior, 0))
        taste = np.take_along_axis(scorer.taste(history), found.positions, axis=1)
        assert found.taste[filled] == pytest.approx(taste[filled], abs=1e-5)
        assert (found.taste[~filled] == -np.inf).all()
        scores = np.take_along_axis(scorer.scores(history, weight), found.positions, axis=1)
        assert found.scores[filled] == pytest.approx(scores[filled], abs=1e-5)
        assert (found.scores[:, 1:] <= found.scores[:, :-1]).all()


def test_empty_history_is_ranked_by_popularity_with_ties_by_position(model: TwoTowerArrays) -> None:
    popularity = np.array([game % 4 for game in range(GAMES)], dtype=np.float64)
    scorer = scorer_for(model, popularity=popularity)
    for weight in (0.3, 1.0):
        found = scorer.recommend(histories([]), k=GAMES, popularity_weight=weight)
        assert found.positions[0].tolist() == sorted(range(GAMES), key=lambda game: (-popularity[game], game))
        assert (found.because == -1).all()
        assert not found.taste.any()


def test_history_is_never_recommended_and_missing_games_are_minus_one(model: TwoTowerArrays) -> None:
    everything_but_two = [game for game in range(GAMES) if game not in (7, 9)]
    found = scorer_for(model).recommend(histories(everything_but_two, [7]), k=3)
    assert sorted(found.positions[0][:2].tolist()) == [7, 9]
    last = (found.positions, found.taste, found.popularity, found.scores, found.because)
    assert [column[0, 2] for column in last] == [-1, -np.inf, 0, -np.inf, -1]
    assert 7 not in found.positions[1]


def test_games_outside_the_history_can_be_excluded(model: TwoTowerArrays) -> None:
    scorer, history = scorer_for(model), histories([1, 2], [])
    positions = scorer.recommend(history, k=GAMES, excluded=histories([], [4])).positions
    assert sorted(positions[0].tolist()) == list(range(GAMES))
    assert 4 not in positions[1]


def test_liked_disliked_and_unseen_games_give_three_different_lists(model: TwoTowerArrays) -> None:
    towers = replace(model.towers, candidate_games=model.towers.history_games)
    for name in ("history_attributes", "candidate_attributes"):
        towers = replace(towers, **{name: 3 * model.towers.history_attributes})
    scorer = scorer_for(replace(model, towers=towers), popularity=np.arange(GAMES, dtype=np.float64))
    seen = histories([0, 3, 6, 9, 12])  # games of one genre
    lists = [
        scorer.recommend(history, k=10, excluded=seen).positions[0].tolist()
        for history in (seen, replace(seen, recommended=np.zeros(5, dtype=bool)), histories([]))
    ]
    assert len({tuple(games) for games in lists}) == 3
    of_the_genre = [sum(game % 3 == 0 for game in games) for games in lists]
    assert of_the_genre[0] > of_the_genre[2] > of_the_genre[1]


def test_disliked_games_alone_turn_the_taste_around(model: TwoTowerArrays) -> None:
    scorer, liked = scorer_for(replace(model, next_games=None)), histories([3, 8])
    disliked = replace(liked, recommended=np.zeros(2, dtype=bool))
    assert scorer.taste(disliked) == pytest.approx(-scorer.taste(liked), abs=1e-6)


def naive_lists(
    scorer: Scorer, history: Histories, lists: Sequence[GameList]
) -> list[tuple[list[list[int]], list[list[int]]]]:
    """Games and reasons, -1 for none, from a full sort and the documented rule, one game at a time."""
    found = []
    for wanted in lists:
        allowed = np.ones(len(scorer), bool) if wanted.allowed is None else wanted.allowed
        allowed = allowed if scorer.available is None else allowed & scorer.available
        positions, because = [], []
        for user in range(len(history)):
            one = history.take(np.array([user]))
            scores = scorer.scores(one, wanted.popularity_weight)[0].astype(np.float64)
            left = np.setdiff1d(np.flatnonzero(allowed), one.games)
            ranked = sorted(left.tolist(), key=lambda game: (-scores[game], game))
            games = ranked[: wanted.length]
            positions.append(games + [-1] * (wanted.length - len(games)))
            used: Counter[int] = Counter()
            reasons = []
            for rank, game in enumerate(games):
                next_page = min(10 * (rank // 10 + 1), wanted.length)
                more_popular = (scorer.popularity_prior[left] >= scorer.popularity_prior[game]).sum() > rank + 1
                reason = -1
                if rank < 50 and next_page < len(ranked) and more_popular:
                    spare = scores[game] - scores[ranked[next_page]]
                    terms = {
                        liked: term
                        for liked, term in contributions(scorer, one, game).items()
                        if term > spare and (wanted.length > 50 or used[liked] < 2)
                    }
                    reason = max(terms, key=terms.__getitem__) if terms else -1
                used[reason] += 1
                reasons.append(reason)
            because.append(reasons + [-1] * (wanted.length - len(games)))
        found.append((positions, because))
    return found


def contributions(scorer: Scorer, one: Histories, game: int) -> dict[int, float]:
    """What each game that a user likes contributes to the score of another game."""
    weights = scorer.history_weights.weigh(one).astype(np.float64)
    assert scorer.next_games is not None
    next_weights = scorer.next_games.weigh(one, scorer.history_weights.disliked)
    length = np.linalg.norm((scorer.history[one.games] * weights[:, None]).sum(axis=0))
    found = {}
    for entry in np.flatnonzero(one.recommended).tolist():
        liked = int(one.games[entry])
        cosine = scorer.history[liked].astype(np.float64) @ scorer.candidates[game] / length
        pair = np.array([liked]), np.array([[game]]), np.zeros(1, int)
        found[liked] = weights[entry] * (scorer.scale * cosine + scorer.item_item.between(*pair)[0, 0])
        found[liked] += next_weights[entry] * scorer.next_games.weights.between(*pair)[0, 0]
    if scorer.sequence:
        tower = scorer.sequence
        read = one.games[one.recommended & tower.known[one.games]][-tower.length :].tolist()
        likeness = {liked: float(tower.candidates[liked] @ tower.candidates[game]) for liked in read}
        total = sum(np.exp(scorer.sequence_scale * each) for each in likeness.values())
        score = scorer.sequence_scale * float(tower.queries(one)[0] @ tower.candidates[game])
        for liked, each in likeness.items():
            found[liked] += score * np.exp(scorer.sequence_scale * each) / total
    return found


def random_histories(random: np.random.Generator, users: int) -> Histories:
    """Some empty, some only of disliked games, hours and verdicts at random."""
    history = histories(*(random.choice(GAMES, random.integers(0, 12), replace=False).tolist() for _ in range(users)))
    liked = random.random(len(history.games)) < np.repeat(random.choice([0.0, 0.7, 1.0], users), history.lengths)
    return replace(history, recommended=liked, hours=random.lognormal(2, 1, len(liked)).astype(np.float32))


@pytest.mark.parametrize("seed", range(25))
def test_several_lists_at_once_equal_a_sort_of_each_and_reasons_follow_the_rule(
    model: TwoTowerArrays, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    random = np.random.default_rng(seed)
    monkeypatch.setattr(module, "BLOCK_USERS", int(random.choice([2, 512])))
    monkeypatch.setattr(retrieval, "CHUNK_GAMES", int(random.choice([1, 4, 512])))
    monkeypatch.setattr(retrieval, "TILE_SCORES", int(random.choice([1, 16, 1 << 19])))
    weights = HistoryWeights(disliked=-0.5, hours=0.2, recency=0.5)
    popularity = random.integers(0, random.choice([2, 1000]), GAMES).astype(np.float64)
    scorer = scorer_for(replace(model, history_weights=weights), popularity=popularity)
    if random.random() < 0.5:
        tower = random_tower().reindex(np.where(np.arange(GAMES) % 7, np.arange(GAMES), -1).astype(np.int32))
        scorer = replace(scorer, sequence=tower, sequence_scale=3.0)
    if random.random() < 0.7:
        scorer = scorer.with_available(random.random(GAMES) < 0.8)
    history = random_histories(random, 12)
    lists = [
        GameList("short", 7, 1.0),
        GameList("pages", 25, 0.3, random.random(GAMES) < 0.7),
        GameList("longer than the catalogue", 60, 0.3, random.random(GAMES) < 0.9),
        GameList("few games", 12, 2.0, random.random(GAMES) < random.choice([0.0, 0.05, 0.3])),
    ]
    found = scorer.recommend_lists(history, lists)
    for wanted, got, (positions, because) in zip(lists, found, naive_lists(scorer, history, lists), strict=True):
        assert got.positions.tolist() == positions, wanted.name
        assert got.because.tolist() == because, wanted.name
        scores = scorer.scores(history, wanted.popularity_weight)
        expected = np.where(got.positions < 0, -np.inf, np.take_along_axis(scores, got.positions, axis=1))
        assert got.scores == pytest.approx(expected, abs=1e-5)
        alone = scorer.recommend_lists(history, [wanted])[0]
        assert alone.positions.tolist() == positions
        assert alone.because.tolist() == because


@pytest.mark.parametrize("seed", range(5))
def test_reason_is_liked_and_named_at_most_twice(model: TwoTowerArrays, seed: int) -> None:
    random = np.random.default_rng(seed)
    history = random_histories(random, 30)
    found = scorer_for(model, popularity=random.random(GAMES)).recommend(history, k=25)
    assert (found.because >= 0).any()
    for user, because in enumerate(found.because):
        own = history.take(np.array([user]))
        named = Counter(because[because >= 0].tolist())
        assert set(named) <= set(own.games[own.recommended].tolist())
        assert max(named.values(), default=0) <= 2


def test_reason_is_the_earlier_of_two_equal_contributions(model: TwoTowerArrays) -> None:
    model.towers.history_games[6] = model.towers.history_games[3]  # same genre, so the same vector
    without_links = replace(model, item_item=ItemItemWeights.empty(GAMES), next_games=None)
    because = scorer_for(without_links).recommend(histories([6, 3]), k=5).because[0].tolist()
    assert [game for game in because if game >= 0] == [6, 6, 3]  # each of them at most twice


def test_game_that_would_be_on_the_page_anyway_has_no_reason(model: TwoTowerArrays) -> None:
    one_genre = replace(model, item_item=ItemItemWeights.empty(GAMES), next_games=None)
    for games in (GAMES - 1, GAMES + 5):  # no game is left for a next page
        assert (scorer_for(one_genre).recommend(histories([1]), k=games).because[0, 30:] == -1).all()
    only_ten = np.arange(GAMES) < 11  # with the history's game
    assert (scorer_for(model).recommend(histories([1]), k=10, among=only_ten).because == -1).all()


def test_users_who_like_nothing_get_no_reasons(model: TwoTowerArrays) -> None:
    history = replace(histories([3, 8, 21]), recommended=np.zeros(3, dtype=bool))
    assert (scorer_for(model).recommend(history, k=6).because == -1).all()


def test_recommendations_do_not_depend_on_the_block_size(
    model: TwoTowerArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, history = scorer_for(model), histories([1], [], [2, 3], [39], [5, 6, 7])
    at_once = scorer.recommend(history, k=5)
    monkeypatch.setattr(module, "BLOCK_USERS", 2)
    in_blocks = scorer.recommend(history, k=5)
    assert np.array_equal(at_once.positions, in_blocks.positions)
    assert np.array_equal(at_once.because, in_blocks.because)


def test_inputs_are_not_modified(model: TwoTowerArrays) -> None:
    popularity = np.ones(GAMES)
    history = histories([1, 2], [3])
    inputs = (popularity, *vars(history).values(), *vars(model.towers).values())
    before = [array.copy() for array in inputs]
    scorer_for(model, popularity=popularity).recommend(history, k=3)
    after = inputs
    assert all(np.array_equal(was, now, equal_nan=True) for was, now in zip(before, after, strict=True))


def test_no_users_give_empty_arrays(model: TwoTowerArrays) -> None:
    found = scorer_for(model).recommend(Histories.from_games(), 5)
    assert all(array.shape == (0, 5) for array in (*vars(found).values(), found.scores))
    assert scorer_for(model).recommend_lists(histories([1]), []) == []


def test_list_without_games_is_empty(model: TwoTowerArrays) -> None:
    lists = [GameList("none", 0, 1.0), GameList("one", 1, 1.0)]
    none, one = scorer_for(model).recommend_lists(histories([1], []), lists)
    assert all(array.shape == (2, 0) for array in (*vars(none).values(), none.scores))
    assert (one.positions >= 0).all()


@pytest.mark.parametrize("n_games", [0, 3])
def test_catalogue_without_available_games_gives_empty_lists(n_games: int) -> None:
    vectors, prior = np.ones((n_games, 2), dtype=np.float32), np.zeros(n_games, dtype=np.float32)
    scorer = Scorer(vectors, vectors, ItemItemWeights.empty(n_games), prior, 1.0, 4.0, HistoryWeights())
    nothing = np.zeros(n_games, dtype=bool)
    history = histories([], list(range(n_games))[:1])
    for found in (
        scorer.with_available(nothing).recommend(history, 4),
        scorer.recommend(history, 4, among=nothing),
    ):
        assert (found.positions == -1).all()
        assert (found.scores == -np.inf).all()
        assert (found.because == -1).all()
    assert scorer.scores(history).shape == (2, n_games)


def above_popularity(
    popularity: np.ndarray, games: list[int], excluded: Sequence[int] = (), **masks: np.ndarray
) -> list[bool]:
    order = PopularityOrder.from_popularity(popularity, masks.get("available"))
    positions = np.array([games], dtype=np.int32)
    found = order.above_popularity(positions, Histories.from_games(excluded), masks.get("among"))
    return [bool(flag) for flag in found[0]]


def test_game_is_above_popularity_if_it_overtakes_a_more_popular_one() -> None:
    assert above_popularity(POPULAR, [0, 1, 2]) == [False, False, False]
    assert above_popularity(POPULAR, [2, 0, 1]) == [True, False, False]
    assert above_popularity(POPULAR, [0, 1, 4]) == [False, False, True]


def test_excluded_and_unavailable_games_do_not_count_as_overtaken() -> None:
    assert above_popularity(POPULAR, [2, 3], excluded=[0, 1, 1]) == [False, False]
    assert above_popularity(POPULAR, [2, 3], among=np.array([False, False, True, True, True])) == [False, False]
    assert above_popularity(POPULAR, [2, 3], available=np.array([False, False, True, True, True])) == [False, False]


def test_equally_popular_games_all_have_the_last_rank() -> None:
    assert above_popularity(np.ones(5, dtype=np.float32), [0, 1, 4]) == [True, True, True]
    assert above_popularity(np.ones(3, dtype=np.float32), [0, 1, 2]) == [True, True, False]


def test_catalogue_without_available_games_has_an_empty_order() -> None:
    none = np.zeros(3, dtype=bool)
    assert len(above_popularity(POPULAR[:3], [-1, -1], available=none, among=none)) == 2


@given(st.data())
def test_above_popularity_equals_a_naive_count(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_games, n_users, k = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    popularity = random.integers(0, data.draw(st.sampled_from([2, 1000])), n_games).astype(np.float32)
    available, among = (random.random(n_games) < data.draw(st.sampled_from([0.05, 0.9])) for _ in range(2))
    among = among if data.draw(st.booleans()) else np.ones(n_games, dtype=bool)
    excluded = [random.choice(n_games, random.integers(0, min(n_games, 9))).tolist() for _ in range(n_users)]
    lists = np.full((n_users, k), -1, dtype=np.int32)
    for user, own in enumerate(excluded):
        left = np.setdiff1d(np.flatnonzero(available & among), own)
        chosen = random.permutation(left)[:k]
        lists[user, : len(chosen)] = chosen
    found = PopularityOrder.from_popularity(popularity, available).above_popularity(
        lists, Histories.from_games(*excluded), None if among.all() else among
    )
    for user, own in enumerate(excluded):
        left = np.setdiff1d(np.flatnonzero(available & among), own)
        for rank, game in enumerate(lists[user].tolist()):
            if game >= 0:
                assert found[user, rank] == ((popularity[left] >= popularity[game]).sum() > rank + 1)


def test_the_nearest_games_are_those_of_the_highest_cosines_among_the_allowed_ones(model: TwoTowerArrays) -> None:
    scorer = scorer_for(model)
    scorer = replace(scorer, candidates=scorer.candidates.copy())
    scorer.candidates[2] = 0
    allowed = np.arange(GAMES) % 2 == 0
    for game in range(GAMES):
        cosines = {
            other: float(scorer.candidates[game] @ scorer.candidates[other]) for other in np.flatnonzero(allowed)
        }
        expected = sorted(cosines.keys() - {game}, key=lambda other, all_of=cosines: (-all_of[other], other))
        positions, values = scorer.nearest(game, 3, allowed)
        assert positions.tolist() == ([] if game == 2 else expected[:3])
        assert values.tolist() == pytest.approx([cosines[other] for other in positions.tolist()])
    assert len(scorer.nearest(0, 2 * GAMES, allowed)[0]) == allowed.sum() - 1


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", 8), ("150000 100000", 2), ("3200000 100000", 8), (None, 8)]
)
def test_the_cores_are_those_that_the_container_may_use(limit, expected, tmp_path, monkeypatch):
    path = tmp_path / "cpu.max"
    if limit:
        path.write_text(f"{limit}\n")
    monkeypatch.setattr(module, "CPU_LIMIT", path)
    monkeypatch.setattr(module.os, "sched_getaffinity", lambda process: set(range(8)), raising=False)
    assert module.cores() == expected
