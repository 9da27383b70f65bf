import hashlib
import json
import math
import os
import signal
import time
from collections.abc import Container, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from components.evaluate.evaluation import evaluate_model
from components.train import PERSONAL_BUDGET, training
from components.train.artifact import FittedModel
from components.train.assembly import fit_item_item
from components.train.tensorflow_runtime import Workers, tf
from components.train.trainer import Arrays, Checkpoints, Trainer
from components.train.training import TrainedModel, train_model, tune_and_fit
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from components.train.validation_data import Validation
from steam_recsys import code_version
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.evaluation.splits import by_time
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.folder import open_folder
from tests.components.train.checkerboard import (
    GAMES,
    GENRES,
    USERS,
    catalogue,
    checkerboard,
    day,
    histories,
    interactions,
    quick_config,
)
from tests.components.train.process import start_training
from tests.snapshots import Review, write_snapshot_of

MIN_STEPS = 64


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ModelConfig", lambda: quick_config(MIN_STEPS))
        yield


@pytest.fixture
def fewest_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that do not depend on what is learnt."""
    monkeypatch.setattr(training, "ModelConfig", lambda: quick_config(1))


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snapshot_of(tmp_path_factory.mktemp("snapshot"), checkerboard(), n_games=GAMES, genres=GENRES).root


@pytest.fixture(scope="module")
def trained(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedModel]:
    folder = tmp_path_factory.mktemp("models") / "model"
    return folder, train_model(snapshot, folder, str(folder.parent / "store"))


def all_games(model: TwoTowerArrays, popularity: np.ndarray | None = None):
    return model.for_catalogue(catalogue(model.game_ids), np.ones((3, GAMES)) if popularity is None else popularity)


def assert_same_arrays(one: Path, other: Path) -> None:
    """Bit for bit."""
    arrays = [TwoTowerArrays.load(folder).arrays() for folder in (one, other)]
    for name, array in arrays[0].items():
        assert np.array_equal(array, arrays[1][name]), name


def test_checkerboard_users_get_games_of_their_colour(trained: tuple[Path, TrainedModel]) -> None:
    found = all_games(TwoTowerArrays.load(trained[0])).recommend(histories([2, 4, 6], [1, 3, 5]), k=9)
    assert set(found.positions[0] + 1) == {8, 10, 12, 14, 16, 18, 20, 22, 24}
    assert set(found.positions[1] + 1) == {7, 9, 11, 13, 15, 17, 19, 21, 23}
    assert set(found.because[0] + 1) <= {0, 2, 4, 6}  # 0 for no reason


def test_the_model_beats_popularity_on_the_checkerboard(
    snapshot: Path, trained: tuple[Path, TrainedModel], store: str
) -> None:
    evaluated = evaluate_model(snapshot, trained[0], store)
    figures = evaluated.figures
    assert figures["challenger"]["ndcg_at_10"].low > 1.5 * figures["popularity"]["ndcg_at_10"].high


def test_same_seed_gives_identical_arrays(snapshot: Path, trained: tuple[Path, TrainedModel], tmp_path: Path) -> None:
    again = train_model(snapshot, tmp_path / "again", str(tmp_path / "store"))
    assert again == trained[1]
    assert_same_arrays(tmp_path / "again", trained[0])
    assert open_folder(tmp_path / "store").names("") == []


@pytest.mark.slow
def test_training_killed_in_its_final_fit_resumes_to_the_same_model(
    snapshot: Path, trained: tuple[Path, TrainedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, stops_at = str(tmp_path / "store"), 40
    checkpoints = Checkpoints.for_version(store, trained[1].version)
    process = start_training(snapshot, tmp_path / "model", store, min_steps=MIN_STEPS, stops_at=stops_at)
    while "final.npz" not in checkpoints.folder.names(""):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    steps = len(checkpoints.read("final")["losses"])
    assert 1 <= steps <= stops_at

    write, written = Checkpoints.write, []

    def noted(self: Checkpoints, name: str, arrays: Arrays) -> None:
        written.append((name, len(arrays["losses"])))
        write(self, name, arrays)

    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    monkeypatch.setattr(Checkpoints, "write", noted)
    assert train_model(snapshot, tmp_path / "model", store) == trained[1]
    # Finished fits are not repeated.
    assert written == [("final", step) for step in range(steps + 1, MIN_STEPS + 1)]
    assert_same_arrays(tmp_path / "model", trained[0])
    assert open_folder(store).names("") == []


def test_saved_model_ranks_by_popularity_for_an_empty_history(trained: tuple[Path, TrainedModel]) -> None:
    model = tf.saved_model.load(str(trained[0] / "saved_model"))
    served = model.signatures["serving_default"](
        history=tf.zeros((1, 3), tf.int32), recommended=tf.ones((1, 3), tf.bool), hours=tf.zeros((1, 3))
    )
    by_popularity = np.argsort(-model.popularity_prior.numpy(), kind="stable") + 1
    assert served["game_ids"].numpy()[0].tolist() == by_popularity.tolist()


def test_saved_model_treats_unknown_games_as_an_empty_history(
    trained: tuple[Path, TrainedModel],
) -> None:
    serve = tf.saved_model.load(str(trained[0] / "saved_model")).signatures["serving_default"]
    unknown, nothing = (
        serve(history=tf.constant([ids]), recommended=tf.constant([[True, False, True]]), hours=tf.ones((1, 3)))
        for ids in ([999, -7, 2**31 - 1], [0, 0, 0])
    )
    assert np.array_equal(unknown["game_ids"], nothing["game_ids"])
    assert np.array_equal(unknown["scores"], nothing["scores"])


def test_new_game_is_scored_by_its_genres(trained: tuple[Path, TrainedModel]) -> None:
    model = TwoTowerArrays.load(trained[0])
    game_ids = np.array([*model.game_ids, 900, 901], dtype=np.int32)
    genres = {**GENRES, 900: ["Even", "Indie"], 901: ["Odd", "Indie"]}
    scores = model.for_catalogue(catalogue(game_ids, genres), np.ones((3, GAMES + 2))).scores(
        histories([2, 4, 6], [1, 3, 5])
    )
    assert scores[0, GAMES] > scores[0, GAMES + 1]
    assert scores[1, GAMES] < scores[1, GAMES + 1]


def test_model_json_describes_the_training(snapshot: Path, trained: tuple[Path, TrainedModel]) -> None:
    folder, facts = trained
    description = json.loads((folder / "model.json").read_text())
    newest = max(reviewed_on for _, _, reviewed_on in checkerboard() if reviewed_on)
    assert facts.version.startswith(f"{newest:%Y%m%d}-")
    assert description["version"] == facts.version
    assert description["snapshot_id"] == Snapshot.open(snapshot).manifest.snapshot_id
    assert description["code_version"] == code_version()
    assert description["config"]["scale"] == facts.scale
    assert facts.scale in {trial["scale"] for trial in description["history"]}
    assert description["warm_start"] is None
    assert description["losses"][-1] < description["losses"][0]
    assert facts.best_ndcg_at_10 >= facts.ndcg_at_10 >= (1 - PERSONAL_BUDGET) * facts.best_ndcg_at_10
    assert facts.effective_games_at_10 >= facts.best_effective_games_at_10
    assert all(trial["losses"][-1] < trial["losses"][0] for trial in description["history"])
    assert all(len(trial["checks"]) == 8 and 0 < trial["checks"][-1] <= 1 for trial in description["history"])
    assert json.loads((folder / "vocabulary.json").read_text()) == {
        "games": list(range(1, GAMES + 1)),
        "attributes": ["genre Even", "genre Indie", "genre Odd"],
        "genres": ["even", "indie", "odd"],
    }
    model = TwoTowerArrays.load(folder)
    towers, decays = 2 * quick_config(MIN_STEPS).dimensions * (GAMES + 3), 3
    tables = [model.item_item, *([model.next_games.weights] if model.next_games else [])]
    assert facts.parameters == towers + decays + sum(len(table.games) for table in tables)


def test_evaluation_period_does_not_influence_the_model(
    snapshot: Path, trained: tuple[Path, TrainedModel], tmp_path: Path
) -> None:
    cutoff = date.fromisoformat(json.loads((trained[0] / "model.json").read_text())["cutoff"])
    swapped = [(user, game if when < cutoff else game % GAMES + 1, when) for user, game, when in checkerboard() if when]
    other = write_snapshot_of(tmp_path / "snapshot", swapped, n_games=GAMES, genres=GENRES)
    train_model(other.root, tmp_path / "model", str(tmp_path / "store"))
    for name, array in TwoTowerArrays.load(trained[0]).arrays().items():
        assert np.array_equal(array, TwoTowerArrays.load(tmp_path / "model").arrays()[name]), name


def test_another_seed_gives_another_version_and_the_snapshot_is_not_modified(
    snapshot: Path, trained: tuple[Path, TrainedModel], tmp_path: Path, fewest_steps: None
) -> None:
    def digests() -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(snapshot.rglob("*")) if path.is_file()]

    before = digests()
    assert train_model(snapshot, tmp_path / "model", str(tmp_path / "store"), seed=1).version != trained[1].version
    assert digests() == before


def test_a_time_budget_changes_the_version_and_is_in_model_json(
    snapshot: Path, trained: tuple[Path, TrainedModel], tmp_path: Path
) -> None:
    """The budget is too small for more than one fit for tuning, or far more than is needed."""
    store = str(tmp_path / "store")
    versions = {trained[1].version}
    for minutes, cut_short in ((1e-9, True), (1e6, False)):
        folder = tmp_path / f"{minutes:g}"
        versions.add(train_model(snapshot, folder, store, training_minutes=minutes).version)
        description = json.loads((folder / "model.json").read_text())
        assert (description["training_minutes"], description["search_cut_short"]) == (minutes, cut_short)
        assert (len(description["history"]) == 1) is cut_short
    assert len(versions) == 3
    assert_same_arrays(tmp_path / "1e+06", trained[0])
    description = json.loads((trained[0] / "model.json").read_text())
    assert (description["training_minutes"], description["search_cut_short"]) == (0.0, False)


def test_training_with_a_time_budget_writes_no_checkpoints(
    snapshot: Path, tmp_path: Path, fewest_steps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fits of another attempt may have other settings."""
    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    monkeypatch.setattr(Checkpoints, "write", lambda *_: pytest.fail("a checkpoint"))
    monkeypatch.setattr(Checkpoints, "read", lambda *_: pytest.fail("a checkpoint"))
    train_model(snapshot, tmp_path / "model", str(tmp_path / "store"), training_minutes=1e-9)


