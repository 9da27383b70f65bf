"""Run the demo: data, database, two nights of pipelines, results."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import closing
from datetime import date
from pathlib import Path

import psycopg2
from rich.console import Console

from components.ingest.ingestion import check_raw
from demo.nights import WEEKS, FirstNight, OneNightError, find_first_night, write_first_night
from demo.recommendations import show_typical_users
from demo.steps import Steps
from demo.summary import gate_outcome, show_metrics, write_summary
from demo.synthetic import write_synthetic
from demo.workspace import Workspace
from pipelines.check import SECRETS, check_parameters, parameters_for
from pipelines.compilation import build_pipeline, compile_pipelines, read_parameters
from pipelines.local import run_locally
from pipelines.target import Target
from steam_recsys.errors import UserError
from steam_recsys.storage.model_store import current_champion

IGNORED = (*SECRETS, "publish_to", "raw", "registry", "store")
"""Parameters that the demo does not take from the environment: they would lead it to another shop's data."""


def inference_parameters(data: Path | None) -> dict[str, int]:
    """Return the demo's inference parameters: synthetic users are few, so smaller shards give several of them."""
    return {} if data else {"users_per_shard": 10_000}


UNKNOWN_CEILING = 0.25
"""Monitoring's parameter `unknown_ceiling` in the second night."""


def second_night_parameters(first: FirstNight) -> dict[str, float]:
    """Return monitoring's parameters in the second night, unless the environment sets them.

    It comes weeks after the first, and training again would take as long as the first night.
    """
    return {"age_ceiling": first.lacking_days, "unknown_ceiling": UNKNOWN_CEILING}


def run_pipeline(
    workspace: Workspace,
    target: Target,
    name: str,
    parameters: Mapping[str, object],
    number: str = "1/1",
    *,
    containers: bool = False,
) -> None:
    """Run a compiled pipeline with these parameters, and with the target's own for the others; print its steps.

    Raises:
        UserError: A stage failed, or one of the target's parameters has the wrong type.
    """
    own = {key: value for key, value in parameters_for(target, name).items() if key not in IGNORED}
    given = [f"{key}={value}" for key, value in {**own, **parameters}.items()]
    values = read_parameters(build_pipeline(target, name), given)
    pipeline = workspace.build / target.name / f"{name}.yaml"
    with Steps(Console(file=sys.stdout), name, number) as steps:
        run_locally(
            pipeline, values, workspace.root, containers=containers, retention=target.retention, show=steps.show
        )


