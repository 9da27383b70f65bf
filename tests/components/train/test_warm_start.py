import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.train import training
from components.train.refit import refit_model
from components.train.tensorflow_runtime import Workers, tf
from components.train.trainer import TowerFit, Trainer
from components.train.training import _find_warm_start, train_model, warm_towers
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.model.two_tower import Towers, TwoTowerArrays
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.model_store import EVALUATED, add_model, move_champion
from tests.components.train.checkerboard import (
    GAMES,
    GENRES,
    catalogue,
    checkerboard,
    day,
    interactions,
    model_of,
    quick_config,
    training_data,
)
from tests.snapshots import write_snapshot_of

CONFIG = ModelConfig(dimensions=8, scale=4.0, learning_rate=0.05)
ALONE = Workers(tf.distribute.get_strategy(), 0, 1)


@pytest.fixture(scope="module")
def champion() -> TwoTowerArrays:
    """A model of the games from 5 on, so its rows differ from those of all games."""
    data = TrainingData.from_interactions(
        interactions([row for row in checkerboard() if row[1] > 4]), catalogue(), CONFIG, 0
    )
    return model_of(data, Trainer(0, ALONE).fit("final", data, CONFIG, 60).towers, CONFIG)


def test_known_rows_come_from_the_champion_and_new_rows_are_random(champion: TwoTowerArrays) -> None:
    genres = {game: [*names, "Puzzle"] for game, names in GENRES.items()}
    data = TrainingData.from_interactions(interactions(checkerboard()), catalogue(genres=genres), CONFIG, 0)
    assert data.attribute_names == ("genre Even", "genre Indie", "genre Odd", "genre Puzzle")
    towers = warm_towers(data, CONFIG, champion, seed=1)
    assert towers
    for kind in ("history", "candidate"):
        games, known_games = vars(towers)[f"{kind}_games"], vars(champion.towers)[f"{kind}_games"]
        assert np.array_equal(games[4:], known_games)
        assert (np.abs(games[:4]).sum(axis=1) > 0).all()
        attributes = vars(towers)[f"{kind}_attributes"]
        assert np.array_equal(attributes[:3], vars(champion.towers)[f"{kind}_attributes"])
        assert attributes[3].any()
    assert all(table.dtype == np.float32 for table in vars(towers).values())
    again = warm_towers(data, CONFIG, champion, seed=1)
    assert again
    assert all(
        np.array_equal(table, other) for table, other in zip(vars(towers).values(), vars(again).values(), strict=True)
    )


def test_log_lists_new_games(champion: TwoTowerArrays, capsys: pytest.CaptureFixture[str]) -> None:
    warm_towers(training_data(CONFIG), CONFIG, champion, seed=0)
    assert (
        "[train] warm start from v; new are 4 of 24 games (1, 2, 3, 4) and 0 of 3 attributes" in capsys.readouterr().out
    )
    strangers = replace(champion, game_ids=champion.game_ids + 1_000)
    warm_towers(training_data(CONFIG), CONFIG, strangers, seed=0)
    assert "new are 24 of 24 games (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …)" in capsys.readouterr().out
    known = TrainingData.from_interactions(
        interactions([row for row in checkerboard() if row[1] > 4]), catalogue(), CONFIG, 0
    )
    warm_towers(known, CONFIG, champion, seed=0)
    assert "new are 0 of 20 games and 0 of 3 attributes" in capsys.readouterr().out


def test_champion_of_another_width_gives_a_cold_start(
    champion: TwoTowerArrays, capsys: pytest.CaptureFixture[str]
) -> None:
    wider = replace(CONFIG, dimensions=16)
    assert warm_towers(training_data(wider), wider, champion, seed=0) is None
    assert "[train] cold start: the vectors of v have another width" in capsys.readouterr().out


def test_warm_start_learns_faster_than_a_cold_start(champion: TwoTowerArrays) -> None:
    data = training_data(CONFIG)
    trainer = Trainer(0, ALONE)
    cold = trainer.fit("final", data, CONFIG, 8)
    warm = trainer.fit("final", data, CONFIG, 8, warm_towers(data, CONFIG, champion, 0))
    assert max(warm.losses) < min(cold.losses)


# From here on: the whole stage, with a champion in the store.

STEPS = 16
EARLIER = [row for row in checkerboard() if row[2] and row[2] < day(60)]
LATER_GAME = GAMES + 1
LATER = [*checkerboard(), *((user, LATER_GAME, day(70 + user)) for user in range(1, 12))]