@pytest.mark.parametrize("minutes", [-1.0, math.nan, math.inf])
def test_a_time_budget_that_is_no_number_of_minutes_is_refused(minutes: float, snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="training_minutes is"):
        train_model(snapshot, tmp_path / "model", str(tmp_path / "store"), training_minutes=minutes)


def test_games_without_genres_can_be_trained_on(tmp_path: Path, fewest_steps: None) -> None:
    snapshot = write_snapshot_of(tmp_path / "snapshot", checkerboard(), n_games=GAMES)
    assert train_model(snapshot.root, tmp_path / "model", str(tmp_path / "store")).games == GAMES


def test_game_that_everyone_has_is_not_recommended_to_its_owners(tmp_path: Path, fewest_steps: None) -> None:
    everyones = [(user, GAMES + 1, day(user % 60)) for user in range(1, USERS + 1)]
    genres = {**GENRES, GAMES + 1: ["Indie"]}
    snapshot = write_snapshot_of(tmp_path / "snapshot", checkerboard() + everyones, n_games=GAMES + 1, genres=genres)
    train_model(snapshot.root, tmp_path / "model", str(tmp_path / "store"))
    model = TwoTowerArrays.load(tmp_path / "model")
    everything = model.for_catalogue(catalogue(model.game_ids, genres), np.ones((3, GAMES + 1)))
    found = everything.recommend(histories([GAMES + 1, 2], []), k=GAMES + 1)
    assert GAMES not in found.positions[0]
    assert found.positions[1, 0] >= 0
    assert np.isfinite(found.scores[1]).all()


