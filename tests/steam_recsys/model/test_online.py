import math
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.online import OnlineRecommender, Recommendation
from steam_recsys.model.scorer import Scorer
from tests.components.predict.artifacts import write_model
from tests.steam_recsys.model.models import GAMES, random_model, scorer_for

ALL = random_model().game_ids.tolist()


@pytest.fixture(scope="module")
def online() -> OnlineRecommender:
    model = random_model()
    popularity = np.arange(GAMES, dtype=np.float64)
    weights = HistoryWeights(disliked=-0.5, hours=0.2, recency=0.5)
    return OnlineRecommender(model.game_ids, scorer_for(replace(model, history_weights=weights), popularity=popularity))


def ids(answer: Sequence[Recommendation]) -> list[int]:
    return [game.game_id for game in answer]


@dataclass(frozen=True)
class Shop:
    """A small catalogue with unsorted IDs and scores that are exact in float32, so that some games really tie."""

    game_ids: list[int]
    scorer: Scorer


UNKNOWN = 7_777


@st.composite
def shops(draw: st.DrawFn) -> Shop:
    n_games = draw(st.integers(1, 100))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    axes = np.eye(3, dtype=np.float32)
    item_item = random.choice([-0.25, 0, 0, 0, 0.25, 0.5], (n_games, n_games)).astype(np.float32)
    scorer = Scorer(
        history=axes[random.integers(0, 3, n_games)],
        candidates=np.vstack([axes, np.zeros((1, 3), np.float32)])[random.integers(0, 4, n_games)],
        item_item=ItemItemWeights.from_matrix(item_item, 4) if draw(st.booleans()) else ItemItemWeights.empty(n_games),
        popularity_prior=random.choice([-2.5, -1, 0], n_games).astype(np.float32),
        scale=4.0,
        history_weights=HistoryWeights(disliked=-1.0),
    )
    return Shop(random.permutation(2 * n_games)[:n_games].tolist(), scorer)


def naive(shop: Shop, history: list[tuple[int, bool]], k: int, exclude: list[int]) -> list[Recommendation]:
    """Recommend game by game, with the score as defined."""
    scorer, one = shop.scorer, np.float32(1)
    latest = {game: verdict for game, verdict in history if game in shop.game_ids}
    order = sorted(latest, key=lambda game: max(index for index, (had, _) in enumerate(history) if had == game))
    rows, signs = [shop.game_ids.index(game) for game in order], [one if latest[game] else -one for game in order]
    user = sum((sign * scorer.history[row] for row, sign in zip(rows, signs, strict=True)), np.zeros(3, np.float32))
    length = np.sqrt((user**2).sum()) or one

    def item_item(source: int, target: int) -> np.float32:
        weights = scorer.item_item
        entries = range(*weights.offsets[source : source + 2])
        return sum((weights.weights[entry] for entry in entries if weights.games[entry] == target), np.float32(0))

    answers = []
    for target, game in enumerate(shop.game_ids):
        if game in latest or game in exclude:
            continue
        score = np.float32(4) * (user / length) @ scorer.candidates[target] + scorer.popularity_prior[target]
        terms = []
        for row, sign in zip(rows, signs, strict=True):
            score += sign * item_item(row, target)
            cosine = np.float32(4) / length * (scorer.history[row] @ scorer.candidates[target])
            terms.append(sign * (cosine + item_item(row, target)))
        reasons = [index for index in range(len(rows)) if signs[index] > 0] or list(range(len(rows)))
        because = order[max(reasons, key=lambda index: terms[index])] if rows else None
        answers.append(Recommendation(game, float(score), because))
    popularity = {game: scorer.popularity_prior[target] for target, game in enumerate(shop.game_ids)}
    best = sorted(answers, key=lambda answer: -answer.score)[:k]  # stable: ties stay in catalogue order
    return [
        answer
        if sum(popularity[other.game_id] >= popularity[answer.game_id] for other in answers) > rank
        else replace(answer, because=None)
        for rank, answer in enumerate(best, start=1)
    ]


