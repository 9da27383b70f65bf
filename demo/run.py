"""The demo's story: data, database, three pipelines, and what came of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from components.ingest.raw_files import check_folder
from demo.raw_files import write_synthetic
from demo.recommendations import show_typical_users
from demo.summary import gate_outcome, show_metrics, write_summary
from demo.workspace import Workspace
from pipelines.catalogue import PIPELINES, compile_pipelines
from pipelines.check import SECRETS, check_parameters, parameters_for
from pipelines.local import run_locally
from pipelines.parameters import read_parameters
from pipelines.target import Target
from steam_recsys.errors import UserError
from steam_recsys.storage.model_store import current_champion

ELSEWHERE = (*SECRETS, "publish_to", "raw", "registry", "store")
"""The parameters that name things elsewhere, which a demo leaves alone: the environment may have them for others."""


def inference_parameters(data: Path | None) -> dict[str, int]:
    """What the inference pipeline is run with: shards so small that the few synthetic users make several of them."""
    return {} if data else {"users_per_shard": 10_000}


def run_pipeline(
    place: Workspace, target: Target, name: str, parameters: Mapping[str, object], *, containers: bool = False
) -> None:
    """Run a compiled pipeline with these parameters, and with the target's own limits and numbers under them.

    Raises:
        UserError: a stage failed, or a parameter of the target's is of another type.
    """
    own = {key: value for key, value in parameters_for(target, name).items() if key not in ELSEWHERE}
    given = [f"{key}={value}" for key, value in {**own, **parameters}.items()]
    values = read_parameters(PIPELINES[name](target), given)
    run_locally(place.build / target.name / f"{name}.yaml", values, place.root, containers=containers)


def run_demo(place: Workspace, data: Path | None) -> None:
    """Run the whole loop and show it.

    Args:
        place: the demo's folder.
        data: a folder in the raw layout; None makes synthetic reviews.

    Raises:
        UserError: a stage failed, the first model did not pass the gate, or the data or the database are not as they
            must be.
    """
    raw = data or place.root / "synthetic"
    if data is None:
        print("[demo] SYNTHETIC DATA: made-up users, games and reviews; use DATA=folder for real ones", flush=True)
        write_synthetic(raw)
    check_folder(raw)  # before a database is started for it
    url = place.database_url(data)
    store = place.store(url)
    if not place.postgres.owns(url) and (before := place.load(url, raw)):
        print(f"[demo] the database in DATABASE_URL was last loaded from {before}: {raw} is added to it", flush=True)
    os.environ["DATABASE_URL"] = url  # the stages resolve env:DATABASE_URL
    target = Target.load("local")
    check_parameters(target)
    compile_pipelines(target, place.build / target.name)
    for name, parameters in (
        ("ingestion", {"raw": raw.resolve()}),
        ("training", {}),
        ("inference", inference_parameters(data)),
    ):
        print(f"\n[demo] pipeline {name}", flush=True)
        run_pipeline(place, target, name, {"store": store, **parameters})
        if name == "training" and current_champion(str(store)) is None:
            raise UserError(_refusal(place, url))
    place.remember(url)
    summary = write_summary(place.summary, url, str(store), raw)
    title = "SYNTHETIC DATA" if data is None else str(data)
    show_metrics(summary, title)
    show_typical_users(url, title)
    _show_next(place, *place.keep_pages())


def _refusal(place: Workspace, url: str) -> str:
    """Why nothing is published: inference would only make the same model of the same reviews again."""
    gate = gate_outcome(url)
    return (
        f"Model {gate['model']} did not pass the gate, and no other serves yet: {gate['failed'][0]} Every rule is on "
        f"{place.keep_page('evaluate', 'evaluation')}: add reviews, or lower the limit, as "
        f"STEAM_RECSYS_PARAMETERS__BASELINE_ERRORS=6 before the command does for the best baseline; docs/targets.md "
        f"has them all."
    )


def _show_next(place: Workspace, evaluation: Path, monitoring: Path) -> None:
    lines = (
        ("make user USER=1", "a user's recommendations, by id or by name"),
        ("make explore", "the same and more in a browser, and as a JSON API"),
        (str(evaluation), "a page: the gate's rules, the model beside its rivals, slices and charts"),
        (str(monitoring), "a page: what would have the model trained again"),
        ("make psql", "the database; try SELECT * FROM recsys.recommended_games(1, 'newest');"),
        (f"cat {place.summary}", "what happened, as JSON"),
        ("make stop", "stop the database"),
    )
    width = max(len(what) for what, _ in lines)
    print("\nNext:")
    for what, purpose in lines:
        print(f"  {what:<{width}}  {purpose}")
