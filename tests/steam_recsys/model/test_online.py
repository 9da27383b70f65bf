import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import UNDATED
from steam_recsys.errors import UserError
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.lists import MIN_LIKES
from steam_recsys.model.online import CatalogueFacts, OnlineRecommender, Recommendation, match_percent
from steam_recsys.model.retrieval import GameList
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.manifest import complete_artifact
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
    """A small catalogue with unsorted IDs and tastes that are exact in float32, so that some games really tie."""

    game_ids: list[int]
    scorer: Scorer
    facts: CatalogueFacts


UNKNOWN = 7_777
UNDECIDED = -1
TAGS = ("action", "puzzle", "racing")


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
        popularity_weight=draw(st.sampled_from([0.25, 1.0])),
        scale=4.0,
        history_weights=HistoryWeights(disliked=-1.0),
        available=random.random(n_games) < 0.9 if draw(st.booleans()) else None,
    )
    released = [None if random.random() < 0.1 else date(2020, 1, 1) + timedelta(int(random.integers(9)))
                for _ in range(n_games)]  # fmt: skip
    genres = [[tag.title() for tag in TAGS if random.random() < 0.3] for _ in range(n_games)]
    facts = CatalogueFacts.from_games(released, genres, random.integers(0, 2 * MIN_LIKES, n_games))
    return Shop(random.permutation(2 * n_games)[:n_games].tolist(), scorer, facts)


@dataclass(frozen=True)
class Wanted:
    """What `OnlineRecommender.recommend` is asked for."""

    history: list[tuple[int, bool]]
    k: int
    without: list[int]
    popularity: float = 1.0
    released: tuple[date | None, date | None] | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def answer(self, online: OnlineRecommender) -> list[Recommendation]:
        """The answer of a recommender."""
        return online.recommend(
            [game for game, _ in self.history],
            self.k,
            recommended=[verdict for _, verdict in self.history],
            without=self.without,
            popularity=self.popularity,
            released=self.released,
            include=self.include,
            exclude=self.exclude,
        )

    def passes(self, shop: Shop, row: int) -> bool:
        """Whether a game passes the filters."""
        facts = shop.facts
        first, last = self.released or (None, None)
        released = None if facts.released[row] == UNDATED else date(1970, 1, 1) + timedelta(int(facts.released[row]))
        genres = {genre for genre, games in facts.genres.items() if row in games}
        return (
            (shop.scorer.available is None or bool(shop.scorer.available[row]))
            and (released is None or ((first is None or released >= first) and (last is None or released <= last)))
            and (not self.include or not genres.isdisjoint(name.lower() for name in self.include))
            and genres.isdisjoint(name.lower() for name in self.exclude)
        )


def naive(shop: Shop, wanted: Wanted) -> list[Recommendation]:
    """Recommend game by game, with the score and the reason as defined."""
    scorer, one = shop.scorer, np.float32(1)
    latest = {game: verdict for game, verdict in wanted.history if game in shop.game_ids}
    order = sorted(latest, key=lambda game: max(index for index, (had, _) in enumerate(wanted.history) if had == game))
    rows, signs = [shop.game_ids.index(game) for game in order], [one if latest[game] else -one for game in order]
    user = sum((sign * scorer.history[row] for row, sign in zip(rows, signs, strict=True)), np.zeros(3, np.float32))
    length = np.sqrt((user**2).sum()) or one
    dial = wanted.popularity if rows else 1.0
    left = [
        row
        for row, game in enumerate(shop.game_ids)
        if game not in latest and game not in wanted.without and wanted.passes(shop, row)
    ]
    floor = min(
        math.ceil(MIN_LIKES * (1 - dial)), sorted([0] * wanted.k + [*shop.facts.positive_reviews[left]])[-wanted.k]
    )

    def item_item(source: int, target: int) -> np.float32:
        weights = scorer.item_item
        entries = range(*weights.offsets[source : source + 2])
        return sum((weights.weights[entry] for entry in entries if weights.games[entry] == target), np.float32(0))

    answers, terms = [], {}
    for target in left:
        if shop.facts.positive_reviews[target] < floor:
            continue
        taste = np.float32(4) * (user / length) @ scorer.candidates[target]
        for row, sign in zip(rows, signs, strict=True):
            taste += sign * item_item(row, target)
        terms[shop.game_ids[target]] = {
            shop.game_ids[row]: np.float32(4) / length * (scorer.history[row] @ scorer.candidates[target])
            + item_item(row, target)
            for row, sign in zip(rows, signs, strict=True)
            if sign > 0
        }
        prior = np.float32(dial * scorer.popularity_weight) * scorer.popularity_prior[target]
        answers.append(Recommendation(shop.game_ids[target], float(taste), float(prior), None, float(taste)))
    answers.sort(key=lambda answer: -np.float32(answer.score))  # stable: ties in catalogue order
    prior = {game: scorer.popularity_prior[row] for row, game in enumerate(shop.game_ids)}
    k = min(wanted.k, len(shop.game_ids))  # as many as there can be, which decides how often a game is a reason
    return with_reasons(answers, k, terms, {answer.game_id: prior[answer.game_id] for answer in answers})