@pytest.mark.parametrize("liked", [True, False])
def test_disliked_game_is_not_recommended_to_users_of_that_colour(
    liked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither by the towers, the item-item weights nor popularity; a liked game is."""
    monkeypatch.setattr(training, "ModelConfig", lambda: quick_config(MIN_STEPS))
    disputed = GAMES + 1
    # Most even users review it, and a few odd users recommend it.
    reviewed = [(user, disputed, day(user % 60)) for user in (*range(2, 101, 2), *range(1, 12, 2))]
    pairs = set() if liked else {(user, disputed) for user, _, _ in reviewed if user % 2 == 0}
    snapshot = write_snapshot_of(
        tmp_path / "snapshot", checkerboard() + reviewed, n_games=disputed, genres=GENRES, not_recommended=pairs
    )
    train_model(snapshot.root, tmp_path / "model", str(tmp_path / "store"))
    model = TwoTowerArrays.load(tmp_path / "model")
    everything = model.for_catalogue(catalogue(model.game_ids), np.ones((3, disputed)))
    scores = everything.scores(histories([2, 4, 6], [1, 3, 5]))[:, disputed - 1]
    assert bool(scores[0] > scores[1]) is liked
    target, rows = np.array([[disputed - 1]]), np.zeros(GAMES // 2, np.int64)
    config, ids = ModelConfig(regression_weight=1.0), np.arange(1, disputed + 1, dtype=np.int32)
    data = TrainingData.from_interactions(interactions(checkerboard() + reviewed, pairs), catalogue(ids), config, 0)
    weights, _ = fit_item_item(data, config)
    item_item = [weights.between(np.arange(first, GAMES, 2), target, rows).mean() for first in (1, 0)]
    assert bool(item_item[0] > item_item[1]) is liked
    assert bool(item_item[0] > 0) is liked
    served = tf.saved_model.load(str(tmp_path / "model" / "saved_model")).signatures["serving_default"](
        history=tf.zeros((1, 1), tf.int32), recommended=tf.ones((1, 1), tf.bool), hours=tf.zeros((1, 1))
    )
    assert served["game_ids"].numpy()[0].tolist().index(disputed) == (0 if liked else GAMES)


def test_history_longer_than_any_in_training_is_answered(
    trained: tuple[Path, TrainedModel],
) -> None:
    longest = list(range(1, GAMES)) * 50
    found = all_games(TwoTowerArrays.load(trained[0])).recommend(histories(longest), k=3)
    assert found.positions[0].tolist() == [GAMES - 1, -1, -1]
    assert np.isfinite(found.scores[0, 0])
    assert found.because[0, 0] == -1  # the only game that is left has no reason


@pytest.mark.parametrize(
    ("reviews", "not_recommended", "sentence"),
    [
        ([(1, 1, None), (None, 2, day(1))], (), "has no dated review by a known user: ingest reviews"),
        ([(1, 1, day(0)), (2, 2, day(0))], (), "has no review before 2020-01-01"),
        ([(user, 1, day(user)) for user in range(1, 30)], (), "has reviews of only one game before"),
        ([(user, user, day(user)) for user in range(1, 30)], (), "No user of the snapshot .* ingest more reviews"),
        ([(7, game, day(game)) for game in range(1, 30)], (), "No user of the snapshot .* ingest more reviews"),
        (checkerboard(), {(user, game) for user, game, _ in checkerboard()}, "No review of the snapshot .* recommends"),
        (
            checkerboard(),
            {(user, game) for user, game, when in checkerboard() if when and when < day(89)},
            "No review of the snapshot .* before 2020-03-.. recommends its game",
        ),
    ],
    ids=["undated", "one day", "one game", "no returning users", "one user", "all negative", "negative at first"],
)
def test_snapshot_with_too_little_data_is_refused(
    reviews: list[Review], not_recommended: Container[tuple[int | None, int]], sentence: str, tmp_path: Path
) -> None:
    snapshot = write_snapshot_of(tmp_path / "snapshot", reviews, n_games=30, not_recommended=not_recommended)
    with pytest.raises(UserError, match=sentence):
        train_model(snapshot.root, tmp_path / "model", str(tmp_path / "store"))
    assert not (tmp_path / "model").exists()


def test_nan_loss_stops_training(snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "ModelConfig", lambda: ModelConfig(learning_rate=math.nan))
    with pytest.raises(UserError, match="The training loss is nan at step 2"):
        train_model(snapshot, tmp_path / "model", str(tmp_path / "store"))


QUICK = replace(quick_config(4), dimensions=8, scale=4.0, trial_steps=4)
PAST = interactions(checkerboard())


@pytest.fixture
def measured_users(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The users of each ranking measured in tuning."""
    users: list[np.ndarray] = []
    measure = Validation.measure

    def watched(validation, scorer, weights, parts=()):
        users.append(validation.held_out.history.users)
        return measure(validation, scorer, weights, parts)

    monkeypatch.setattr(Validation, "measure", watched)
    return users


def fitted(config: ModelConfig) -> FittedModel:
    validation = by_time(PAST, int(np.quantile(PAST.days, 0.8)))
    trainer = Trainer(0, Workers(tf.distribute.get_strategy(), 0, 1))
    return tune_and_fit(PAST, validation, catalogue(), config, trainer, "v")[0]


def test_all_users_are_measured_if_they_are_few(measured_users: list[np.ndarray]) -> None:
    fitted(QUICK)
    assert len(measured_users) > 2
    assert all(len(users) > 60 for users in measured_users)


def test_same_sample_of_many_users_is_measured_every_time(measured_users: list[np.ndarray]) -> None:
    fitted(replace(QUICK, choice_users=600, choice_scores=1))
    assert {tuple(users) for users in measured_users} == {tuple(measured_users[0])}
    assert len(set(measured_users[0])) == 15
