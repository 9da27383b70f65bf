"""The benchmark's protocols against known counts, and what it makes of figures."""

from pathlib import Path

import pytest

from benchmarks.datasets import Protocol, protocols
from benchmarks.quality import Row, markdown, results
from steam_recsys.data.popularity import popularity, recent_popularity
from steam_recsys.errors import UserError
from steam_recsys.evaluation.holdout import hold_out
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.evaluation.metrics import NDCG, Recall, measure
from steam_recsys.evaluation.rankers import StaticRanker

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
def test_popularity_scores_what_it_is_known_to_score(
    name: str, users: int, ndcg: float, recall: float, by_name: dict[str, Protocol]
) -> None:
    """So the splits, the catalogue and the metrics are those of the table that the figures are compared by."""
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
def test_what_is_chosen_on_lies_within_what_may_be_known(name: str, by_name: dict[str, Protocol]) -> None:
    protocol = by_name[name]

    def pairs(interactions) -> set[tuple[int, int]]:
        return set(zip(interactions.users.tolist(), interactions.games.tolist(), strict=True))

    known = pairs(protocol.test.past)
    assert pairs(protocol.validation.past) | pairs(protocol.validation.future) <= known
    assert not pairs(protocol.validation.past) & pairs(protocol.validation.future)
    assert not known & pairs(protocol.test.future)


def test_data_sets_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"u\.data does not exist: name the folder with the data sets, with DATA=folder"
    ):
        protocols(tmp_path)


def row(ranking: str, ndcg: float) -> Row:
    figures = {metric.name: Interval(ndcg, ndcg - 0.01, ndcg + 0.01) for metric in (NDCG(10), Recall(20))}
    return Row(ranking, "", figures, figures)


def test_the_record_names_the_best_peer_and_whether_the_bar_is_met() -> None:
    rows = [row("ours", 0.45), row("EASE", 0.40), row("popularity", 0.2)]
    ndcg, recall = results("ML-100K, random 80/20", rows)
    assert ndcg == {
        "what": "ML-100K, random 80/20, ndcg_at_10", "ours": 0.45, "peer": 0.4, "peer_name": "EASE",
        "ratio": 1.125, "must": 0.444, "met": True,
    }  # fmt: skip
    assert (recall["must"], recall["met"]) == (None, True)
    assert not results("ML-100K, random 80/20", [row("ours", 0.44), *rows[1:]])[0]["met"]
    assert not results("Steam-200k, random 80/20", [row("ours", 0.39), *rows[1:]])[0]["met"]


def test_the_table_has_a_line_a_ranking() -> None:
    table = markdown("ML-100K, random 80/20", [row("ours", 0.45), row("EASE", 0.40)])
    assert table.startswith("### ML-100K, random 80/20\n")
    assert "| EASE |  | 0.4000 (0.3900 to 0.4100) | 0.4000 (0.3900 to 0.4100) |" in table