@settings(max_examples=300, deadline=None)
@given(shops(), st.data())
def test_online_batch_and_naive_recommendations_are_equal(shop: Shop, data: st.DataObject) -> None:
    game = st.sampled_from([*shop.game_ids, UNKNOWN])
    users = data.draw(st.lists(st.lists(st.tuples(game, st.booleans()), max_size=8), min_size=1, max_size=4))
    k = data.draw(st.integers(0, len(shop.game_ids) + 3))
    excluded = [data.draw(st.lists(game, max_size=8)) for _ in users]
    online = OnlineRecommender(np.array(shop.game_ids, dtype=np.int32), shop.scorer)
    wanted = [naive(shop, *user) for user in zip(users, [k] * len(users), excluded, strict=True)]
    for history, exclude, answer in zip(users, excluded, wanted, strict=True):
        games, verdicts = [game for game, _ in history], [verdict for _, verdict in history]
        assert online.recommend(games, k, recommended=verdicts, exclude=exclude) == answer
    for at_once, answer in zip(batch(shop, users, k, excluded), wanted, strict=True):
        assert at_once == answer


@given(shops(), st.data())
def test_games_outside_among_count_as_excluded(shop: Shop, data: st.DataObject) -> None:
    n_games = len(shop.game_ids)
    history = data.draw(st.lists(st.tuples(st.sampled_from([*shop.game_ids, UNKNOWN]), st.booleans()), max_size=8))
    among = np.array(data.draw(st.lists(st.booleans(), min_size=n_games, max_size=n_games)))
    exclude = data.draw(st.lists(st.sampled_from(shop.game_ids), max_size=4))
    others = [game for game, allowed in zip(shop.game_ids, among, strict=True) if not allowed]
    k = data.draw(st.integers(0, n_games + 3))
    online = OnlineRecommender(np.array(shop.game_ids, dtype=np.int32), shop.scorer)
    games, verdicts = [game for game, _ in history], [verdict for _, verdict in history]
    answer = online.recommend(games, k, recommended=verdicts, exclude=exclude, among=among)
    assert answer == naive(shop, history, k, [*exclude, *others])


def batch(shop: Shop, users: list[list[tuple[int, bool]]], k: int, excluded: list[list[int]]) -> list[list]:
    """The recommendations of `Scorer.recommend` for all users at once."""
    distinct = []
    for history in users:
        latest: dict[int, bool] = {}
        for game, verdict in history:
            if game in shop.game_ids:
                latest.pop(game, None)
                latest[game] = verdict
        distinct.append(latest)
    known = Histories.from_games(*([shop.game_ids.index(game) for game in latest] for latest in distinct))
    verdicts = np.array([verdict for latest in distinct for verdict in latest.values()], dtype=bool)
    without = Histories.from_games(
        *(
            [shop.game_ids.index(game) for game in [*latest, *exclude] if game in shop.game_ids]
            for latest, exclude in zip(distinct, excluded, strict=True)
        )
    )
    positions, scores, because = shop.scorer.recommend(replace(known, recommended=verdicts), k, excluded=without)
    return [
        [
            Recommendation(shop.game_ids[game], score, None if reason < 0 else shop.game_ids[reason])
            for game, score, reason in zip(
                *(column[user].tolist() for column in (positions, scores, because)), strict=True
            )
            if game >= 0
        ]
        for user in range(len(users))
    ]


def test_empty_history_gets_popular_games_without_reasons(online: OnlineRecommender) -> None:
    answer = online.recommend([], 3)
    assert ids(answer) == ALL[:-4:-1]
    assert {game.because for game in answer} == {None}


def test_unknown_games_are_ignored(online: OnlineRecommender) -> None:
    known = online.recommend([30, 50], 5, recommended=[True, False], hours=[3.0, 9.0])
    mixed = online.recommend(
        [UNKNOWN, 30, -1, 50, 10**30], 5, recommended=[True, True, True, False, True], hours=[1.0, 3.0, 1.0, 9.0, 1.0],
        exclude=[UNKNOWN],
    )  # fmt: skip
    assert mixed == known
    assert online.recommend([UNKNOWN], 5) == online.recommend([], 5)


