"""Users per second of batch prediction, beside the usual libraries for exact retrieval.

Ours is the complete answer, `Scorer.recommend_lists`: queries from histories, cosine similarities, popularity,
item-item weights, exclusion of the user's own games, and four lists of 50, 200, 30 and 30 games with reasons. The peers
get finished queries and return the 100 largest inner products only. implicit also retrieves our four lists, one after
the other, from the games that may be on each of them. One list of 100 games is measured too. Each engine has its own
process with all cores, and the engines take turns. The weights are random, so clusters help no engine. Only the
comparison with approximate retrieval has clusters, because it depends on them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.record import Row, at_least, at_most, run_benchmark, times_as_many
from steam_recsys.arrays import Float32Array, normalised, offsets_from_lengths
from steam_recsys.data.histories import Histories
from steam_recsys.model.approximate import MIN_RECALL, ApproximateIndex
from steam_recsys.model.approximate import recall as recall_of
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.lists import ReviewCounts, game_lists
from steam_recsys.model.retrieval import GameList, top_k
from steam_recsys.model.scorer import Scorer

GAMES, DIMENSIONS, NEIGHBOURS, K = 100_000, 64, 100, 100
USERS, CHECKED_USERS = 8_192, 256
BATCH = 1_024
REPEATS = 5
MUST, MUST_DIFFERENCE = 2.0, 1e-4
TASTES, NOISE = 300, 0.8
APPROXIMATE_K = 50
WEIGHTS = HistoryWeights(disliked=-0.5, hours=0.2, recency=0.5)
POPULARITY_WEIGHT, INTERESTS_WEIGHT = 1.0, 0.3
MEAN_REVIEWS, LIKED_SHARE, NEW_SHARE = 4.0, 0.8, 0.005
"""Of the games: reviews, the share of them that recommend the game, and the share of games that are new releases."""


@dataclass(frozen=True)
class Shop:
    """A random catalogue and its model.

    Attributes:
        games: Number of games.
        scale: Scale of the cosine similarity. Training chooses about 2 on sparse reviews and 8 on dense ones.
        skewed: Whether a few games are far more popular than the others.
        tastes: Whether the games form clusters.
    """

    games: int
    scale: float
    skewed: bool
    tastes: bool = False

    def __str__(self) -> str:
        return f"{self.games:,} games, scale {self.scale:g}, {'skewed' if self.skewed else 'even'} popularity"

    def catalogue(self) -> Scorer:
        """Build a scorer with random vectors and item-item weights."""
        random = np.random.default_rng(0)
        n = self.games
        vectors = [random.standard_normal((n, DIMENSIONS), dtype=np.float32) for _ in range(2)]
        if self.tastes:
            centres = random.standard_normal((TASTES, DIMENSIONS), dtype=np.float32)[random.integers(0, TASTES, n)]
            vectors = [normalised(centres + np.float32(NOISE) * noise) for noise in vectors]
        neighbours = np.sort(random.integers(0, n - NEIGHBOURS + 1, (n, NEIGHBOURS), dtype=np.int32), axis=1)
        neighbours += np.arange(NEIGHBOURS, dtype=np.int32)
        weights = random.standard_normal(neighbours.size, dtype=np.float32) * np.float32(0.1)
        popularity = 1e6 / random.permutation(np.arange(1.0, n + 1)) if self.skewed else np.ones(n)
        priors = np.log((popularity + 1) / (popularity + 1).sum()).astype(np.float32)
        item_item = ItemItemWeights(np.arange(n + 1, dtype=np.int64) * NEIGHBOURS, neighbours.ravel(), weights)
        candidates = normalised(vectors[1])
        return Scorer(vectors[0], candidates, item_item, priors, POPULARITY_WEIGHT, self.scale, WEIGHTS)

    def lists(self, catalogue: Scorer) -> list[GameList]:
        """Describe the four lists; about nine in ten games have enough reviews for interests."""
        random = np.random.default_rng(2)
        reviews = 1 + random.poisson(MEAN_REVIEWS, self.games)
        counts = ReviewCounts(random.binomial(reviews, LIKED_SHARE), reviews)
        new, everything = random.random(self.games) < NEW_SHARE, np.ones(self.games, dtype=bool)
        prior = catalogue.popularity_prior
        return game_lists(POPULARITY_WEIGHT, INTERESTS_WEIGHT, prior, everything, counts, new)

    def histories(self, users: int) -> Histories:
        """Draw about five games per user, for some users many more; users dislike one game in ten."""
        random = np.random.default_rng(1)
        lengths = 2 + np.minimum(random.lognormal(0.6, 1.0, users), 398).astype(np.int64)
        offsets = offsets_from_lengths(lengths)
        games = np.concatenate([random.choice(self.games, length, replace=False) for length in lengths])
        liked, hours = random.random(len(games)) < 0.9, random.lognormal(2, 1, len(games)).astype(np.float32)
        return Histories(np.arange(users), offsets, games.astype(np.int32), liked, hours)


Answer = Callable[[], Any]
"""Answers all users. A peer returns indices of games, int32 [USERS, K]."""


def ours(shop: Shop) -> Answer:
    """Batch prediction of four lists."""
    catalogue, history = shop.catalogue(), shop.histories(USERS)
    lists = shop.lists(catalogue)
    return lambda: catalogue.recommend_lists(history, lists)


def our_single_list(shop: Shop) -> Answer:
    """Batch prediction of one list."""
    catalogue, history = shop.catalogue(), shop.histories(USERS)
    return lambda: catalogue.recommend(history, K)


def brute_force(shop: Shop) -> Answer:
    """TFRS BruteForce."""
    from components.train.tensorflow_runtime import tf, tfrs

    queries, candidates = _queries_and_candidates(shop)
    layer = tfrs.layers.factorized_top_k.BruteForce(k=K).index(tf.constant(candidates))
    batches = [tf.constant(queries[start : start + BATCH]) for start in range(0, USERS, BATCH)]
    return lambda: np.concatenate([layer(batch)[1].numpy() for batch in batches])


def faiss_flat(shop: Shop) -> Answer:
    """FAISS IndexFlatIP."""
    import faiss

    queries, candidates = _queries_and_candidates(shop)
    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(candidates)
    return lambda: np.concatenate([index.search(queries[at : at + BATCH], K)[1] for at in range(0, USERS, BATCH)])


def implicit_topk(shop: Shop) -> Answer:
    """implicit's topk, which its models recommend with."""
    from implicit.cpu.topk import topk

    queries, candidates = _queries_and_candidates(shop)
    return lambda: np.asarray(topk(candidates, queries, K)[0])


