import hashlib
import json
import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.evaluate.evaluation import evaluate_model
from components.predict.recommender import Recommender
from components.shared.code import code_version
from components.shared.errors import UserError
from components.shared.games import Games
from components.shared.histories import Histories
from components.shared.snapshot import Snapshot
from components.train import training
from components.train.model import Config
from components.train.training import TrainedModel, train_model
from tests.snapshots import Review, write_snapshot_of

USERS, GAMES = 120, 24
GENRES = {game: [["Even", "Odd"][game % 2], "Indie"] for game in range(1, GAMES + 1)}


def day(number: int) -> date:
    return date(2020, 1, 1) + timedelta(days=number)


def checkerboard() -> list[Review]:
    """Even users take up even games, odd users odd ones, in an order and at times of their own."""
    random = np.random.default_rng(0)
    reviews: list[Review] = []
    for user in range(1, USERS + 1):
        games = [game for game in range(1, GAMES + 1) if game % 2 == user % 2]
        taken = random.permutation(games)[:7]
        reviews += [(user, int(game), day(int(random.integers(0, 100)))) for game in taken]
    return reviews


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snapshot_of(tmp_path_factory.mktemp("snapshot"), checkerboard(), n_games=GAMES, genres=GENRES).root


@pytest.fixture(scope="module")
def trained(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedModel]:
    folder = tmp_path_factory.mktemp("models") / "model"
    return folder, train_model(snapshot, folder, str(folder.parent / "store"))


def histories(*games: list[int]) -> Histories:
    """Histories of game ids as positions in the vocabulary of all games."""
    return Histories.of_games(*([game - 1 for game in history] for history in games))


def all_games(model: Recommender, popularity: np.ndarray | None = None):
    return model.for_catalogue(catalogue(model.game_ids), np.ones(GAMES) if popularity is None else popularity)


def catalogue(ids: np.ndarray, genres: dict[int, list[str]] = GENRES) -> Games:
    return Games(ids, [{f"genre {name}": 0.5 for name in genres.get(game, [])} for game in ids.tolist()])


def test_users_of_a_checkerboard_are_recommended_the_games_of_their_colour(trained: tuple[Path, TrainedModel]) -> None:
    positions, _, because = all_games(Recommender.load(trained[0])).recommend(histories([2, 4, 6], [1, 3, 5]), k=9)
    assert set(positions[0] + 1) == {8, 10, 12, 14, 16, 18, 20, 22, 24}
    assert set(positions[1] + 1) == {7, 9, 11, 13, 15, 17, 19, 21, 23}
    assert set(because[0] + 1) <= {2, 4, 6}


def test_the_model_beats_popularity_on_the_checkerboard(
    snapshot: Path, trained: tuple[Path, TrainedModel], store: str
) -> None:
    evaluated = evaluate_model(snapshot, trained[0], store)
    figures = evaluated.figures
    assert figures["challenger"]["ndcg_at_10"].low > 1.5 * figures["popularity"]["ndcg_at_10"].high


def test_two_trainings_with_one_seed_make_the_same_arrays_bit_for_bit(
    snapshot: Path, trained: tuple[Path, TrainedModel], tmp_path: Path
) -> None:
    again = train_model(snapshot, tmp_path / "again", str(tmp_path / "store"))
    assert again == trained[1]
    for name, array in Recommender.load(trained[0]).arrays().items():
        assert np.array_equal(array, Recommender.load(tmp_path / "again").arrays()[name]), name


def test_an_empty_history_is_served_the_order_of_recent_popularity(trained: tuple[Path, TrainedModel]) -> None:
    model = tf.saved_model.load(str(trained[0] / "saved_model"))
    served = model.signatures["serving_default"](
        history=tf.zeros((1, 3), tf.int32), recommended=tf.ones((1, 3), tf.bool), hours=tf.zeros((1, 3))
    )
    by_popularity = np.argsort(-model.popularity_offset.numpy(), kind="stable") + 1
    assert served["game_ids"].numpy()[0].tolist() == by_popularity.tolist()


def test_a_new_game_is_placed_by_its_genres(trained: tuple[Path, TrainedModel]) -> None:
    model = Recommender.load(trained[0])
    game_ids = np.array([*model.game_ids, 900, 901], dtype=np.int32)
    genres = {**GENRES, 900: ["Even", "Indie"], 901: ["Odd", "Indie"]}
    scores = model.for_catalogue(catalogue(game_ids, genres), np.ones(GAMES + 2)).scores(
        histories([2, 4, 6], [1, 3, 5])
    )
    assert scores[0, GAMES] > scores[0, GAMES + 1]
    assert scores[1, GAMES] < scores[1, GAMES + 1]


