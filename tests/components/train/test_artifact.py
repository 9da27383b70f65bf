import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from components.train.artifact import FittedModel, ServingModel, write_model
from components.train.sequential_tower import SequenceConfig
from components.train.tensorflow_runtime import Workers, tf
from components.train.trainer import Trainer
from components.train.training import fit_model
from components.train.two_tower_model import ModelConfig
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import UNDATED, day_of
from steam_recsys.errors import UserError
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights, NextGames
from steam_recsys.model.online import CatalogueFacts, OnlineRecommender
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import Towers, TwoTowerArrays
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import ArtifactWriter
from steam_recsys.storage.model_store import EVALUATED, add_model, model_version
from tests.components.train.checkerboard import GAMES, catalogue, checkerboard, interactions
from tests.damage import files_below
from tests.steam_recsys.model.models import random_tower

SEQUENCE = SequenceConfig(weight=0.5, dimensions=8, length=5, epochs=1)
CONFIG = ModelConfig(dimensions=8, scale=4.0, regression_weight=1.0, sequence=SEQUENCE)
PAST = interactions(checkerboard())
AS_OF = int(PAST.days.max()) + 1
RELEASED = {game: date(2020, 1, game) for game in range(2, GAMES + 1)}
CATALOGUE = pa.table(
    {
        "game_id": pa.array(range(GAMES + 3, 1, -1), pa.int32()),  # without game 1, and with games of no reviews
        "released_on": pa.array([RELEASED.get(game) for game in range(GAMES + 3, 1, -1)], pa.date32()),
        "genres": [["Indie", "Odd" if game % 2 else "Even"] for game in range(GAMES + 3, 1, -1)],
    }
)
DESCRIPTION = {"version": "v", "config": asdict(CONFIG)}


class Died(Exception):
    """A simulated crash."""


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    trainer = Trainer(0, Workers(tf.distribute.get_strategy(), 0, 1))
    return fit_model(PAST, catalogue(), CONFIG, trainer, "final", "v", steps=2)


