import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steam_recsys.errors import UserError
from steam_recsys.model import retrieval as module
from steam_recsys.model.retrieval import TOP_K_BLOCK, ExactIndex, GameList, SparseScores, top_k

# A few small values, exact in float32, for many ties and no rounding.
VALUES = st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.5, 1.0])


Search = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, SparseScores, SparseScores]
"""Queries, candidates, popularity priors, availability, item-item scores and excluded games."""


@st.composite
def entries(draw: st.DrawFn, users: int, games: int) -> SparseScores:
    cells = draw(st.lists(st.tuples(st.integers(0, users - 1), st.integers(0, games - 1), VALUES), max_size=30))
    rows, columns, weights = zip(*cells, strict=True) if cells else ((), (), ())
    return SparseScores(np.array(rows, np.int64), np.array(columns, np.int32), np.array(weights, np.float32))


@st.composite
def searches(draw: st.DrawFn) -> Search:
    users, games, width = draw(st.integers(1, 5)), draw(st.integers(0, 70)), draw(st.integers(1, 3))
    queries, candidates = (
        draw(hnp.arrays(np.float32, (n, width), elements=VALUES.map(np.float32))) for n in (users, games)
    )
    priors = draw(hnp.arrays(np.float32, games, elements=st.sampled_from([-4.0, -2.0, 0.0]).map(np.float32)))
    some = entries(users, games) if games else st.just(nothing())
    available = draw(hnp.arrays(bool, games, elements=st.sampled_from([True, True, False])))
    return queries, candidates, priors, available, draw(some), draw(some)


def nothing() -> SparseScores:
    return SparseScores(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


def naive(search: Search, wanted: GameList) -> tuple[list[list[int]], list[list[float]]]:
    queries, candidates, priors, available, item_item, excluded = search
    scores = queries @ candidates.T
    for row, game, weight in zip(item_item.rows, item_item.games, item_item.weights, strict=True):
        scores[row, game] += weight
    scores += np.float32(wanted.popularity_weight) * priors
    scores[excluded.rows, excluded.games] = -np.inf
    scores[:, ~available if wanted.allowed is None else ~(available & wanted.allowed)] = -np.inf
    positions, values = top_k(scores, wanted.length)
    return positions.tolist(), values.tolist()


@st.composite
def game_lists(draw: st.DrawFn, games: int) -> GameList:
    allowed = draw(st.one_of(st.none(), hnp.arrays(bool, games), st.just(np.arange(games) < 3)))
    return GameList("", draw(st.integers(1, 40)), draw(st.sampled_from([0.0, 0.5, 1.0, 2.0])), allowed)


@settings(max_examples=200, deadline=None)
@given(
    searches(), st.sampled_from([1, 4, 64]), st.sampled_from([1, 16, 1 << 18]), st.sampled_from([1, 1 << 23]), st.data()
)
def test_exact_search_for_several_lists_equals_a_full_sort_of_each(
    search: Search, chunk: int, tile: int, pool: int, data: st.DataObject
) -> None:
    queries, candidates, priors, available, item_item, excluded = search
    lists = data.draw(st.lists(game_lists(len(candidates)), max_size=4))
    longest = float(np.linalg.norm(queries, axis=1).max())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "CHUNK_GAMES", chunk)
        patched.setattr(module, "TILE_SCORES", tile)
        patched.setattr(module, "POOL_KEYS", pool)
        patched.setattr(module, "MAX_TILE_GAMES", 8 * chunk)
        index = ExactIndex.from_candidates(candidates, priors, longest, np.flatnonzero(available))
        prepared = index.prepare(lists)
        found = [prepared(queries, item_item, excluded) for _ in range(2)]  # it can be used again
        no_users = prepared(queries[:0], nothing(), nothing())
    for results in found:
        assert [(p.tolist(), s.tolist()) for p, s in results] == [naive(search, wanted) for wanted in lists]
    assert [positions.shape for positions, _ in no_users] == [(0, wanted.length) for wanted in lists]


