"""Whole inference runs in one process each, for tests that kill them; a fork server has loaded their imports.

The stages are those of the pipeline, in its order, with its parameters. Only KFP is missing, and the training that
monitoring may ask for.
"""

import inspect
import multiprocessing
import os
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from components.extract.component import extract
from components.monitor.component import monitor
from components.notify.component import record_run
from components.predict.component import make_plan, predict
from components.reverse_etl.component import publish
from components.validate.component import validate
from pipelines.inference import STAGES, inference_pipeline
from pipelines.target import Target
from steam_recsys.publications import lease

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__, "tests.pipelines.loaded_stages"])


@dataclass(frozen=True)
class Shop:
    """A shop: the URL of its database, its store, and the folder of its runs' artifacts."""

    url: str
    store: Path
    artifacts: Path


def pipeline_parameters(**own: object) -> dict[str, Any]:
    """Return the pipeline's parameters: those given, and the defaults of the others."""
    target = Target.load("local")
    inputs = inference_pipeline(target).component_spec.inputs
    defaults = {name: spec.default for name, spec in inputs.items()}
    return {**defaults, **target.stored_days, "page": "", "job": "", **own}


def start_inference(shop: Shop, run: str, parameters: dict[str, Any]) -> ForkServerProcess:
    """Start an inference run in a process."""
    process = _SERVER.Process(target=_run_inference, args=(shop, run, parameters))
    process.start()
    return process


def _run_inference(shop: Shop, run: str, parameters: dict[str, Any]) -> None:
    os.environ["DATABASE_URL"] = shop.url
    lease.LEASE_SECONDS, lease.RENEW_SECONDS = 4.0, 0.5  # the next run waits until a killed one's lease has expired
    own = {"database": parameters["source"], "store": str(shop.store), "run": run, "pipeline": "inference"}
    shared = {**parameters, **own}

    def call(component: Any, **inputs: object) -> Any:
        values = {**shared, **inputs}
        names = inspect.signature(component.python_func).parameters
        return component.python_func(**{name: values.get(name, _artifact(shop, run, name)) for name in names})

    snapshot, plan = _artifact(shop, run, "snapshot"), _artifact(shop, run, "plan")
    call(extract, snapshot=snapshot)
    call(validate, snapshot=snapshot)
    assert not call(monitor, snapshot=snapshot)
    for shard in call(make_plan, snapshot=snapshot, plan=plan):
        call(predict, plan=plan, shard=shard)
    call(publish, plan=plan)
    ended = SimpleNamespace(state="SUCCEEDED", error_message=None)
    call(record_run, status=ended, stages=STAGES)


def _artifact(shop: Shop, run: str, name: str) -> SimpleNamespace:
    """Return an artifact as KFP gives one to a component."""
    path = shop.artifacts / run / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return SimpleNamespace(path=str(path), metadata={}, log_metric=lambda name, figure: None)