@pytest.fixture(scope="module", autouse=True)
def few_steps() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ModelConfig", lambda: quick_config(STEPS))
        yield


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An earlier snapshot, and a later one with a new game."""
    root = tmp_path_factory.mktemp("snapshots")
    earlier = write_snapshot_of(root / "earlier", EARLIER, n_games=GAMES, genres=GENRES)
    return earlier.root, write_snapshot_of(root / "later", LATER, n_games=LATER_GAME, genres=GENRES).root


@pytest.fixture(scope="module")
def refitted(snapshots: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A refitted model of the earlier snapshot."""
    root = tmp_path_factory.mktemp("champion")
    store = str(root / "store")
    train_model(snapshots[0], root / "model", store)
    refit_model(snapshots[0], root / "model", root / "refitted", store)
    return root / "refitted"


def make_champion(store: str, model: Path, before: str | None = None) -> str:
    version = TwoTowerArrays.load(model).version
    add_model(store, model)
    move_champion(store, version, expected=before)
    return version


def starts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Towers | None]:
    """Record the initial towers of each later fit, by its name."""
    found: dict[str, Towers | None] = {}
    fit = Trainer.fit

    def noted(
        self: Trainer, name: str, data: TrainingData, config: ModelConfig, steps: int, start: Towers | None = None,
        check: Callable[[Towers], float] | None = None,
    ) -> TowerFit:  # fmt: skip
        found[name] = start
        return fit(self, name, data, config, steps, start, check)

    monkeypatch.setattr(Trainer, "fit", noted)
    return found


def description(model: Path) -> dict[str, Any]:
    return json.loads((model / "model.json").read_text())


def test_final_fit_starts_from_the_evaluated_champion_and_tuning_from_random_weights(
    snapshots: tuple[Path, Path],
    refitted: Path,
    store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = make_champion(store, refitted)
    found = starts(monkeypatch)
    train_model(snapshots[1], tmp_path / "model", store)
    assert description(tmp_path / "model")["warm_start"] == version
    assert description(tmp_path / "model")["new_rows"] == {"games": [LATER_GAME], "attributes": []}
    assert f"warm start from {version}; new are 1 of 25 games (25)" in capsys.readouterr().out
    searched = [start for name, start in found.items() if name != "final"]
    assert len(searched) >= 2
    assert searched == [None] * len(searched)
    assert found["final"]
    evaluated = TwoTowerArrays.load(refitted / EVALUATED).towers
    assert np.array_equal(found["final"].history_games[:GAMES], evaluated.history_games)
    assert not np.array_equal(evaluated.history_games, TwoTowerArrays.load(refitted).towers.history_games)


@pytest.mark.slow
def test_champion_trained_on_the_held_out_reviews_gives_a_cold_start(
    snapshots: tuple[Path, Path], refitted: Path, store: str, tmp_path: Path
) -> None:
    """The champion of the later snapshot, then training on the earlier one."""
    later = tmp_path / "later"
    train_model(snapshots[1], later, store)
    make_champion(store, later)
    trained = train_model(snapshots[0], tmp_path / "model", store)
    assert description(tmp_path / "model")["warm_start"] is None
    assert description(tmp_path / "model")["new_rows"] is None
    assert trained.version == TwoTowerArrays.load(refitted).version  # the version without a champion


@pytest.mark.slow
def test_repeated_training_starts_from_the_same_champion(
    snapshots: tuple[Path, Path], refitted: Path, store: str, tmp_path: Path
) -> None:
    first = make_champion(store, refitted)
    second = train_model(snapshots[1], tmp_path / "model", store)
    make_champion(store, tmp_path / "model", before=first)
    assert train_model(snapshots[1], tmp_path / "again", store) == second
    assert description(tmp_path / "again")["warm_start"] == first
    for name, array in TwoTowerArrays.load(tmp_path / "model").arrays().items():
        assert np.array_equal(TwoTowerArrays.load(tmp_path / "again").arrays()[name], array), name


@pytest.mark.parametrize("damage", ["evaluated/arrays.npz", "evaluated/model.json", "manifest.json", "model.json"])
def test_a_champion_that_cannot_be_read_gives_a_cold_start(
    damage: str,
    snapshots: tuple[Path, Path],
    refitted: Path,
    store: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    version = make_champion(store, refitted)
    path = Path(store) / "models" / version / damage
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert _find_warm_start(store, "another", 10**6) is None
    assert f"[train] cold start: {Path(store) / 'models' / version}" in capsys.readouterr().out


def test_a_champion_that_was_removed_gives_a_cold_start(
    refitted: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    version = make_champion(store, refitted)
    open_folder(store).remove(f"models/{version}")
    assert _find_warm_start(store, "another", 10**6) is None
    assert f"[train] cold start: The model store {store} has no model {version}" in capsys.readouterr().out
