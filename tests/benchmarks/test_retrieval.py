"""The benchmark of retrieval, on small catalogues."""

import numpy as np
import pytest

from benchmarks import retrieval
from benchmarks.retrieval import (
    OURS,
    USERS,
    K,
    Shop,
    approximate,
    brute_force,
    exactness,
    faiss_flat,
    implicit_lists,
    implicit_topk,
    ours,
    users_per_second,
)
from steam_recsys.model import approximate as module
from steam_recsys.model.retrieval import top_k

SMALL = Shop(1_000, 8, skewed=True)


def test_our_retrieval_is_exact() -> None:
    rows = exactness(SMALL)
    assert [row["met"] for row in rows] == [True, True]
    assert all(row["what"].startswith("four lists of 1,000 games, scale 8, skewed popularity, ") for row in rows)


def test_the_peers_find_the_largest_inner_products() -> None:
    catalogue, history = SMALL.catalogue(), SMALL.histories(USERS)
    expected, _ = top_k(catalogue.queries(history) @ catalogue.candidates.T, K)
    for peer in (brute_force, faiss_flat, implicit_topk):
        assert np.mean(peer(SMALL)() == expected) > 0.99  # scores may differ in the last digit


def test_implicit_finds_the_games_of_our_lists_from_the_products_alone() -> None:
    catalogue, history = SMALL.catalogue(), SMALL.histories(USERS)
    for wanted, (found, _) in zip(SMALL.lists(catalogue), implicit_lists(SMALL)(), strict=True):
        allowed = np.arange(len(catalogue)) if wanted.allowed is None else np.flatnonzero(wanted.allowed)
        taste = catalogue.queries(history) @ catalogue.candidates[allowed].T
        scores = taste + wanted.popularity_weight * catalogue.popularity_prior[allowed]
        expected, _ = top_k(scores.astype(np.float32), min(wanted.length, len(allowed)))
        assert np.mean(found[:, : expected.shape[1]] == expected) > 0.99


@pytest.mark.slow
def test_engines_take_turns_in_separate_processes() -> None:
    speed = users_per_second({OURS: (ours, SMALL), "FAISS flat": (faiss_flat, SMALL)})
    assert list(speed) == [OURS, "FAISS flat"]
    assert all(users > 0 for users in speed.values())


def test_approximate_retrieval_is_compared_with_exact_retrieval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POPULAR_GAMES", 200)
    monkeypatch.setattr(retrieval, "USERS", 512)
    speed, recall = approximate(Shop(2_000, 8, skewed=False, tastes=True))
    assert speed["peer_name"] == "ours, exact"
    assert 0 < recall["ours"] <= 1
    assert recall["met"] == (recall["ours"] >= 0.98)