def run_demo(workspace: Workspace, data: Path | None, nights: int = 2) -> None:
    """Run the whole loop and print its results.

    In two nights, the first has the reviews up to `WEEKS` before the newest, and the second all of them.

    Args:
        workspace: Folder of the demo.
        data: Folder in the raw layout, file with reviews, or archive; None generates synthetic reviews.
        nights: 1 or 2. A database that has the newest reviews already gets one night.

    Raises:
        UserError: A stage failed, the first model did not pass the gate, or the data or the database is invalid.
    """
    target = Target.load("local")
    check_parameters(target)

    # 1. Find or generate the raw files.
    raw = data or workspace.root / "synthetic"
    if data is None:
        print("SYNTHETIC DATA: generated users, games and reviews; use DATA=folder for real ones", flush=True)
        write_synthetic(raw)
    own = parameters_for(target, "ingestion")
    columns = str(own.get("columns", "")) if data else ""
    check_raw(str(raw), columns)

    # 2. Start the database.
    url = workspace.database_url(data)
    store = workspace.store(url)
    if not workspace.postgres.owns(url) and (before := workspace.record_load(url, raw)):
        print(f"The database in DATABASE_URL was last loaded from {before}: {raw} is added to it.", flush=True)
    os.environ["DATABASE_URL"] = url  # the stages resolve env:DATABASE_URL

    # 3. Hold the newest reviews back.
    first = None
    if nights > 1:
        try:
            first = _first_night(url, str(raw), columns, int(own.get("year", 0)))
            write_first_night(first, str(raw), workspace.first_night, columns)
        except OneNightError as reason:
            print(f"One night: {reason}.")

    # 4. Compile and run the pipelines.
    compile_pipelines(target, workspace.build / target.name)
    predicted = inference_parameters(data)
    ingested: dict[str, object] = {"raw": raw.resolve(), "columns": columns}
    runs: list[tuple[str, Mapping[str, object]]] = [
        ("ingestion", ingested),
        ("training", {}),
        ("inference", predicted),
    ]
    if first:
        ingested["year"] = first.year
        runs[0] = ("ingestion", {**ingested, "raw": workspace.first_night.resolve()})
        given = parameters_for(target, "inference")
        second = {key: value for key, value in second_night_parameters(first).items() if key not in given}
        runs += [("ingestion", ingested), ("inference", {**predicted, **second})]
    for number, (name, parameters) in enumerate(runs, start=1):
        if first and name == "ingestion":
            print(_night(first, number), flush=True)
        run_pipeline(workspace, target, name, {"store": store, **parameters}, f"{number}/{len(runs)}")
        if first and number == 1:
            shutil.rmtree(workspace.first_night)
        if name == "training" and current_champion(str(store)) is None:
            raise UserError(_gate_failure(workspace, url))
    workspace.record_success(url)

    # 5. Show the results.
    summary = write_summary(workspace.summary, url, str(store), raw)
    title = "SYNTHETIC DATA" if data is None else str(data)
    show_metrics(summary, title)
    show_typical_users(url)


def _first_night(url: str, raw: str, columns: str, year: int) -> FirstNight:
    """Find the first of two nights.

    Raises:
        OneNightError: The reviews do not allow two nights, or the database has those of the second.
    """
    first = find_first_night(raw, columns, year)
    if _has_reviews_after(url, first.until):
        raise OneNightError("the database has these reviews")
    return first


def _has_reviews_after(url: str, day: date) -> bool:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('steam.reviews') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return False
        cursor.execute("SELECT EXISTS (SELECT FROM steam.reviews WHERE reviewed_on > %s)", [day])
        return cursor.fetchone() == (True,)


def _night(first: FirstNight, number: int) -> str:
    if number == 1:
        return f"Night 1: the reviews until {first.until}; those of the newest {WEEKS} weeks arrive in night 2."
    return f"Night 2: {first.arriving:,} reviews have arrived."


def _gate_failure(workspace: Workspace, url: str) -> str:
    """Say why nothing is published. Inference would only train the same model on the same reviews again."""
    gate = gate_outcome(url)
    return (
        f"Model {gate['model']} did not pass the gate, and there is no champion yet: {gate['failed'][0]} All rules "
        f"are on {workspace.keep_page('evaluate', 'evaluation')}. Add reviews or relax the rule: for the best baseline "
        f"put STEAM_RECSYS_PARAMETERS__ACCURACY_MARGIN=0.2 before the command; docs/targets.md lists all rules."
    )


def show_next_commands(workspace: Workspace) -> None:
    """Copy the newest pages into the workspace, and print them with the commands that look at the last run."""
    evaluation, monitoring = workspace.keep_pages()
    lines = (
        ("make user USER=1", "a user's recommendations, by id or by name"),
        ("make explore", "recommendations in a browser, and as a JSON API"),
        ("make notebook", "notebooks on these results: data, reasons, and a variation of the model"),
        (str(evaluation), "page: the gate's rules, the model beside its baselines, slices and charts"),
        (str(monitoring), "page: quality and drift, which decide about retraining"),
        ("make psql", "the database; try SELECT * FROM recsys.recommended_games(1, 'newest');"),
        (f"cat {workspace.summary}", "this summary as JSON"),
        (f"{workspace.root / 'logs'}", "folder: what each step did"),
        ("make stop", "stop the database"),
    )
    width = max(len(what) for what, _ in lines)
    print("\nNext:")
    for what, purpose in lines:
        print(f"  {what:<{width}}  {purpose}")