def test_the_folder_says_what_the_model_was_made_from(snapshot: Path, trained: tuple[Path, TrainedModel]) -> None:
    folder, facts = trained
    described = json.loads((folder / "model.json").read_text())
    newest = max(reviewed_on for _, _, reviewed_on in checkerboard() if reviewed_on)
    assert facts.version.startswith(f"{newest:%Y%m%d}-")
    assert described["version"] == facts.version
    assert described["snapshot_id"] == Snapshot.open(snapshot).manifest.snapshot_id
    assert described["code_version"] == code_version()
    assert described["config"]["scale"] == facts.scale
    best = max(described["history"], key=lambda trial: trial["ndcg_at_10"])
    assert best["scale"] == facts.scale
    assert described["warm_start"] is None
    assert described["losses"][-1] < described["losses"][0]
    assert facts.ndcg_at_10 >= best["ndcg_at_10"] - 1e-6
    assert all(trial["losses"][-1] < trial["losses"][0] for trial in described["history"])
    assert json.loads((folder / "vocabulary.json").read_text()) == {
        "games": list(range(1, GAMES + 1)),
        "attributes": ["genre Even", "genre Indie", "genre Odd"],
    }
    links = Recommender.load(folder).links
    assert facts.parameters == 2 * Config().dimensions * (GAMES + 3) + GAMES + 1 + 2 * len(links.games)


def test_the_period_of_the_evaluation_does_not_reach_the_model(
    snapshot: Path, trained: tuple[Path, TrainedModel], tmp_path: Path
) -> None:
    cutoff = date.fromisoformat(json.loads((trained[0] / "model.json").read_text())["cutoff"])
    swapped = [(user, game if when < cutoff else game % GAMES + 1, when) for user, game, when in checkerboard() if when]
    other = write_snapshot_of(tmp_path / "snapshot", swapped, n_games=GAMES, genres=GENRES)
    train_model(other.root, tmp_path / "model", str(tmp_path / "store"))
    for name, array in Recommender.load(trained[0]).arrays().items():
        assert np.array_equal(array, Recommender.load(tmp_path / "model").arrays()[name]), name


def test_another_seed_makes_another_model_and_the_snapshot_stays_as_it_is(
    snapshot: Path, trained: tuple[Path, TrainedModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digests() -> list[str]:
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(snapshot.rglob("*")) if path.is_file()]

    monkeypatch.setattr(training, "Config", lambda: Config(min_steps=1))
    before = digests()
    assert train_model(snapshot, tmp_path / "model", str(tmp_path / "store"), seed=1).version != trained[1].version
    assert digests() == before


def test_a_shop_without_genres_can_be_learnt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "Config", lambda: Config(min_steps=1))
    snapshot = write_snapshot_of(tmp_path / "snapshot", checkerboard(), n_games=GAMES)
    assert train_model(snapshot.root, tmp_path / "model", str(tmp_path / "store")).games == GAMES


def test_a_game_that_everyone_has_is_recommended_to_nobody_who_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "Config", lambda: Config(min_steps=1))
    everyones = [(user, GAMES + 1, day(user % 60)) for user in range(1, USERS + 1)]
    genres = {**GENRES, GAMES + 1: ["Indie"]}
    snapshot = write_snapshot_of(tmp_path / "snapshot", checkerboard() + everyones, n_games=GAMES + 1, genres=genres)
    train_model(snapshot.root, tmp_path / "model", str(tmp_path / "store"))
    model = Recommender.load(tmp_path / "model")
    everything = model.for_catalogue(catalogue(model.game_ids, genres), np.ones(GAMES + 1))
    positions, scores, _ = everything.recommend(histories([GAMES + 1, 2], []), k=GAMES + 1)
    assert GAMES not in positions[0]
    assert positions[1, 0] >= 0
    assert np.isfinite(scores[1]).all()


def test_a_history_longer_than_any_that_was_learnt_from_has_a_defined_answer(
    trained: tuple[Path, TrainedModel],
) -> None:
    longest = list(range(1, GAMES)) * 50
    positions, scores, because = all_games(Recommender.load(trained[0])).recommend(histories(longest), k=3)
    assert positions[0].tolist() == [GAMES - 1, -1, -1]
    assert np.isfinite(scores[0, 0])
    assert because[0, 0] in range(GAMES - 1)


@pytest.mark.parametrize(
    ("reviews", "sentence"),
    [
        ([(1, 1, None), (None, 2, day(1))], "holds no dated review by a known user: ingest reviews"),
        ([(1, 1, day(0)), (2, 2, day(0))], "holds no review before 2020-01-01"),
        ([(user, 1, day(user)) for user in range(1, 30)], "holds reviews of one game only before"),
        ([(user, user, day(user)) for user in range(1, 30)], "No user of the snapshot .* ingest more reviews"),
    ],
)
def test_a_snapshot_that_cannot_be_learnt_from_is_refused_in_a_sentence(
    reviews: list[Review], sentence: str, tmp_path: Path
) -> None:
    snapshot = write_snapshot_of(tmp_path / "snapshot", reviews, n_games=30)
    with pytest.raises(UserError, match=sentence):
        train_model(snapshot.root, tmp_path / "model", str(tmp_path / "store"))
    assert not (tmp_path / "model").exists()


def test_a_loss_that_is_not_a_number_stops_the_training_at_its_step(
    snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "Config", lambda: Config(learning_rate=math.nan))
    with pytest.raises(UserError, match="The training loss is nan at step 2"):
        train_model(snapshot, tmp_path / "model", str(tmp_path / "store"))
