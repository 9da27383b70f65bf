"""docs/operations.md: every command on the page runs, and it explains every alert and every reason to train."""

import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from components.monitor.decision import DEFAULT, FIRST_TRAINING, MonitoringInputs, decide
from components.monitor.drift import Drift
from components.monitor.quality import Quality
from components.notify.outcome import Outcome, decide_alert
from demo.postgres import EmbeddedPostgres
from demo.synthetic import Size, write_synthetic
from steam_recsys.database.connection import create_schema
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.retention import DEFAULT as RETENTION
from steam_recsys.stage import StageRecord
from steam_recsys.storage.model_store import champion
from tests.components.evaluate.test_promotion import promote_all
from tests.components.reverse_etl.predicted import marked, publish_version
from tests.databases import copy_database
from tests.pipelines.test_local import submit

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
QUERIES = [block for block in BLOCKS if block.startswith("SELECT")]
REPLAYS = [block for block in BLOCKS if "compile.py" in block]
COMMANDS = [block for block in BLOCKS if block not in (*QUERIES, *REPLAYS)]


def run(block: str, folder: Path, **environment: str) -> str:
    """Run commands of the page unchanged, with this Python and this checkout, and return their output."""
    commands = block.replace(".venv/bin/recsys", "python -m commands").replace(".venv/bin/python", "python")
    commands = commands.replace(" compile.py", f" '{ROOT / 'compile.py'}'")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{block}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_every_query_on_the_page_runs(connection: Connection) -> None:
    create_schema(connection, "recsys")
    assert len(QUERIES) == 2
    with connection.cursor() as cursor:
        for query in QUERIES:
            cursor.execute(query)
            assert cursor.fetchall() == []
            assert "?column?" not in [column.name for column in cursor.description]


def test_every_command_of_the_page_works_in_its_order(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    for number in (1, 2):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    promote_all(store, tmp_path / "models", "one", "two")
    shop.cursor().execute(
        "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, finished_at) "
        "VALUES ('r', 'inference', 'SUCCEEDED', now())"
    )
    (tmp_path / "temporary").mkdir()
    environment = {"STORE": store, "TMPDIR": str(tmp_path / "temporary")}
    printed = [run(block.replace("MODEL", champion(store).version), tmp_path, **environment) for block in COMMANDS]
    freshness, publications, champions, cleaned = printed
    assert freshness.startswith("The last inference run succeeded 0.0 hours ago.")
    assert publications.endswith("v1 is current.\n")
    assert champions.endswith("one is the champion.\n")
    assert cleaned == "Nothing has expired.\nNothing has expired.\n"


@pytest.mark.slow
def test_a_replayed_day_gives_the_same_version_despite_later_changes(
    database: str, postgres: EmbeddedPostgres, tmp_path: Path
) -> None:
    write_synthetic(tmp_path / "raw", Size(reviews=4_000, users=1_700, games=60), seed=1)
    for pipeline, parameters in (
        ("ingestion", {"raw": str(tmp_path / "raw")}),
        ("training", {"training_minutes": 1e-3}),
    ):
        assert submit(tmp_path, pipeline, **parameters).returncode == 0
    backup = _copied(postgres, os.environ["DATABASE_URL"])
    assert submit(tmp_path, "inference").returncode == 0
    published = _published(os.environ["DATABASE_URL"])
    with psycopg2.connect(os.environ["DATABASE_URL"]) as later, later.cursor() as cursor:
        cursor.execute("UPDATE steam.reviews SET recommended = NOT recommended, updated_at = now()")
    later.close()
    (block,) = REPLAYS
    listed = run(block, tmp_path, STORE=str(tmp_path / "local" / "store"), BACKUP_URL=backup)
    assert _published(backup) == published
    assert published[0][0] in listed
    assert _published(os.environ["DATABASE_URL"]) == published


def _copied(postgres: EmbeddedPostgres, url: str) -> str:
    """Copy a database that has no connections, and return the URL of the copy."""
    name = url.partition("?")[0].rpartition("/")[2]
    return copy_database(postgres, name, f"{name}_backup")


def _published(url: str) -> list[tuple]:
    """Return the current version of a database and all its recommendations."""
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT version, user_id, list, game_ids, taste, popularity, because "
            "FROM recsys.recommendations ORDER BY user_id, list"
        )
        found = cursor.fetchall()
    connection.close()
    assert found
    return found


def test_every_alert_is_explained() -> None:
    good, failed, monitored = Outcome("SUCCEEDED", None), Outcome("FAILED", "x"), {"retrain": True, "reasons": ["x"]}
    trained, promoted = StageRecord("monitor", "", facts=monitored), StageRecord("promote", "")
    alerts = [
        decide_alert("inference", "R", failed, [], None, ""),
        decide_alert("inference", "R", Outcome("CANCELLED", "x"), [], None, ""),
        decide_alert("inference", "R", good, [], "FAILED", ""),
        decide_alert("inference", "R", good, [trained], None, ""),
        decide_alert("inference", "R", good, [trained, promoted], None, ""),
    ]
    for alert in alerts:
        assert alert is not None
        assert f"| `{alert.title.replace('inference run R:', '…')}`" in PAGE
    sources = [(ROOT / name).read_text() for name in ("components/notify/outcome.py", "commands/freshness.py")]
    for title, source in zip(("but this could not be recorded", "Recommendations may be stale"), sources, strict=True):
        assert title in PAGE
        assert title in source


def test_every_reason_to_train_again_is_explained() -> None:
    nothing = Quality(0, *[Interval(0.0, 0.0, 0.0)] * 4, above_floor=None)
    drift = Drift(0, 0, 0, 0, 0, 0, 0, 0)
    rules = decide(MonitoringInputs(quality=nothing, drift=drift, age_days=0, catalogue_growth=0.0), DEFAULT).rules
    assert len(rules) == 9
    for about in (*FIRST_TRAINING.reasons, *(rule.about for rule in rules)):
        words = about.partition(",")[0].rstrip(".")
        index = words.partition(" of the ")
        if words.startswith("Population stability index"):
            assert f"| {index[0]}" in PAGE
            assert f"of the {index[2]}" in PAGE
        else:
            assert f"| {words} |" in PAGE


def test_every_limit_named_on_the_page_is_a_parameter_of_inference() -> None:
    inputs = (ROOT / "docs" / "targets.md").read_text()
    for name in re.findall(r"`([a-z]+_(?:ceiling|users|reviews|days))\b", PAGE):
        assert f"| `{name}` |" in inputs or name in asdict(RETENTION)


def test_every_setting_of_retention_is_on_the_page_with_its_default() -> None:
    listed = re.findall(r"^\| `(\w+_days)` \| (\d+) \|", PAGE, re.MULTILINE)
    assert listed == [(name, str(days)) for name, days in asdict(RETENTION).items()]