def implicit_lists(shop: Shop) -> Answer:
    """implicit's topk, once for each of the four lists."""
    from implicit.cpu.topk import topk

    catalogue = shop.catalogue()
    scaled = catalogue.queries(shop.histories(USERS))
    searches = []
    for wanted in shop.lists(catalogue):
        allowed = slice(None) if wanted.allowed is None else wanted.allowed
        candidates = np.column_stack([catalogue.candidates[allowed], catalogue.popularity_prior[allowed]])
        weights = np.full(USERS, wanted.popularity_weight, dtype=np.float32)
        searches.append((candidates, np.column_stack([scaled, weights]), wanted.length))
    return lambda: [topk(candidates, queries, k) for candidates, queries, k in searches]


def _queries_and_candidates(shop: Shop) -> tuple[Float32Array, Float32Array]:
    catalogue = shop.catalogue()
    return catalogue.queries(shop.histories(USERS)), catalogue.candidates


OURS, ONE_LIST, EXACT, FOUR_TIMES = "ours", "ours, one list", "ours, exact", "implicit, list by list"
PEERS = {"TFRS BruteForce": brute_force, "FAISS flat": faiss_flat, "implicit": implicit_topk}
LARGE = [Shop(n_games, 8, skewed=False, tastes=True) for n_games in (250_000, 500_000, 1_000_000)]
CONDITIONS = [Shop(GAMES, 8, skewed=False), Shop(GAMES, 2, skewed=True)]


def _serve(engine: Callable[[Shop], Answer], shop: Shop, channel: Connection) -> None:
    """Answer each request through the channel with the seconds it took."""
    answer = engine(shop)
    answer()
    channel.send("ready")
    while channel.recv():
        started = time.perf_counter()
        answer()
        channel.send(time.perf_counter() - started)


