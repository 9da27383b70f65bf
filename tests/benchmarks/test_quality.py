"""The benchmark's tables and its record."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import quality as module
from benchmarks.generated import Size, generate_in_order
from benchmarks.public_data import BOARDS, GENERATED, ML_LAST, ML_RANDOM, UCSD, Board, Protocol
from benchmarks.quality import (
    FANS_HISTORY,
    FANS_PER_TAG,
    WITHOUT_TUNING,
    Row,
    ablation,
    fans_of_tags,
    gather,
    markdown,
    measure_board,
    results,
    share_of_own_tag,
    times,
    tuning_key,
    without_parts,
)
from benchmarks.sasrec import SasrecRanker, SasrecSettings
from components.train.sequential_tower import SequenceConfig
from steam_recsys.arrays import normalised
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions, cutoff_day
from steam_recsys.data.popularity import popularity
from steam_recsys.evaluation.baselines import Baseline
from steam_recsys.evaluation.beyond_accuracy import COVERAGE, JACCARD, TAIL_MATCHED_AUC, Reference
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.evaluation.metrics import NDCG, Recall, measure
from steam_recsys.evaluation.rankers import ModelRanker, StaticRanker
from steam_recsys.evaluation.splits import by_time, hold_out
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.scorer import Scorer
from tests.steam_recsys.model.models import random_model, random_tower, scorer_for

SECONDS = {"training": 170.2, "evaluation": 61.7}


def named(name: str) -> Board:
    (found,) = [board for board in BOARDS if board.name == name]
    return found


def row(ranker: str, ndcg: float, gain: float = 0.05) -> Row:
    figures = {metric.name: Interval(ndcg, ndcg - 0.01, ndcg + 0.01) for metric in (NDCG(10), Recall(20))}
    gains = {name: Interval(gain, gain - 0.01, gain + 0.01) for name in figures}
    beyond = {JACCARD: 0.5, COVERAGE: 0.02, TAIL_MATCHED_AUC: 0.51}
    return Row(ranker, "", figures, gains, beyond)


def test_the_record_names_the_best_peer_and_whether_the_target_is_met() -> None:
    rows = [row("ours", 0.46), row("EASE", 0.40), row("popularity", 0.2)]
    ndcg, recall, *_ = results(named(ML_RANDOM), rows)
    assert ndcg == {
        "what": "ML-100K, random 80/20, ndcg_at_10", "ours": 0.46, "peer": 0.4, "peer_name": "EASE",
        "ratio": 1.15, "must": 0.453, "met": True,
    }  # fmt: skip
    assert (recall["must"], recall["met"]) == (0.459, True)
    assert not results(named(ML_RANDOM), [row("ours", 0.45), *rows[1:]])[0]["met"]
    assert not results(named(UCSD), [row("ours", 0.2), *rows[1:]])[0]["met"]


def test_ours_must_be_above_every_other_row_by_the_interval() -> None:
    rows = [row("ours", 0.46), row("DLAE", 0.45, 0.009), row("EASE", 0.40, 0.06)]
    _, _, dlae, ease = results(named(ML_RANDOM), rows)
    assert (dlae["what"], dlae["met"]) == (
        "ML-100K, random 80/20, ndcg_at_10, ours − DLAE 0.0090 (-0.0010 to 0.0190)",
        False,
    )
    assert (ease["peer_name"], ease["met"]) == ("EASE", True)


def test_the_record_says_whether_the_figures_beyond_accuracy_are_met() -> None:
    _, _, *beyond = results(named(UCSD), [row("ours", 0.45), row("EASE", 0.40)])
    assert [(line["what"].rpartition(", ")[2], line["met"]) for line in beyond] == [
        (JACCARD, True),
        (COVERAGE, True),
        (TAIL_MATCHED_AUC, False),
    ]


def test_times_have_limits_where_the_project_has_set_them() -> None:
    training, evaluation = times(named(ML_RANDOM), SECONDS)
    assert (training["ours"], training["must"], training["met"]) == (170.2, 180.0, True)
    assert (evaluation["ours"], evaluation["must"], evaluation["met"]) == (61.7, 300.0, True)
    assert not times(named(ML_RANDOM), {"training": 181.0})[0]["met"]
    for name in (ML_RANDOM, ML_LAST, UCSD, GENERATED):
        assert not times(named(name), {"evaluation": 301.0})[0]["met"]
    (repeated,) = times(named(ML_RANDOM), {WITHOUT_TUNING: 30.0})
    assert repeated["must"] is None


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
    table = markdown(named(ML_RANDOM), [row("ours", 0.45), row("EASE", 0.40)], SECONDS)
    assert table.startswith("### ML-100K, random 80/20\n")
    assert "| ranking | settings | NDCG@10 | Recall@20 | ours − it, NDCG@10 | ours − it, Recall@20 |" in table
    assert "| EASE |  | 0.4000 (0.3900 to 0.4100) | 0.4000 (0.3900 to 0.4100) | 0.0500 (0.0400 to 0.0600) |" in table
    assert "| EASE | 0.5 |  | 0.02 |" in table
    assert "The rows of ours are means over 3 seeds" in table
    assert "Seconds: one training 170, one evaluation 62." in table
    assert "not the fits of TFRS tutorial and SASRec (ours)" in table


def test_the_table_names_the_rows_that_are_means_over_seeds() -> None:
    names = ("ours", "TFRS tutorial", "SASRec (ours)", "EASE")
    table = markdown(named(ML_LAST), [row(name, 0.4) for name in names], SECONDS)
    assert "The rows of ours, TFRS tutorial and SASRec (ours) are means over 3 seeds" in table


def test_a_board_that_is_measured_again_replaces_only_its_own_part(tmp_path: Path) -> None:
    first, second = BOARDS[:2]
    for board, figure in ((second, 2), (first, 1), (second, 3)):
        (tmp_path / f"quality-{board.key}.json").write_text(json.dumps([{"what": board.key, "ours": figure}]))
        (tmp_path / f"quality-{board.key}.md").write_text(f"### {board.name}\n{figure}\n")
        rows = gather(tmp_path)
    assert rows == [{"what": first.key, "ours": 1}, {"what": second.key, "ours": 3}]
    assert json.loads((tmp_path / "quality.json").read_text()) == rows
    assert (tmp_path / "quality.md").read_text() == f"### {first.name}\n1\n\n### {second.name}\n3\n"


@pytest.mark.parametrize("ordered", [False, True])
def test_random_rankers_are_means_over_seeds_and_baselines_are_measured_once(
    ordered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With rankers that stand in for trained ones: what counts is how often each is made and what is averaged.

    SASRec takes part if histories are in the order of time. It is tuned once, with the first seed. The baselines are
    tuned once for the same data.
    """
    interactions, games = generate_in_order(Size(2_000, 150, 400), 0)
    cutoff = cutoff_day(interactions, 0.2)
    split = by_time(interactions, cutoff)
    protocol = Protocol("small", games, split, split)
    made: list[tuple[str, int]] = []
    tuned: list[tuple[str, int | None]] = []

    def weights(name: str, seed: int) -> StaticRanker:
        made.append((name, seed))
        return StaticRanker(np.random.default_rng(seed).random(len(games)).astype(np.float32))

    def fit(protocol: Protocol, seed: int) -> SimpleNamespace:
        reference = Reference.from_past(split.past, games, cutoff, [])
        return SimpleNamespace(
            scorer=weights("ours", seed), reference=reference, config=SimpleNamespace(summary=f"seed {seed}")
        )

    def baselines(past: Interactions, as_of: int, ids: object, chosen: dict[str, dict[str, float]]) -> list[Baseline]:
        assert chosen == {"popularity": {}}
        return [Baseline("popularity", "", StaticRanker(popularity(past, games.ids).astype(np.float32)))]

    monkeypatch.setattr(module.Fitted, "fit", fit)
    monkeypatch.setattr(module, "ModelRanker", lambda scorer: scorer)
    monkeypatch.setattr(module.TutorialRanker, "fit", lambda past, ids, seed: weights("tutorial", seed))
    sasrec = SasrecRanker(random_tower(len(games)), 6.0, np.zeros(len(games), np.float32))
    settings = SasrecSettings(SequenceConfig(), 1.0, 0.1)
    monkeypatch.setattr(
        module.SasrecSettings, "tune", lambda protocol, seed: tuned.append(("SASRec", seed)) or settings
    )
    monkeypatch.setattr(module.SasrecRanker, "fit", lambda protocol, _, seed: made.append(("SASRec", seed)) or sasrec)
    monkeypatch.setattr(
        module, "tune_baselines", lambda split, ids: tuned.append(("baselines", None)) or {"popularity": {}}
    )
    monkeypatch.setattr(module, "fit_baselines", baselines)
    board = replace(named(ML_RANDOM), name="small", ordered=ordered)
    measured = measure_board(board, protocol, tmp_path)
    seeded = {"ours": "ours", "tutorial": "TFRS tutorial", **({"SASRec": "SASRec (ours)"} if ordered else {})}
    assert made == [(name, seed) for seed in (0, 1, 2) for name in seeded]
    assert [row.ranker for row in measured.rows] == [*seeded.values(), "popularity"]
    assert measured.rows[0].settings == "seed 0"
    held_out = hold_out(split.past, split.future, games.ids)
    expected = np.mean([measure(weights("", seed), held_out, (NDCG(10),))["ndcg_at_10"].mean() for seed in (0, 1, 2)])
    assert measured.rows[0].figures["ndcg_at_10"].mean == pytest.approx(expected)
    assert set(measured.seconds) == {"training", "evaluation"}
    assert "[benchmark] small, popularity (): ndcg_at_10 0." in capsys.readouterr().out
    assert tuned == [*([("SASRec", 0)] * ordered), ("baselines", None)]
    if ordered:
        assert measured.rows[2].settings == "64 dimensions, dropout 0.2, 100% of the steps, popularity × 1"
    again = measure_board(board, protocol, tmp_path)
    assert set(again.seconds) == {"training", WITHOUT_TUNING}
    assert tuned.count(("baselines", None)) == 1


