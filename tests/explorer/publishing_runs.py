"""A shop with random reviews, a random model, and a run that publishes its recommendations."""

import json
import random
from datetime import date, timedelta
from pathlib import Path

import numpy as np
from psycopg2.extensions import connection as Connection

from components.extract.extraction import write_snapshot
from components.predict.plan import plan_predictions
from components.predict.prediction import predict_shard
from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import publish
from steam_recsys.data.popularity import DECAYS
from steam_recsys.data.predictions import Plan, predictions_uri
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.publications.destinations import DestinationConfig
from steam_recsys.publications.versions import VersionInfo
from steam_recsys.storage.manifest import complete_artifact
from steam_recsys.storage.model_store import add_model, champion, current_champion, move_champion
from tests.shop import add_game, add_ranking, add_review, add_user
from tests.steam_recsys.model.models import random_tower

GENRES = ("Action", "Indie", "RPG", "Strategy")
GAMES, USERS, DIMENSIONS = 80, 30, 8
FIRST_DAY = date(2023, 1, 1)


def fill_shop(shop: Connection, seed: int = 0) -> None:
    """Add games 1 to `GAMES` and users 1 to `USERS`; the last three users have no reviews."""
    chance = random.Random(seed)
    for number in range(1, GAMES + 1):
        add_game(
            shop,
            f"Game {number}",
            genres=chance.sample(GENRES, chance.randint(0, 2)),
            released_on=FIRST_DAY + timedelta(chance.randint(-2000, 700)) if chance.random() < 0.9 else None,
            delisted_on=FIRST_DAY + timedelta(chance.randint(0, 700)) if chance.random() < 0.1 else None,
            ram_gb=chance.choice([None, 1, 2, 4, 8, 16]),
            storage_gb=chance.choice([None, 1, 10, 60]),
            os=chance.choice([None, "Windows 10", "Linux", "Mac OS X, Windows 7", "64-bit"]),
        )
        if chance.random() < 0.5:
            for rank_type in ("Sales", "Revenue", "Review"):
                genre = chance.choice(["Action", "Role-Playing"])
                add_ranking(shop, number, genre, rank_type, number)
    for number in range(1, USERS + 1):
        add_user(shop, f"user {number}")
    for user in [*range(1, USERS - 2), None]:
        for _ in range(chance.randint(1, 15)):
            day = FIRST_DAY + timedelta(chance.randint(0, 500)) if chance.random() < 0.9 else None
            add_review(
                shop,
                user,
                chance.randint(1, GAMES),
                recommended=chance.random() < 0.8,
                reviewed_on=day,
                hours_played=chance.choice([None, 0.5, 80.0]),
            )
    # From the 19th century: without a bound, the weight of such a review is an underflow in PostgreSQL's exp().
    add_review(shop, 1, 1, reviewed_on=date(1890, 1, 1))


def write_random_model(root: Path, version: str, seed: int) -> Path:
    """Write a random model that knows all games except the last five, and return its folder."""
    numbers = np.random.default_rng(seed)
    known = GAMES - 5
    names = [f"genre {name}" for name in GENRES]
    together, following = (
        ItemItemWeights.from_matrix(numbers.standard_normal((known, known)).astype(np.float32), 5) for _ in range(2)
    )
    arrays = {
        "history_games": numbers.standard_normal((known, DIMENSIONS)),
        "candidate_games": numbers.standard_normal((known, DIMENSIONS)),
        "history_attributes": numbers.standard_normal((len(names), DIMENSIONS)),
        "candidate_attributes": numbers.standard_normal((len(names), DIMENSIONS)),
    }
    root.mkdir(parents=True)
    np.savez(
        root / "arrays.npz",
        **{name: array.astype(np.float32) for name, array in arrays.items()},
        **{f"item_item_{name}": array for name, array in vars(together).items()},
        **{f"next_{name}": array for name, array in vars(following).items()},
        **{f"sequence_{name}": array for name, array in random_tower(known).arrays().items()},
        decay_weights=np.linspace(0.2, 0.6, len(DECAYS)),
    )
    (root / "vocabulary.json").write_text(json.dumps({"games": list(range(1, known + 1)), "attributes": names}))
    weights = vars(HistoryWeights(disliked=-0.5, hours=0.2, recency=0.3))
    priors = {"popularity_weight": 0.8, "interests_weight": 0.2, "top_weight": 1.5}
    config = {
        "scale": 4.0,
        "popularity_smoothing": 1.0,
        "history_weights": weights,
        "next_weight": 1.0,
        "next_recency": 1.0,
        "sequence": {"weight": 0.5, "scale": 6.0},
        **priors,
    }
    (root / "model.json").write_text(json.dumps({"version": version, "config": config}))
    complete_artifact(root)
    return root


def promote_random_model(store: str, root: Path, version: str = "model-1", seed: int = 0) -> None:
    """Add a random model to a store and make it the champion."""
    add_model(store, write_random_model(root, version, seed))
    before = current_champion(store)
    move_champion(store, version, expected=before.version if before else None)


def run_inference(database: str, store: str, folder: Path) -> Plan:
    """Extract, plan, predict and publish with the store's champion."""
    write_snapshot(database, folder / f"snapshot-{champion(store).version}", store)
    plan = plan_predictions(folder / f"snapshot-{champion(store).version}", store, 10)
    for shard in range(len(plan.shards)):
        predict_shard(store, plan, shard)
    made = VersionInfo(
        plan.version, plan.model_version, plan.snapshot_id, date.fromisoformat(plan.as_of), plan.control_share
    )
    publish(
        DestinationConfig(database),
        predictions_uri(store, plan.version),
        made,
        plan.shards,
        Thresholds(churn_ceiling=1.0),
    )
    return plan
