"""The benchmark's tables and its record."""

import numpy as np

from benchmarks.public_data import UCSD
from benchmarks.quality import (
    FANS_HISTORY,
    FANS_PER_TAG,
    Row,
    fans_of_tags,
    markdown,
    results,
    share_of_own_tag,
)
from steam_recsys.data.games import Games
from steam_recsys.evaluation.beyond_accuracy import COVERAGE, JACCARD, TAIL_MATCHED_AUC
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.evaluation.metrics import NDCG, Recall


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
    assert "| EASE | 0.5 |  | 0.02 |" in table