def test_last_mention_of_a_game_counts(online: OnlineRecommender) -> None:
    repeated = online.recommend([30, 50, 30], 5, recommended=[False, True, True], hours=[1.0, 2.0, 3.0])
    assert repeated == online.recommend([50, 30], 5, recommended=[True, True], hours=[2.0, 3.0])
    assert repeated != online.recommend([30, 50], 5, recommended=[True, True], hours=[3.0, 2.0])


def test_k_larger_than_the_catalogue_gives_all_remaining_games(online: OnlineRecommender) -> None:
    answer = online.recommend([30, 50], 10**9, exclude=iter([70]))
    assert sorted(ids(answer)) == sorted(set(ALL) - {30, 50, 70})
    assert online.recommend([30], 5, exclude=ALL) == []
    assert online.recommend([30], 0) == online.recommend([30], -1) == []


def test_invalid_hours_are_treated_as_unknown(online: OnlineRecommender) -> None:
    unknown = online.recommend([30, 50], 5, hours=[None, 10.0])
    for hours in (math.nan, math.inf, -math.inf, -3.0, 1e39):
        assert online.recommend([30, 50], 5, hours=[hours, 10.0]) == unknown
    assert online.recommend([30, 50], 5, hours=[0, 10]) != unknown


def test_lengths_of_verdicts_and_hours_must_match_the_history(online: OnlineRecommender) -> None:
    with pytest.raises(ValueError, match="A history of 2 games has 1 verdicts and 2 hours: give one of each per game"):
        online.recommend([30, 50], 5, recommended=[True])
    with pytest.raises(ValueError, match="2 verdicts and 3 hours"):
        online.recommend([30, 50], 5, hours=[1.0, 2.0, 3.0])


def test_arguments_and_scorer_are_not_modified() -> None:
    model = random_model()
    scorer = scorer_for(model)
    online = OnlineRecommender(model.game_ids, scorer)
    arguments = [30, UNKNOWN, 50, 30], [True, True, False, True], [1.0, None, -2.0, 4.0], [70, 80]
    arrays = [model.game_ids, scorer.history, scorer.candidates, scorer.popularity_prior]
    arrays += [*vars(scorer.item_item).values()]
    before = [list(argument) for argument in arguments], [array.copy() for array in arrays]
    history, recommended, hours, exclude = arguments
    first = online.recommend(history, 5, recommended=recommended, hours=hours, exclude=exclude)
    assert online.recommend(history, 5, recommended=recommended, hours=hours, exclude=exclude) == first
    assert [list(argument) for argument in arguments] == before[0]
    assert all(np.array_equal(was, now) for was, now in zip(before[1], arrays, strict=True))


def test_threads_can_share_a_recommender(online: OnlineRecommender) -> None:
    random = np.random.default_rng(0)
    histories = [random.choice(ALL, length).tolist() for length in random.integers(0, 20, 400)]

    def answer(history: list[int]) -> list[Recommendation]:
        return online.recommend(history, 10)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(answer, histories)) == [answer(history) for history in histories]


ANSWER = """
import sys
import numpy as np
from steam_recsys.model.online import OnlineRecommender
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.data.games import Games

games = Games(np.array([1, 2, 3], dtype=np.int32), [{}] * 3)
scorer = TwoTowerArrays.load(sys.argv[1]).for_catalogue(games, np.ones((3, 3)))
(best,) = OnlineRecommender(games.ids, scorer).recommend([1], k=1)
print(best.game_id, best.because, *sorted({"tensorflow", "scipy", "kfp"} & set(sys.modules)))
"""


def test_serving_imports_no_tensorflow_scipy_or_kfp(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", [[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    done = subprocess.run([sys.executable, "-c", ANSWER, str(model)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "1"]