@pytest.fixture(scope="module")
def written(fitted: FittedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "model"
    write_model(folder, fitted, CATALOGUE, PAST, AS_OF, DESCRIPTION)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy, which a test may change."""
    return shutil.copytree(written, tmp_path / "model")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_folder_has_plain_arrays_and_a_saved_model(folder: Path, fitted: FittedModel) -> None:
    assert names(folder) == ["arrays.npz", "items.npz", "manifest.json", "model.json", "saved_model", "vocabulary.json"]
    assert json.loads((folder / "model.json").read_text()) == json.loads(json.dumps(DESCRIPTION))
    loaded = TwoTowerArrays.load(folder)
    assert len(loaded.item_item.games)
    assert (loaded.sequence is not None, loaded.sequence_scale) == (True, 3.0)
    for name, array in fitted.model.arrays().items():
        assert np.array_equal(loaded.arrays()[name], array), name
    assert np.array_equal(loaded.game_ids, np.arange(1, GAMES + 1))
    assert loaded.attribute_names == ("genre Even", "genre Indie", "genre Odd")
    assert set(tf.saved_model.load(str(folder / "saved_model")).signatures) == {"serving_default", "with_popularity"}


def test_folder_recommends_online_like_its_saved_model(folder: Path) -> None:
    served = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"](
        history=tf.constant([[2, 4]]), recommended=tf.constant([[True, False]]), hours=tf.constant([[3.0, np.nan]])
    )
    answer = OnlineRecommender.load(folder).recommend([2, 4], GAMES, recommended=[True, False], hours=[3.0, None])
    found = served["game_ids"].numpy()[0][: len(answer)].tolist()
    assert [game.game_id for game in answer] == found
    assert [game.score for game in answer] == pytest.approx(served["scores"].numpy()[0][: len(answer)], abs=1e-5)


def test_folder_has_the_facts_of_its_games(folder: Path) -> None:
    assert json.loads((folder / "vocabulary.json").read_text())["genres"] == ["even", "indie", "odd"]
    with np.load(folder / "items.npz") as items:
        facts = CatalogueFacts.from_arrays(items, ["even", "indie", "odd"])
    assert facts.released.tolist() == [UNDATED, *(day_of(RELEASED[game]) for game in range(2, GAMES + 1))]
    assert facts.genres["even"].tolist() == list(range(1, GAMES, 2))
    assert facts.genres["indie"].tolist() == list(range(1, GAMES))
    likes = np.bincount(PAST.games[PAST.recommended], minlength=GAMES + 1)[1:]
    assert facts.positive_reviews.tolist() == likes.tolist()
    online = OnlineRecommender.load(folder)
    odd = online.recommend([2], GAMES, popularity=0.5, include=["Odd"])
    assert {game.game_id for game in odd} == set(range(3, GAMES + 1, 2))


def test_folder_without_items_is_refused(folder: Path) -> None:
    (folder / "items.npz").unlink()
    with pytest.raises(UserError, match=r"holds no complete model \(items.npz is missing\): train it again"):
        OnlineRecommender.load(folder)


def test_previous_content_of_the_folder_is_replaced(folder: Path, fitted: FittedModel) -> None:
    (folder / "leftover").write_text("of an earlier model")
    write_model(folder, fitted, CATALOGUE, PAST, AS_OF, {**DESCRIPTION, "version": "w"})
    assert names(folder) == ["arrays.npz", "items.npz", "manifest.json", "model.json", "saved_model", "vocabulary.json"]
    assert model_version(folder) == "w"


def dies(*_: object, **__: object) -> None:
    raise Died


@pytest.mark.parametrize(
    ("where", "what"),
    [(np, "savez"), (ServingModel, "save"), (ArtifactWriter, "put"), (Path, "replace"), (shutil, "rmtree")],
    ids=["at the arrays", "at the SavedModel", "at the evaluated model", "at the manifest", "at the clearing"],
)
def test_partly_written_folder_is_not_a_model(
    where: object, what: str, folder: Path, fitted: FittedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overwriting a model, and with an evaluated model."""
    shutil.copytree(folder, tmp_path / "evaluated")
    monkeypatch.setattr(where, what, dies)
    with pytest.raises(Died):
        write_model(folder, fitted, CATALOGUE, PAST, AS_OF, DESCRIPTION, tmp_path / "evaluated")
    monkeypatch.undo()
    for read in (TwoTowerArrays.load, model_version):
        assert_no_model(read, folder)
    write_model(folder, fitted, CATALOGUE, PAST, AS_OF, DESCRIPTION, tmp_path / "evaluated")
    assert TwoTowerArrays.load(folder).version == "v"


def assert_no_model(read: Callable[[Path], object], folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds no complete model \(manifest.json is missing\): train it again"):
        read(folder)


def test_evaluated_model_is_copied_without_its_saved_model(folder: Path, fitted: FittedModel, tmp_path: Path) -> None:
    write_model(tmp_path / "refitted", fitted, CATALOGUE, PAST, AS_OF, DESCRIPTION, folder)
    assert names(tmp_path / "refitted" / EVALUATED) == ["arrays.npz", "manifest.json", "model.json", "vocabulary.json"]
    assert TwoTowerArrays.load(tmp_path / "refitted" / EVALUATED).version == "v"
    assert (folder / "saved_model").is_dir()


SERVED_GAMES, GENRES = 150, ("Action", "Puzzle", "Racing")
HISTORIES = 2_000
UNKNOWN = 999


@pytest.fixture(
    scope="module", params=[0, 4, 5], ids=["plain", "with item-item, history and popularity weights", "with sequence"]
)
def scorer(request: pytest.FixtureRequest) -> Scorer:
    random = np.random.default_rng(0)
    tables = [random.standard_normal((rows, 16)).astype(np.float32) for rows in (SERVED_GAMES, 3, SERVED_GAMES, 3)]
    weights = 0.1 * random.standard_normal((SERVED_GAMES, SERVED_GAMES)).astype(np.float32)  # as large as EASE's
    item_item = ItemItemWeights.from_matrix(weights, 10).scaled(request.param)
    next_games = NextGames(ItemItemWeights.from_matrix(weights.T, 10), 0.5) if request.param else None
    ids = np.arange(1, SERVED_GAMES + 1, dtype=np.int32)
    weights_of_history = HistoryWeights(disliked=-0.5, hours=0.2, recency=0.5) if request.param else HistoryWeights()
    model = TwoTowerArrays(
        "v", ids, GENRES, Towers(*tables), item_item, np.ones(1),
        popularity_weight=0.4 if request.param else 1.0, interests_weight=0.1, scale=4.0, popularity_smoothing=1.0,
        top_weight=1.5 if request.param else 0.0,
        history_weights=weights_of_history, next_games=next_games,
        sequence=random_tower(SERVED_GAMES) if request.param > 4 else None,
        sequence_scale=6.0 if request.param > 4 else 0.0,
    )  # fmt: skip
    games = Games(ids, [{GENRES[game % 3]: 1.0} for game in range(SERVED_GAMES)])
    return model.for_catalogue(games, random.integers(0, 1000, SERVED_GAMES).astype(np.float64)[None])


@pytest.fixture(scope="module")
def saved(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    ServingModel(np.arange(1, SERVED_GAMES + 1, dtype=np.int32), scorer).save(folder)
    return folder


def reviews(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts and hours."""
    hours = np.where(random.random(shape) < 0.2, np.nan, random.lognormal(2, 1, shape)).astype(np.float32)
    hours[random.random(shape) < 0.05] = -5.0  # impossible
    return random.random(shape) < 0.8, hours


def served(
    saved: Path, history: np.ndarray, recommended: np.ndarray, hours: np.ndarray, popularity_prior: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The games and scores of the SavedModel."""
    model = tf.saved_model.load(str(saved))
    found = model.signatures["with_popularity"](
        history=tf.constant(history),
        recommended=tf.constant(recommended),
        hours=tf.constant(hours),
        popularity_prior=tf.constant(popularity_prior),
    )
    return found["game_ids"].numpy(), found["scores"].numpy()


def assert_same_answers(game_ids: np.ndarray, scores: np.ndarray, ours: np.ndarray, our_scores: np.ndarray) -> None:
    """Compare the SavedModel's 100 best games with all of ours, int32 and float32 [B, SERVED_GAMES].

    Two games may be swapped if their scores differ by less than float32 rounding.
    """
    assert scores == pytest.approx(our_scores[:, :100], abs=1e-5)
    close = np.abs(np.diff(our_scores[:, :101], axis=1)) < 1e-5
    elsewhere = game_ids != ours[:, :100]
    assert (close | np.pad(close[:, :-1], ((0, 0), (1, 0))))[elsewhere].all()
    assert elsewhere.mean() < 1e-3


def test_scorer_equals_the_saved_model_on_thousands_of_histories(scorer: Scorer, saved: Path) -> None:
    random = np.random.default_rng(1)
    lengths = random.integers(0, 31, HISTORIES)
    games = [random.permutation(SERVED_GAMES)[:length] for length in lengths]
    padded = np.zeros((HISTORIES, 30), dtype=np.int32)
    for user, history in enumerate(games):
        padded[user, : len(history)] = history + 1
        padded[user, len(history) :] = random.choice(
            [0, -1, UNKNOWN]
        )  # padding, or a game that the model does not know
    recommended, hours = reviews(random, padded.shape)
    present = np.arange(30) < lengths[:, None]
    history = replace(Histories.from_games(*games), recommended=recommended[present], hours=hours[present])
    found = scorer.recommend(history, k=SERVED_GAMES)
    answers = served(saved, padded, recommended, hours, scorer.popularity_prior)
    assert_same_answers(*answers, np.where(found.positions >= 0, found.positions + 1, -1), found.scores)


def test_online_recommender_equals_the_saved_model(scorer: Scorer, saved: Path) -> None:
    random = np.random.default_rng(2)
    # With repeats, unknown games, and padding in between.
    histories = random.integers(-1, SERVED_GAMES + 10, (HISTORIES, 20)).astype(np.int32)
    histories[np.arange(20) >= random.integers(0, 21, (HISTORIES, 1))] = 0
    recommended, hours = reviews(random, histories.shape)
    online = OnlineRecommender(np.arange(1, SERVED_GAMES + 1, dtype=np.int32), scorer)
    ours = np.full((HISTORIES, SERVED_GAMES), -1, dtype=np.int32)
    scores = np.full((HISTORIES, SERVED_GAMES), -np.inf, dtype=np.float32)
    arguments = histories.tolist(), recommended.tolist(), hours.tolist()
    for user, (history, verdicts, played) in enumerate(zip(*arguments, strict=True)):
        answer = online.recommend(history, SERVED_GAMES, recommended=verdicts, hours=played)
        ours[user, : len(answer)] = [game.game_id for game in answer]
        scores[user, : len(answer)] = [game.score for game in answer]
    answers = served(saved, histories, recommended, hours, scorer.popularity_prior)
    assert_same_answers(*answers, ours, scores)


def test_default_signature_uses_the_popularity_at_training(scorer: Scorer, saved: Path) -> None:
    model = tf.saved_model.load(str(saved))
    served = model.signatures["serving_default"](
        history=tf.zeros((1, 3), tf.int32), recommended=tf.ones((1, 3), tf.bool), hours=tf.zeros((1, 3))
    )
    positions = scorer.recommend(Histories.from_games([]), k=100).positions
    assert np.array_equal(served["game_ids"].numpy(), positions + 1)


def flip(path: Path) -> bytes:
    """Flip a bit in the middle of a file, and return the content before."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 4]) + whole[len(whole) // 2 + 1 :])
    return whole


def test_no_damaged_file_of_a_model_is_added_to_a_store(
    folder: Path, fitted: FittedModel, tmp_path: Path, store: str
) -> None:
    refitted = tmp_path / "refitted"
    write_model(refitted, fitted, CATALOGUE, PAST, AS_OF, DESCRIPTION, folder)
    names = files_below(refitted)
    assert {"saved_model/saved_model.pb", "evaluated/arrays.npz", "manifest.json"} < set(names)
    for name in names:
        whole = flip(refitted / name)
        with pytest.raises(UserError, match=f"^{refitted / name} (is|has) .*: train it again.$"):
            add_model(store, refitted)
        (refitted / name).write_bytes(whole)
    add_model(store, refitted)


def test_every_damaged_file_of_a_stored_model_is_noticed_and_replaced(folder: Path, any_store: str) -> None:
    add_model(any_store, folder)
    stored = open_folder(f"{any_store}/models/v")
    whole = {name: stored.read(name) for name in stored.names("")}
    assert set(whole) == set(files_below(folder))
    for name, content in whole.items():
        stored.write(name, content[:-1] + bytes([content[-1] ^ 1]))
        add_model(any_store, folder)
        assert {name: stored.read(name) for name in stored.names("")} == whole


READ_BY = {"arrays.npz", "items.npz", "manifest.json", "model.json", "vocabulary.json"}


def test_no_answer_is_made_from_a_damaged_file(folder: Path) -> None:
    """Only the SavedModel is for others to read."""
    for name in files_below(folder):
        whole = flip(folder / name)
        if name in READ_BY:
            with pytest.raises(UserError, match=f"^{folder / name} (is|has) .*: train it again.$"):
                OnlineRecommender.load(folder)
        else:
            assert name.startswith("saved_model/")
        (folder / name).write_bytes(whole)
    OnlineRecommender.load(folder)


@pytest.mark.parametrize("name", ["arrays.npz", "model.json", "vocabulary.json"])
def test_no_damaged_file_becomes_the_evaluated_model(
    name: str, folder: Path, fitted: FittedModel, tmp_path: Path
) -> None:
    flip(folder / name)
    with pytest.raises(UserError, match=f"^{folder / name} is damaged"):
        write_model(tmp_path / "refitted", fitted, CATALOGUE, PAST, AS_OF, DESCRIPTION, folder)