def users_per_second(engines: dict[str, tuple[Callable[[Shop], Answer], Shop]]) -> dict[str, float]:
    """Measure each engine in its own process; return the median over repeats, in which the engines take turns."""
    context = get_context("spawn")
    channels: dict[str, Connection] = {}
    for name, (engine, shop) in engines.items():
        channels[name], remote = context.Pipe()
        context.Process(target=_serve, args=(engine, shop, remote), daemon=True).start()
        channels[name].recv()  # ready: engines start one after the other, before any is measured
    seconds: dict[str, list[float]] = {name: [] for name in channels}
    for _ in range(REPEATS):
        for name, channel in channels.items():
            channel.send(True)
            seconds[name].append(channel.recv())
    for channel in channels.values():
        channel.send(False)
    return {name: USERS / statistics.median(taken) for name, taken in seconds.items()}


def exactness(shop: Shop) -> list[Row]:
    """Compare each list with a full sort of all scores: the share of games at the same ranks, and the scores."""
    catalogue, history = shop.catalogue(), shop.histories(CHECKED_USERS)
    lists, same, difference = shop.lists(catalogue), 1.0, 0.0
    for wanted, found in zip(lists, catalogue.recommend_lists(history, lists), strict=True):
        naive = catalogue.scores(history, wanted.popularity_weight)
        naive[history.owners, history.games] = -np.inf
        if wanted.allowed is not None:
            naive[:, ~wanted.allowed] = -np.inf
        expected, values = top_k(naive, wanted.length)
        full = values > -np.inf
        difference = max(difference, float(np.abs(values[full] - found.scores[full]).max(initial=0)))
        # Two games whose scores differ in the last digit may swap ranks.
        scores = np.take_along_axis(naive, found.positions, axis=1)
        gaps = np.subtract(scores, values, out=np.zeros_like(values), where=full)
        as_good = full & (np.abs(gaps) <= MUST_DIFFERENCE)
        unique = [len(set(games)) == wanted.length for games in found.positions.tolist()]
        as_good &= np.array(unique)[:, None]
        same = min(same, float(np.mean((found.positions == expected) | as_good)))
    what = f"four lists of {shop}"
    return [
        at_least(f"{what}, share of games as in a full sort", same, 1.0),
        at_most(f"{what}, largest difference of a score to a full sort's", difference, MUST_DIFFERENCE),
    ]


def approximate(shop: Shop) -> list[Row]:
    """Compare approximate with exact retrieval."""
    catalogue, history = shop.catalogue(), shop.histories(USERS)
    exact = catalogue.recommend(history, APPROXIMATE_K)
    started = time.perf_counter()
    with_index = replace(catalogue, index=ApproximateIndex.from_scorer(catalogue))
    index_seconds = time.perf_counter() - started
    found = with_index.recommend(history, APPROXIMATE_K)
    seconds: dict[str, list[float]] = {"exact": [], "approximate": []}
    for _ in range(2):
        for name, each in (("exact", catalogue), ("approximate", with_index)):
            started = time.perf_counter()
            each.recommend(history, APPROXIMATE_K)
            seconds[name].append(time.perf_counter() - started)
    speed = {name: USERS / statistics.median(taken) for name, taken in seconds.items()}
    what = f"top {APPROXIMATE_K} of {shop}"
    wanted = GameList("", APPROXIMATE_K, POPULARITY_WEIGHT)
    reach = catalogue.exact_index.games_scored(wanted, exact.scores[:, -1])
    recall = recall_of(found.positions, exact.positions)
    made = f"{index_seconds:.0f} s to build the index, exact looks at {reach:,.0f}"
    return [
        times_as_many(f"{what}, approximate retrieval, users/s ({made})", speed["approximate"], speed["exact"], EXACT),
        at_least(f"{what}, recall of approximate retrieval", recall, MIN_RECALL),
    ]


def rows() -> Iterator[Row]:
    """Measure everything."""
    for shop in CONDITIONS:
        mine = {OURS: ours, ONE_LIST: our_single_list, FOUR_TIMES: implicit_lists}
        speed = users_per_second({name: (engine, shop) for name, engine in (mine | PEERS).items()})
        four = f"four lists of {shop}, users/s"
        yield from (times_as_many(four, speed[OURS], speed[peer], peer, MUST) for peer in (*PEERS, FOUR_TIMES))
        one = f"top {K} of {shop}, users/s"
        yield from (times_as_many(one, speed[ONE_LIST], speed[peer], peer) for peer in PEERS)
        yield from exactness(shop)
    for shop in LARGE:
        yield from approximate(shop)


if __name__ == "__main__":
    run_benchmark("retrieval", __doc__, rows)
