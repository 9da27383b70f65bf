"""Inference is killed at random moments, whatever stage it is in, and ends in the state of undisturbed runs."""

import json
import os
import secrets
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from demo.postgres import EmbeddedPostgres
from steam_recsys.retention import Retention, clean_store
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import complete_artifact
from tests.components.predict.artifacts import promote_model, write_model
from tests.components.reverse_etl.test_publication import kept, tables, tables_of
from tests.databases import copy_database
from tests.pipelines.inference_runs import Shop, pipeline_parameters, start_inference
from tests.shop import add_game

KILLS = 50
USERS, GAMES, REVIEWS = 300, 12, 2_000
DAY = date(2024, 6, 1)
TASKS = ("extract", "validate", "monitor", "plan", "predict", "predict", "predict", "reverse_etl", "notify", "notify")
"""The stage that is under way after each number of records in the journal; the last record is that of the end."""


@pytest.fixture
def killed(shop: Connection, tmp_path: Path) -> Shop:
    """A shop with users, games, reviews and a champion."""
    with shop.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.users (username) SELECT 'user ' || n FROM generate_series(1, %s) AS n", [USERS]
        )
        for number in range(GAMES):
            add_game(shop, f"Game {number}", genres=[("Action", "Puzzle", "Racing")[number % 3]])
        cursor.execute(
            "INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on) "
            "SELECT 1 + abs(hashint4(n)::bigint) %% %s, 1 + abs(hashint4(-n)::bigint) %% %s, n %% 5 > 0, "
            "%s::date - n %% 200 FROM generate_series(1, %s) AS n",
            [USERS, GAMES, DAY, REVIEWS],
        )
    vectors = np.random.default_rng(0).standard_normal((GAMES, 8)).tolist()
    model = write_model(tmp_path / "model", vectors)
    described = json.loads((model / "model.json").read_text())
    trained = {**described, "trained_until": DAY.isoformat(), "catalogue_games": GAMES}
    (model / "model.json").write_text(json.dumps(trained))
    complete_artifact(model)
    promote_model(str(tmp_path / "store"), model)
    return Shop(os.environ["DATABASE_URL"], tmp_path / "store", tmp_path / "artifacts")


def write_a_review(connection: Connection, number: int) -> None:
    """Let another user review a game: the next run has something new to publish."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on) VALUES (%s, %s, true, %s)",
            [1 + number % USERS, 1 + number % GAMES, DAY],
        )


def published(url: str) -> dict[str, list[tuple[object, ...]]]:
    """Return everything that readers get."""
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        found = {}
        for view, key in (("recommendations", "user_id, list"), ("popular_games", "list, genre, rank")):
            cursor.execute(f"SELECT * FROM recsys.{view} ORDER BY {key}")
            found[view] = cursor.fetchall()
        cursor.execute("SELECT version, model_version, users, rows FROM recsys.publications WHERE current")
        found["current"] = cursor.fetchall()
    connection.close()
    return found


def open_transactions(connection: Connection) -> int:
    """Return how many other clients of the database are in a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*)::int FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL"
        )
        ((number,),) = cursor.fetchall()
    return int(number)


@pytest.mark.slow
def test_killed_at_fifty_moments_inference_ends_in_the_state_of_an_undisturbed_run(
    killed: Shop, shop: Connection, postgres: EmbeddedPostgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    parameters = pipeline_parameters(users_per_shard=100)
    for number in (1, 2):  # the second shows how long a run takes, as the first one starts the fork server
        write_a_review(shop, number)
        started = time.perf_counter()
        process = start_inference(killed, f"usual-{number}", parameters)
        process.join()
        usual = time.perf_counter() - started
        assert process.exitcode == 0
    kills = runs = 0
    moments = Counter[str]()
    while kills < KILLS:
        runs += 1
        write_a_review(shop, 2 + runs)
        process = start_inference(killed, f"killed-{runs}", parameters)
        process.join(timeout=random.random() * usual)
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode:
            kills += 1
            recorded = len(list((killed.store / "runs").glob(f"killed-{runs}/[!.]*.json")))
            moments[TASKS[recorded]] += 1
        if kills % 10 == 0:  # sometimes a run comes through; most often the next one is killed too
            process = start_inference(killed, f"through-{runs}", parameters)
            process.join()
            assert process.exitcode == 0
    process = start_inference(killed, "last", parameters)
    process.join()
    assert process.exitcode == 0

    # The same shop as it is now, with a store that has the champion only.
    name = f"undisturbed_{secrets.token_hex(6)}"
    undisturbed = Shop(postgres.url(name), tmp_path / "undisturbed" / "store", tmp_path / "undisturbed" / "artifacts")
    with shop.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        ((own,),) = cursor.fetchall()
    shop.close()
    copy_database(postgres, own, name)
    with psycopg2.connect(undisturbed.url) as connection, connection.cursor() as cursor:
        cursor.execute("DROP SCHEMA recsys CASCADE")
    connection.close()
    shutil.copytree(killed.store / "models", undisturbed.store / "models")
    process = start_inference(undisturbed, "once", parameters)
    process.join()
    assert process.exitcode == 0
    assert published(killed.url) == published(undisturbed.url)
    with capsys.disabled():
        stages = ", ".join(f"{moments[task]} in {task}" for task in dict.fromkeys(TASKS))
        print(f"\n{kills} runs killed within {usual:.2f} s of their start ({stages}), {runs - kills} ended before")

    # Nothing is left of the killed runs but what retention removes.
    connection = psycopg2.connect(killed.url)
    connection.autocommit = True
    assert tables(connection) == tables_of(*(each.version for each in kept("env:DATABASE_URL")))
    assert open_transactions(connection) == 0
    connection.close()
    long_ago = datetime.now(UTC) - timedelta(days=100)
    for path in killed.store.rglob("*"):
        os.utime(path, (long_ago.timestamp(), long_ago.timestamp()))
    clean_store(str(killed.store), "env:DATABASE_URL", Retention())
    assert open_folder(killed.store).names("predictions") == []
    assert open_folder(killed.store).names("runs") == []
    assert open_folder(killed.store).names("models") == open_folder(undisturbed.store).names("models")
    again = replace(killed, artifacts=tmp_path / "again")
    process = start_inference(again, "again", parameters)  # removes old parts of snapshots, and publishes nothing new
    process.join()
    assert process.exitcode == 0
    parts = [name for name in open_folder(killed.store).names("snapshots/parts") if "/." not in name]
    assert set(open_folder(undisturbed.store).names("snapshots/parts")) <= set(parts)
    assert published(killed.url) == published(undisturbed.url)
