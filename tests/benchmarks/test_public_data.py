"""The benchmark's protocols against known figures."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.public_data import BOARDS, GENERATED, Protocol, select_boards
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity, recent_popularity
from steam_recsys.errors import UserError
from steam_recsys.evaluation.metrics import NDCG, Recall, measure
from steam_recsys.evaluation.rankers import StaticRanker
from steam_recsys.evaluation.splits import hold_out

DATA = Path(__file__).parents[3] / "shared" / "data"


@cache
def load(name: str) -> Protocol:
    """Load the protocol of a board once."""
    (board,) = [board for board in BOARDS if board.name == name]
    if board.file and not (DATA / board.file).is_file():
        pytest.skip(f"{board.file} is not beside this project")
    return board.load(DATA)


@pytest.mark.parametrize(
    ("name", "users", "ndcg", "recall"),
    [
        ("ML-100K, random 80/20", 942, 0.223, 0.225),
        ("ML-100K, last item out", 940, 0.045, 0.127),
        ("steam-ucsd, newest 10 % of reviews", 2_042, 0.208, 0.390),
        ("Steam-200k, random 80/20", 4_542, 0.158, 0.309),
        ("Amazon Beauty 5-core, last item out", 22_311, 0.0061, 0.0217),
    ],
)
def test_popularity_reaches_its_known_figures(name: str, users: int, ndcg: float, recall: float) -> None:
    """If it does, splits, catalogue and metrics are those of the published table."""
    protocol = load(name)
    game_ids, past = protocol.games.ids, protocol.test.past
    held_out = hold_out(past, protocol.test.future, game_ids)
    as_of = protocol.test.as_of
    weights = popularity(past, game_ids) if as_of is None else recent_popularity(past, game_ids, as_of)
    measured = measure(StaticRanker(weights.astype("float32")), held_out, (NDCG(10), Recall(20)))
    assert len(held_out) == users
    assert measured["ndcg_at_10"].mean() == pytest.approx(ndcg, abs=6e-4)
    assert measured["recall_at_20"].mean() == pytest.approx(recall, abs=6e-4)


@pytest.mark.parametrize("name", [board.name for board in BOARDS])
def test_validation_rows_come_from_the_training_rows(name: str) -> None:
    protocol = load(name)
    users = np.unique(np.concatenate([protocol.test.past.users, protocol.test.future.users]))

    def pairs(interactions: Interactions) -> np.ndarray:
        rows, games = np.searchsorted(users, interactions.users), positions_of(interactions.games, protocol.games.ids)
        found = np.unique(rows * len(protocol.games) + games)
        assert len(found) == len(interactions) > 0
        return found

    known, future = pairs(protocol.test.past), pairs(protocol.test.future)
    tuned_on, chosen_by = pairs(protocol.validation.past), pairs(protocol.validation.future)
    assert np.isin(tuned_on, known).all()
    assert np.isin(chosen_by, known).all()
    assert not np.isin(chosen_by, tuned_on).any()
    assert not np.isin(future, known).any()
    assert not np.isin(future, chosen_by).any()


def test_the_generated_board_has_the_size_of_a_large_shop() -> None:
    protocol = load(GENERATED)
    past, future = protocol.test.past, protocol.test.future
    assert len(protocol.games) == 41_000
    assert 0.95 * 810_000 < len(past) + len(future) <= 810_000
    assert past.days.max() < protocol.test.as_of <= future.days.min()
    assert len(future) / (len(past) + len(future)) == pytest.approx(0.1, abs=0.01)


def test_last_out_holds_out_the_last_purchase_and_validates_on_the_one_before(tmp_path: Path) -> None:
    (board,) = [board for board in BOARDS if board.key == "amazon-beauty"]
    folder = tmp_path / "amazon-beauty"
    folder.mkdir()
    (folder / "Beauty.txt").write_text("7 3 1 4\n9 2 5 3 1\n")
    protocol = board.load(tmp_path)
    assert protocol.test.future.games.tolist() == [4, 1]
    assert protocol.validation.future.games.tolist() == [1, 3]
    assert protocol.validation.past.games.tolist() == [3, 2, 5]
    assert protocol.validation.past.users.tolist() == [7, 9, 9]
    assert protocol.games.ids.tolist() == [1, 2, 3, 4, 5]


def test_a_missing_data_set_is_named_with_its_source(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"u\.data does not exist: DATA .*MovieLens 100K from GroupLens"):
        select_boards(tmp_path)


def test_only_the_chosen_boards_need_their_data() -> None:
    with pytest.raises(UserError, match=r"add DATA=folder, .*ml-100k.*steam-200k.*Kaggle.*steam-ucsd.*UCSD"):
        select_boards(None)
    assert [board.key for board in select_boards(None, ["generated"])] == ["generated"]
    with pytest.raises(UserError, match=r"There is no board beauty: BOARD must be one of ml-100k-random, "):
        select_boards(None, ["beauty"])
