"""The benchmark's protocols against known figures, and its tables."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality import (
    FANS_HISTORY,
    FANS_PER_TAG,
    UCSD,
    Protocol,
    Row,
    fans_of_tags,
    markdown,
    protocols,
    results,
    share_of_own_tag,
)
from steam_recsys.data.games import Games
from steam_recsys.data.popularity import popularity, recent_popularity
from steam_recsys.errors import UserError
from steam_recsys.evaluation.beyond_accuracy import COVERAGE, JACCARD, TAIL_MATCHED_AUC
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.evaluation.metrics import NDCG, Recall, measure
from steam_recsys.evaluation.rankers import StaticRanker
from steam_recsys.evaluation.splits import hold_out

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def by_name() -> dict[str, Protocol]:
    if not (DATA / "ml-100k").is_dir():
        pytest.skip("the public data sets are not beside this project")
    return {protocol.name: protocol for protocol in protocols(DATA)}


@pytest.mark.parametrize(
    ("name", "users", "ndcg", "recall"),
    [
        ("ML-100K, random 80/20", 942, 0.223, 0.225),
        ("ML-100K, last item out", 940, 0.045, 0.127),
        ("steam-ucsd, last 10 % of time", 2_042, 0.208, 0.390),
        ("Steam-200k, random 80/20", 4_542, 0.158, 0.309),
    ],
)
def test_popularity_reaches_its_known_figures(
    name: str, users: int, ndcg: float, recall: float, by_name: dict[str, Protocol]
) -> None:
    """If it does, splits, catalogue and metrics are those of the published table."""
    protocol = by_name[name]
    game_ids, past = protocol.games.ids, protocol.test.past
    held_out = hold_out(past, protocol.test.future, game_ids)
    as_of = protocol.test.as_of
    weights = popularity(past, game_ids) if as_of is None else recent_popularity(past, game_ids, as_of)
    measured = measure(StaticRanker(weights.astype("float32")), held_out, (NDCG(10), Recall(20)))
    assert len(held_out) == users
    assert measured["ndcg_at_10"].mean() == pytest.approx(ndcg, abs=6e-4)
    assert measured["recall_at_20"].mean() == pytest.approx(recall, abs=6e-4)


@pytest.mark.parametrize("name", ["ML-100K, random 80/20", "ML-100K, last item out", "steam-ucsd, last 10 % of time"])
def test_validation_rows_come_from_the_training_rows(name: str, by_name: dict[str, Protocol]) -> None:
    protocol = by_name[name]

    def pairs(interactions) -> set[tuple[int, int]]:
        return set(zip(interactions.users.tolist(), interactions.games.tolist(), strict=True))

    known = pairs(protocol.test.past)
    assert pairs(protocol.validation.past) | pairs(protocol.validation.future) <= known
    assert not pairs(protocol.validation.past) & pairs(protocol.validation.future)
    assert not known & pairs(protocol.test.future)


def test_a_missing_data_set_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"u\.data does not exist: DATA .*MovieLens 100K from GroupLens"):
        protocols(tmp_path)


def test_without_data_the_needed_folders_are_named() -> None:
    with pytest.raises(UserError, match=r"add DATA=folder, .*ml-100k.*steam-200k.*Kaggle.*steam-ucsd.*UCSD"):
        protocols(None)


def row(ranker: str, ndcg: float) -> Row:
    figures = {metric.name: Interval(ndcg, ndcg - 0.01, ndcg + 0.01) for metric in (NDCG(10), Recall(20))}
    beyond = {JACCARD: 0.5, COVERAGE: 0.02, TAIL_MATCHED_AUC: 0.51}
    return Row(ranker, "", figures, figures, beyond)


def test_the_record_names_the_best_peer_and_whether_the_target_is_met() -> None:
    rows = [row("ours", 0.45), row("EASE", 0.40), row("popularity", 0.2)]
    ndcg, recall = results("ML-100K, random 80/20", rows)
    assert ndcg == {
        "what": "ML-100K, random 80/20, ndcg_at_10", "ours": 0.45, "peer": 0.4, "peer_name": "EASE",
        "ratio": 1.125, "must": 0.444, "met": True,
    }  # fmt: skip
    assert (recall["must"], recall["met"]) == (None, True)
    assert not results("ML-100K, random 80/20", [row("ours", 0.44), *rows[1:]])[0]["met"]
    assert not results(UCSD, [row("ours", 0.2), *rows[1:]])[0]["met"]


def test_the_record_says_whether_the_figures_beyond_accuracy_are_met() -> None:
    _, _, *beyond = results(UCSD, [row("ours", 0.45), row("EASE", 0.40)])
    assert [(line["what"].rpartition(", ")[2], line["met"]) for line in beyond] == [
        (JACCARD, True),
        (COVERAGE, True),
        (TAIL_MATCHED_AUC, False),
    ]


def test_fans_have_games_of_their_tag_only() -> None:
    tagged = [{"genre Puzzle": 1.0} if game < 40 else {"genre Racing": 1.0} for game in range(60)]
    tags, fans = fans_of_tags(Games(np.arange(60, dtype=np.int32), tagged), np.arange(60.0))
    assert [members.sum() for members in tags] == [40]  # a tag with 20 games is too small
    assert len(fans) == FANS_PER_TAG
    assert (fans.lengths == FANS_HISTORY).all()
    assert fans.games.max() < 40
    half = np.tile([[0, 1, 50, 51]], (FANS_PER_TAG, 1)).astype(np.int32)
    assert share_of_own_tag(half, tags) == 0.5


def test_the_table_has_one_line_per_ranker() -> None:
    table = markdown("ML-100K, random 80/20", [row("ours", 0.45), row("EASE", 0.40)])
    assert table.startswith("### ML-100K, random 80/20\n")
    assert "| EASE |  | 0.4000 (0.3900 to 0.4100) | 0.4000 (0.3900 to 0.4100) |" in table
    assert "| EASE | 0.02 |  | 0.5 |" in table