def test_large_catalogue_is_searched_exactly_at_low_and_high_scale() -> None:
    random = np.random.default_rng(0)
    queries = random.standard_normal((40, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1)[:, None]
    candidates = random.standard_normal((20_000, 16)).astype(np.float32)
    candidates /= np.linalg.norm(candidates, axis=1)[:, None]
    priors = np.log(1 / random.permutation(np.arange(1.0, 20_001))).astype(np.float32)
    item_item = SparseScores(
        random.integers(0, 40, 4_000), random.integers(0, 20_000, 4_000).astype(np.int32),
        random.normal(0, 4, 4_000).astype(np.float32),
    )  # fmt: skip
    excluded = SparseScores(
        np.arange(40), np.argmax(queries @ candidates.T, axis=1).astype(np.int32), np.zeros(40, "f4")
    )
    lists = [
        GameList("all", 100, 1.0),
        GameList("half", 200, 0.2, random.random(20_000) < 0.5),
        GameList("a fifth", 30, 0.2, random.random(20_000) < 0.2),
        GameList("few", 30, 1.0, random.random(20_000) < 0.01),
    ]
    for scale in (0.5, 30.0):
        scaled = queries * np.float32(scale)
        index = ExactIndex.from_candidates(candidates, priors, scale, np.arange(20_000))
        for (found, scores), wanted in zip(index.prepare(lists)(scaled, item_item, excluded), lists, strict=True):
            search = scaled, candidates, priors, np.ones(20_000, bool), item_item, excluded
            positions, values = naive(search, wanted)
            assert np.mean(found == np.array(positions)) > 0.999  # except for rounding
            assert scores == pytest.approx(np.array(values), abs=1e-4)


def test_fewer_games_are_scored_for_a_list_that_popularity_dominates() -> None:
    random = np.random.default_rng(0)
    candidates = np.ones((5_000, 1), np.float32)
    priors = np.log(1 / random.permutation(np.arange(1.0, 5_001))).astype(np.float32)
    index = ExactIndex.from_candidates(candidates, priors, 1.0, np.arange(5_000))
    kth_scores = np.full(2, 1 + np.log(1 / 50), np.float32)
    assert index.games_scored(GameList("", 50, 1.0), kth_scores) == module.CHUNK_GAMES
    assert index.games_scored(GameList("", 50, 0.0), kth_scores) == 5_000
    rare = GameList("", 50, 1.0, priors < priors[index.positions[2 * module.CHUNK_GAMES]])
    assert index.games_scored(rare, np.full(2, -np.inf, np.float32)) == 5_000 - 2 * module.CHUNK_GAMES


@given(flags=hnp.arrays(bool, st.integers(0, 50)))
def test_sparse_flatnonzero_equals_flatnonzero(flags: np.ndarray) -> None:
    assert module.sparse_flatnonzero(flags).tolist() == np.flatnonzero(flags).tolist()


def test_keys_sort_like_scores_then_positions() -> None:
    scores = np.array([-np.inf, -3e38, -1.5, -1e-40, 0.0, 1e-40, 1.5, 3e38], dtype=np.float32)
    keys = module._keys(scores, np.zeros(len(scores), np.int32))
    assert (np.diff(keys) > 0).all()
    assert module._scores(keys).tolist() == scores.tolist()
    later = module._keys(np.full(3, 2, np.float32), np.array([0, 1, 2**31 - 1], np.int32))
    assert (np.diff(later) < 0).all()
    assert module._positions(later).tolist() == [0, 1, 2**31 - 1]


@pytest.mark.parametrize("where", ["candidate", "prior"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_and_priors_that_are_not_finite_are_refused(where: str, value: float) -> None:
    candidates, priors = np.ones((3, 2), np.float32), np.zeros(3, np.float32)
    (candidates[1] if where == "candidate" else priors)[1] = value
    with pytest.raises(UserError, match="not finite numbers"):
        ExactIndex.from_candidates(candidates, priors, 1.0, np.arange(3))


# A few values, for many ties; several blocks of columns.
tied_scores = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 10 * TOP_K_BLOCK)),
    elements=st.sampled_from([-np.inf, -2.5, -1.0, -0.0, 0.0, 1e-6, 3.0]).map(np.float32),
)


@settings(max_examples=40, deadline=None)
@given(tied_scores, st.integers(1, 7))
def test_top_k_sorts_by_score_with_ties_in_column_order(scores: np.ndarray, k: int) -> None:
    before = scores.copy()
    columns, values = top_k(scores, k)
    for row, found, found_values in zip(scores, columns, values, strict=True):
        finite = [column for column in np.argsort(-row, kind="stable") if np.isfinite(row[column])][:k]
        assert found.tolist() == [*finite, *[-1] * (k - len(finite))]
        assert found_values.tolist() == [*row[finite], *[-np.inf] * (k - len(finite))]
    assert np.array_equal(scores, before)


def test_top_k_of_fewer_columns_is_padded() -> None:
    columns, values = top_k(np.array([[1, 2]], dtype=np.float32), 4)
    assert columns.tolist() == [[1, 0, -1, -1]]
    assert values.tolist() == [[2, 1, -np.inf, -np.inf]]


def test_top_k_of_nothing_is_empty() -> None:
    assert top_k(np.zeros((2, 0), dtype=np.float32), 3)[0].tolist() == [[-1] * 3] * 2
    assert top_k(np.zeros((0, 5), dtype=np.float32), 3)[0].shape == (0, 3)


def test_top_k_of_many_distinct_scores_equals_a_sort() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(100 * TOP_K_BLOCK + 7, dtype=np.float32)).reshape(1, -1)
    for k in (1, 50, 99, 100, 101, scores.size):
        assert top_k(scores, k)[0].tolist() == np.argsort(-scores)[:, :k].tolist()