def test_each_part_that_a_model_has_is_left_out_once() -> None:
    model = replace(random_model(), sequence=random_tower(), sequence_scale=6.0)
    scorer = replace(scorer_for(model), history_weights=HistoryWeights(recency=1.0))
    lacking = without_parts(scorer)
    assert [*lacking] == [
        "popularity", "the two towers", "the sequential tower", "games liked together", "games that come next",
        "history weights",
    ]  # fmt: skip
    history = Histories.from_games([1, 2, 3], [4, 5])
    whole = scorer.scores(history)
    for name, other in lacking.items():
        assert not np.allclose(other.scores(history), whole), name
    assert np.allclose(lacking["popularity"].scores(history), scorer.taste(history))
    bare = replace(
        scorer, item_item=ItemItemWeights.empty(len(scorer)), next_games=None, sequence=None, sequence_scale=0.0,
        history_weights=HistoryWeights(),
    )  # fmt: skip
    assert [*without_parts(bare)] == ["popularity", "the two towers"]


def test_the_ablation_says_what_a_part_adds() -> None:
    interactions, games = generate_in_order(Size(2_000, 150, 400), 0)
    split = by_time(interactions, cutoff_day(interactions, 0.2))
    protocol = Protocol("small", games, split, split)
    random = np.random.default_rng(0)
    scorer = Scorer(
        np.zeros((len(games), 4), np.float32), normalised(random.random((len(games), 4)).astype(np.float32)),
        ItemItemWeights.empty(len(games)), popularity(split.past, games.ids).astype(np.float32), 1.0, 1.0,
        HistoryWeights(),
    )  # fmt: skip
    ours = SimpleNamespace(scorer=scorer)
    _, said, _, titles, _, popular, towers = ablation(named(ML_RANDOM), protocol, ours).splitlines()
    assert said == "The model of seed 0 without each of its parts:"
    assert titles == "| without | NDCG@10 | Recall@20 | ours − it, NDCG@10 | ours − it, Recall@20 |"
    held_out = hold_out(split.past, split.future, games.ids)
    whole = measure(ModelRanker(scorer), held_out, (NDCG(10),))["ndcg_at_10"].mean()
    assert towers.startswith(f"| the two towers | {whole:.4f} |")
    assert towers.endswith("| 0.0000 (0.0000 to 0.0000) | 0.0000 (0.0000 to 0.0000) |")
    _, lacking, _, gain, _ = popular.split(" | ")
    assert float(gain.split()[0]) == pytest.approx(whole - float(lacking), abs=1e-4)