def with_reasons(
    answers: list[Recommendation], k: int, terms: dict[int, dict[int, np.float32]], prior: dict[int, np.float32]
) -> list[Recommendation]:
    """The k best of all answers with their reasons; `UNDECIDED` if it depends on rounding whether there is one."""
    named: Counter[int] = Counter()
    best = []
    for rank, answer in enumerate(answers[:k]):
        next_page = min(10 * (rank // 10 + 1), k)
        spare = answer.score - answers[next_page].score if next_page < len(answers) else math.inf
        others = {game: term for game, term in terms[answer.game_id].items() if named[game] < (2 if k <= 50 else k)}
        because = None
        if rank < 50 and sum(other >= prior[answer.game_id] for other in prior.values()) > rank + 1:
            if any(abs(term - spare) < 1e-4 for term in others.values()):
                return [*best, *(replace(other, because=UNDECIDED) for other in answers[rank:k])]
            decisive = {game: term for game, term in others.items() if term > spare}
            because = next((game for game, term in decisive.items() if term > max(decisive.values()) - 1e-4), None)
        if because is not None:
            named[because] += 1
        best.append(replace(answer, because=because))
    return best


def assert_equal(found: list[Recommendation], expected: list[Recommendation]) -> None:
    assert ids(found) == ids(expected)
    for part in ("taste", "popularity", "score"):
        assert [getattr(game, part) for game in found] == pytest.approx(
            [getattr(game, part) for game in expected], abs=1e-5
        )
    for game, same in zip(found, expected, strict=True):
        assert same.because in (game.because, UNDECIDED)


@st.composite
def requests(draw: st.DrawFn, shop: Shop, *, filtered: bool) -> Wanted:
    games = st.sampled_from([*shop.game_ids, UNKNOWN])
    wanted = Wanted(
        draw(st.lists(st.tuples(games, st.booleans()), max_size=8)),
        draw(st.integers(1, len(shop.game_ids) + 3)),
        draw(st.lists(games, max_size=8)),
    )
    if not filtered:
        return wanted
    days = st.none() | st.dates(date(2019, 12, 31), date(2020, 1, 10))
    tags = st.lists(st.sampled_from(["Action", "PUZZLE", "racing", "no such genre"]), max_size=2).map(tuple)
    return replace(
        wanted,
        popularity=draw(st.sampled_from([0, 0.25, 0.5, 1])),
        released=draw(st.none() | st.tuples(days, days)),
        include=draw(tags),
        exclude=draw(tags),
    )


@settings(max_examples=300, deadline=None)
@given(shops(), st.data())
def test_online_batch_and_naive_recommendations_are_equal(shop: Shop, data: st.DataObject) -> None:
    wanted = data.draw(st.lists(requests(shop, filtered=False), min_size=1, max_size=4))
    k = data.draw(st.integers(0, len(shop.game_ids) + 3))
    online = OnlineRecommender(np.array(shop.game_ids, dtype=np.int32), shop.scorer)
    answers = [replace(each, k=k).answer(online) for each in wanted]
    for each, answer in zip(wanted, answers, strict=True):
        assert_equal(answer, naive(shop, replace(each, k=k)) if k else [])
    assert batch(shop, wanted, k) == answers


@settings(max_examples=300, deadline=None)
@given(shops(), st.data())
def test_the_dial_and_the_filters_equal_a_naive_search(shop: Shop, data: st.DataObject) -> None:
    wanted = data.draw(requests(shop, filtered=True))
    online = OnlineRecommender(np.array(shop.game_ids, dtype=np.int32), shop.scorer, shop.facts)
    assert_equal(wanted.answer(online), naive(shop, wanted))


@given(shops(), st.data())
def test_a_match_is_relative_to_the_best_of_all_games_whatever_the_filters(shop: Shop, data: st.DataObject) -> None:
    wanted = data.draw(requests(shop, filtered=True))
    online = OnlineRecommender(np.array(shop.game_ids, dtype=np.int32), shop.scorer, shop.facts)
    every = Wanted(wanted.history, len(shop.game_ids), wanted.without).answer(online)
    best = max((game.taste for game in every), default=0.0)
    for game in wanted.answer(online):
        assert game.best_taste == pytest.approx(best, abs=1e-5)
        assert game.match == match_percent(game.taste, game.best_taste) <= 100


def test_a_match_is_a_ratio_of_odds_in_percent() -> None:
    assert [match_percent(taste, 2.0) for taste in (2.0, 2.0 - math.log(2), -50.0, 3.0)] == [100, 50, 0, 100]


@given(shops(), st.data())
def test_games_outside_among_count_as_excluded(shop: Shop, data: st.DataObject) -> None:
    n_games = len(shop.game_ids)
    wanted = data.draw(requests(shop, filtered=False))
    among = np.array(data.draw(st.lists(st.booleans(), min_size=n_games, max_size=n_games)))
    others = [game for game, allowed in zip(shop.game_ids, among, strict=True) if not allowed]
    online = OnlineRecommender(np.array(shop.game_ids, dtype=np.int32), shop.scorer)
    games, verdicts = [game for game, _ in wanted.history], [verdict for _, verdict in wanted.history]
    answer = online.recommend(games, wanted.k, recommended=verdicts, without=wanted.without, among=among)
    assert answer == replace(wanted, without=[*wanted.without, *others]).answer(online)


@given(shops(), st.data())
def test_a_reason_is_a_liked_game_of_the_history_at_most_twice(shop: Shop, data: st.DataObject) -> None:
    wanted = data.draw(requests(shop, filtered=False))
    online = OnlineRecommender(np.array(shop.game_ids, dtype=np.int32), shop.scorer)
    answer = replace(wanted, k=min(wanted.k, 50)).answer(online)
    liked = {game for game, verdict in dict(wanted.history).items() if verdict}
    reasons = [game.because for game in answer if game.because is not None]
    assert set(reasons) <= liked
    assert all(reasons.count(game) <= 2 for game in reasons)


def batch(shop: Shop, users: list[Wanted], k: int) -> list[list[Recommendation]]:
    """The recommendations of `Scorer.recommend` for all users at once."""
    distinct = []
    for user in users:
        latest: dict[int, bool] = {}
        for game, verdict in user.history:
            if game in shop.game_ids:
                latest.pop(game, None)
                latest[game] = verdict
        distinct.append(latest)
    known = Histories.from_games(*([shop.game_ids.index(game) for game in latest] for latest in distinct))
    verdicts = np.array([verdict for latest in distinct for verdict in latest.values()], dtype=bool)
    without = Histories.from_games(
        *(
            [shop.game_ids.index(game) for game in [*latest, *user.without] if game in shop.game_ids]
            for latest, user in zip(distinct, users, strict=True)
        )
    )
    k = min(k, len(shop.game_ids))
    found = shop.scorer.recommend(replace(known, recommended=verdicts), k, excluded=without)
    columns = (found.positions, found.taste, found.popularity, found.because)
    return [
        [
            Recommendation(shop.game_ids[game], taste, popularity, None if reason < 0 else shop.game_ids[reason], 0.0)
            for game, taste, popularity, reason in zip(*(column[user].tolist() for column in columns), strict=True)
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
        without=[UNKNOWN],
    )  # fmt: skip
    assert mixed == known
    assert online.recommend([UNKNOWN], 5) == online.recommend([], 5)


def test_last_mention_of_a_game_counts(online: OnlineRecommender) -> None:
    repeated = online.recommend([30, 50, 30], 5, recommended=[False, True, True], hours=[1.0, 2.0, 3.0])
    assert repeated == online.recommend([50, 30], 5, recommended=[True, True], hours=[2.0, 3.0])
    assert repeated != online.recommend([30, 50], 5, recommended=[True, True], hours=[3.0, 2.0])


def test_k_larger_than_the_catalogue_gives_all_remaining_games(online: OnlineRecommender) -> None:
    answer = online.recommend([30, 50], 10**9, without=iter([70]))
    assert sorted(ids(answer)) == sorted(set(ALL) - {30, 50, 70})
    assert online.recommend([30], 5, without=ALL) == []
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


@pytest.mark.parametrize("popularity", [-0.1, 1.1, math.nan, math.inf])
def test_a_popularity_outside_0_to_1_is_refused(online: OnlineRecommender, popularity: float) -> None:
    with pytest.raises(ValueError, match="it must be from 0 to 1"):
        online.recommend([30], 5, popularity=popularity)


@pytest.mark.parametrize(
    "arguments",
    [{"popularity": 0.5}, {"released": (None, date(2020, 1, 1))}, {"include": ["RPG"]}, {"exclude": ["RPG"]}],
)
def test_without_facts_neither_the_dial_nor_filters_are_possible(
    online: OnlineRecommender, arguments: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="pass CatalogueFacts"):
        online.recommend([30], 5, **arguments)


def test_games_played_together_have_the_largest_item_item_weights(online: OnlineRecommender) -> None:
    scorer = online._scorer
    history, verdicts, hours = ALL[:10], [True, False, *[True] * 8], [10.0, None] * 5
    known = online._known(history, verdicts, hours)
    weights = np.zeros(len(ALL))
    for game, weight in zip(known.games, scorer.history_weights.weigh(known), strict=True):
        start, end = scorer.item_item.offsets[game : game + 2]
        weights[scorer.item_item.games[start:end]] += weight * scorer.item_item.weights[start:end]
    allowed = np.ones(len(ALL), dtype=bool)
    allowed[::7] = False
    weights[known.games] = 0
    weights[~allowed] = 0
    expected = [ALL[position] for position in np.argsort(-weights, kind="stable") if weights[position] > 0]
    assert len(expected) > 2
    found = online.played_together(history, len(ALL), recommended=verdicts, hours=hours, among=allowed)
    assert found == expected
    assert online.played_together(history, 2, recommended=verdicts, hours=hours, among=allowed) == expected[:2]


def test_nothing_is_played_together_with_an_empty_history(online: OnlineRecommender) -> None:
    assert online.played_together([], 10) == online.played_together([UNKNOWN], 10) == []


def test_a_history_without_taste_gets_the_popular_games_at_every_setting() -> None:
    model = random_model()
    facts = CatalogueFacts.from_games([None] * GAMES, [()] * GAMES, np.full(GAMES, MIN_LIKES))
    online = OnlineRecommender(model.game_ids, scorer_for(model, popularity=np.arange(GAMES, dtype=np.float64)), facts)
    popular = online.recommend([], 5)
    assert online.recommend([], 5, popularity=0.0) == online.recommend([UNKNOWN], 5, popularity=0.3) == popular
    assert online.recommend([30], 5, popularity=0.0) != popular


def test_a_list_has_its_own_weight_and_games() -> None:
    model = random_model()
    online = OnlineRecommender(model.game_ids, scorer_for(model, popularity=np.arange(GAMES, dtype=np.float64)))
    allowed = np.arange(GAMES) % 2 == 0
    answer = online.recommend_list(GameList("some", 5, 0.0, allowed), [30, 50])
    assert len(answer) == 5
    assert {game.popularity for game in answer} == {0.0}
    assert all(allowed[ALL.index(game.game_id)] for game in answer)
    assert online.recommend_list(GameList("some", 5, 0.0), []) == online.recommend([], 5)


@pytest.mark.parametrize("genres", [[], [()] * 3, [("RPG", "Indie"), ("rpg",), ()]])
def test_facts_survive_a_model_folder(tmp_path: Path, genres: list[tuple[str, ...]]) -> None:
    released = [date(2020, 2, 29), None, date(1969, 12, 31)][: len(genres)]
    facts = CatalogueFacts.from_games(released, genres, np.arange(len(genres)))
    np.savez(tmp_path / "items.npz", **facts.arrays())
    with np.load(tmp_path / "items.npz") as arrays:
        read = CatalogueFacts.from_arrays(arrays, list(facts.genres))
    assert read.released.tolist() == [18321, UNDATED, -1][: len(genres)]
    assert read.positive_reviews.tolist() == list(range(len(genres)))
    expected = {"indie": [0], "rpg": [0, 1]} if any(genres) else {}
    assert {genre: games.tolist() for genre, games in read.genres.items()} == expected


def test_a_model_folder_answers_with_its_own_facts(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", [[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [0.9, 0.2]])
    facts = CatalogueFacts.from_games([None, None, date(2020, 1, 1), date(2021, 1, 1)], [["RPG"]] * 4, np.full(4, 9))
    scorer = TwoTowerArrays.load(folder).for_catalogue(
        Games(np.arange(1, 5, dtype=np.int32), [{}] * 4), np.ones((3, 4))
    )
    np.savez(folder / "items.npz", **scorer.arrays(), **facts.arrays())
    complete_artifact(folder)
    with pytest.raises(UserError, match=r"another version of this project \(genres\)"):
        OnlineRecommender.load(folder)
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary | {"genres": list(facts.genres)}))
    complete_artifact(folder)
    online = OnlineRecommender.load(folder)
    assert ids(online.recommend([1], 2)) == [3, 4]
    assert ids(online.recommend([1], 2, popularity=0.5, released=(date(2020, 6, 1), None), include=["rpg"])) == [4, 2]
    (folder / "items.npz").unlink()
    with pytest.raises(UserError, match=r"items.npz is missing"):
        OnlineRecommender.load(folder)


def test_arguments_and_scorer_are_not_modified() -> None:
    model = random_model()
    scorer = scorer_for(model)
    online = OnlineRecommender(model.game_ids, scorer)
    arguments = [30, UNKNOWN, 50, 30], [True, True, False, True], [1.0, None, -2.0, 4.0], [70, 80]
    arrays = [model.game_ids, scorer.history, scorer.candidates, scorer.popularity_prior]
    arrays += [*vars(scorer.item_item).values()]
    before = [list(argument) for argument in arguments], [array.copy() for array in arrays]
    history, recommended, hours, without = arguments
    first = online.recommend(history, 5, recommended=recommended, hours=hours, without=without)
    assert online.recommend(history, 5, recommended=recommended, hours=hours, without=without) == first
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
scorer = TwoTowerArrays.load(sys.argv[1]).for_catalogue(games, np.tile([1.0, 9.0, 1.0], (3, 1)))
(best,) = OnlineRecommender(games.ids, scorer).recommend([1], k=1)
print(best.game_id, best.because, *sorted({"tensorflow", "scipy", "kfp"} & set(sys.modules)))
"""


def test_serving_imports_no_tensorflow_scipy_or_kfp(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", [[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    done = subprocess.run([sys.executable, "-c", ANSWER, str(model)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "1"]
