"""The recommender, compared with the scorer that the stages use."""

import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from psycopg2.extensions import connection as Connection

from components.extract.extraction import write_snapshot
from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import day_of, load_interactions
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.recommender import Recommender
from tests.components.predict.artifacts import promote_model, write_model
from tests.shop import add_game, add_review, add_user
from tests.snapshots import write_snapshot_of
from tests.steam_recsys.model.models import random_model

TITLES = {1: "Portal", 2: "Portal 2", 3: "Half-Life", 4: "half-life", 5: "Half-Life 2", 6: "Dota", 7: "Old Game"}
GAMES = 40
START = date(2024, 1, 1)


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    random = np.random.default_rng(0)
    reviews = [
        (int(user), int(game), START + timedelta(days=int(random.integers(100))))
        for user, game in {(int(random.integers(1, 60)), int(random.integers(1, GAMES + 1))) for _ in range(400)}
    ]
    about = {game: {"name": name} for game, name in TITLES.items()}
    about |= {game: {**about.get(game, {}), "released_on": date(2000 + game, 1, 1)} for game in range(1, 20)}
    about[7]["delisted_on"] = START
    return write_snapshot_of(
        tmp_path_factory.mktemp("snapshot"), reviews, n_games=GAMES, about=about,
        genres={game: ["Puzzle"] if game < 3 else ["Action"] for game in range(1, 30)},
        not_recommended=[(user, game) for user, game, _ in reviews if (user + game) % 4 == 0],
    )  # fmt: skip


@pytest.fixture(scope="module")
def model() -> TwoTowerArrays:
    arrays = random_model()
    weights = HistoryWeights(disliked=-0.5, hours=0.2, recency=0.5)
    ids, decays = np.arange(1, 1 + len(arrays.game_ids), dtype=np.int32), np.array([0.1, 0.2, 0.3])
    return replace(arrays, game_ids=ids, decay_weights=decays, history_weights=weights)


@pytest.fixture(scope="module")
def recommender(model: TwoTowerArrays, snapshot: Snapshot) -> Recommender:
    return Recommender(model, snapshot)


def test_a_user_gets_the_games_and_scores_of_the_scorer(
    recommender: Recommender, model: TwoTowerArrays, snapshot: Snapshot
) -> None:
    reviews = load_interactions(snapshot)
    games = Games.from_table(snapshot.table("games", GAME_COLUMNS))
    scorer = model.for_catalogue(games, popularity_as_of(reviews, games.ids, int(reviews.days.max()) + 1))
    scorer = scorer.with_available(games.ids != 7)
    histories = Histories.from_interactions(reviews, games.ids)
    expected = scorer.recommend(histories, 10)
    for row in range(0, len(histories), 7):
        found = recommender.recommend(int(histories.users[row]))
        assert found["game_id"].tolist() == games.ids[expected.positions[row]].tolist()
        assert found["taste"].tolist() == pytest.approx(expected.taste[row].tolist(), abs=1e-5)
        assert found["score"].is_monotonic_decreasing
        assert found.index.tolist() == list(range(1, 11))


def test_names_give_the_games_that_their_reviews_give(recommender: Recommender) -> None:
    found = recommender.recommend(["PORTAL", "Half-Life 2"], 40)
    assert not {"Portal", "Half-Life 2", "Old Game"} & set(found["game"])
    assert set(found["because"].dropna()) <= {"Portal", "Half-Life 2"}
    assert not found.equals(recommender.recommend({"Dota": False, "Portal": True, "Half-Life 2": True}, 40))
    again = recommender.recommend(["Half-Life 2", "Portal", "Half-Life 2"], 40)  # the last mention counts
    assert found.equals(again)


def test_filters_and_the_dial_are_those_of_the_online_recommender(recommender: Recommender) -> None:
    puzzles = recommender.recommend(["Dota"], include=["puzzle"])
    assert set(puzzles["game"]) == {"Portal", "Portal 2"}
    recent = recommender.recommend(["Dota"], 40, released=(date(2010, 1, 1), None), exclude=["Puzzle"])
    assert set(recent["game_id"]) == set(range(10, GAMES + 1))
    assert recommender.recommend(["Dota"], popularity=0)["popularity"].abs().max() == 0