def test_the_baselines_of_other_data_are_tuned_for_themselves() -> None:
    interactions, games = generate_in_order(Size(2_000, 150, 400), 0)
    split = by_time(interactions, cutoff_day(interactions, 0.2))
    protocol = Protocol("small", games, split, by_time(split.past, cutoff_day(split.past, 0.2)))
    key = tuning_key(protocol)
    assert key == tuning_key(replace(protocol, name="other", test=protocol.validation))
    assert key.held_out_share == pytest.approx(0.2, abs=0.02)
    fewer = replace(protocol.validation, past=protocol.validation.past.take(slice(1, None)))
    for other in (replace(protocol, validation=fewer), replace(protocol, validation=split)):
        assert tuning_key(other).file != key.file


def test_users_whose_held_out_item_is_new_count_as_zeros_if_published_figures_do_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (board,) = [board for board in BOARDS if board.key == "amazon-beauty"]
    folder = tmp_path / "amazon-beauty"
    folder.mkdir()
    (folder / "Beauty.txt").write_text("1 1 2 3 4\n2 1 2 4 3\n3 1 2 3 5\n")  # item 5 has no earlier user
    protocol = board.load(tmp_path)
    perfect = StaticRanker(np.array([0, 0, 1, 1, 0], np.float32))
    ours = SimpleNamespace(
        scorer=perfect, config=SimpleNamespace(summary=""),
        reference=Reference.from_past(protocol.test.past, protocol.games, None, []),
    )  # fmt: skip
    monkeypatch.setattr(module.Fitted, "fit", lambda protocol, seed: ours)
    monkeypatch.setattr(module, "ModelRanker", lambda scorer: scorer)
    monkeypatch.setattr(module.TutorialRanker, "fit", lambda *_: perfect)
    monkeypatch.setattr(module, "tune_baselines", lambda *_: {})
    monkeypatch.setattr(module, "fit_baselines", lambda *_: [])
    for every_user, expected in ((False, 1.0), (True, 2 / 3)):
        chosen = replace(board, ordered=False, every_user=every_user)
        first, *_ = measure_board(chosen, protocol, tmp_path / "store").rows
        assert first.figures["recall_at_10"].mean == pytest.approx(expected)
    assert board.every_user
    assert sum(each.every_user for each in BOARDS) == 1