def test_an_empty_history_gets_the_popular_games(recommender: Recommender) -> None:
    found = recommender.recommend([])
    assert found["popularity"].is_monotonic_decreasing
    assert found["because"].isna().all()


def test_similar_games_are_the_nearest_available_ones(recommender: Recommender, model: TwoTowerArrays) -> None:
    found = recommender.similar("portal", 5)
    assert len(found) == 5
    assert not {"Portal", "Old Game"} & set(found["game"])
    assert found["similarity"].is_monotonic_decreasing
    assert found["similarity"].between(-1, 1).all()
    assert len(recommender.similar("portal", 1_000)) == GAMES - 2


def test_the_contributions_to_a_recommendation_add_up_to_its_taste(recommender: Recommender) -> None:
    histories = [["Portal", "Dota"], {"Portal": True, "Half-Life 2": False}, {"Dota": False}, 5, 20]
    for history in histories:
        for row in recommender.recommend(history, 5).itertuples():
            explained = recommender.explain(row.game, history)
            assert explained["contribution"].sum() == pytest.approx(row.taste, abs=1e-4)
            assert explained["contribution"].is_monotonic_decreasing
    explained = recommender.explain("Half-Life", {"Portal": True, "Half-Life 2": False}).set_index("game")
    assert explained["recommended"].to_dict() == {"Portal": True, "Half-Life 2": False}
    assert explained["weight"]["Half-Life 2"] < 0


def test_a_user_has_the_history_of_the_snapshot(recommender: Recommender, snapshot: Snapshot) -> None:
    history, reviews = recommender.history(5), load_interactions(snapshot)
    rows = reviews.users == 5
    assert history["game_id"].tolist() == reviews.games[rows].tolist()
    assert history["game"].tolist() == [TITLES.get(game, f"Game {game}") for game in history["game_id"]]
    assert [day_of(when.date()) for when in history["reviewed_on"]] == reviews.days[rows].tolist()
    with pytest.raises(UserError, match=r"The user 999 has no review: give an id from frames\.interactions\."):
        recommender.history(999)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("Portl 2", r"There is no game Portl 2: did you mean Portal 2, Portal\?"),
        ("life", r"There is no game life: did you mean Half-Life, Half-Life 2\?"),
        ("HALF-LIFE", r"Several games are called HALF-LIFE: write Half-Life, half-life exactly\."),
        ("%%%%%", r"There is no game %%%%%: frames\.games lists all names\."),
    ],
)
def test_an_unknown_or_ambiguous_name_is_answered_with_close_ones(
    recommender: Recommender, name: str, sentence: str
) -> None:
    with pytest.raises(UserError, match=f"^{sentence}$"):
        recommender.recommend([name])


def test_a_single_name_is_not_read_as_a_list_of_letters(recommender: Recommender) -> None:
    with pytest.raises(UserError, match=r"A history is a list of games: write \['Portal'\]\."):
        recommender.recommend("Portal")


def test_a_champion_or_a_version_is_loaded_with_the_newest_snapshot(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    games = [add_game(shop, name) for name in ("Portal", "Portal 2", "Dota")]
    add_review(shop, add_user(shop, "ann"), games[0])
    write_snapshot(database, tmp_path / "snapshot", store)
    with pytest.raises(UserError, match="has no champion: run the training pipeline first"):
        Recommender.from_store(store)
    promote_model(store, write_model(tmp_path / "model", [[1, 0], [1, 0.1], [0, 1]]))
    for recommender in (Recommender.from_store(store), Recommender.from_store(store, "model-1")):
        assert recommender.recommend(["Portal"], 1)["game"].tolist() == ["Portal 2"]


def test_it_needs_no_tensorflow() -> None:
    check = "import sys, steam_recsys.recommender; sys.exit('tensorflow' in sys.modules or 'kfp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
