"""What can be known to be wrong before anything is submitted; and a pipeline's graph in words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from containers.images import LOCAL_REGISTRY
from pipelines.catalogue import PIPELINES
from pipelines.parameters import read_value
from pipelines.target import ENVIRONMENT, Target
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import PUBLISH_TO
from steam_recsys.secrets import SECRET_MANAGER_SCHEME, resolve_secret

SECRET_NAMES = re.compile(r"PASSWORD|SECRET|TOKEN|CREDENTIAL|_KEY$|(DATABASE|MONGODB|ALERTS)_URL")
_PASSWORD_IN_URL = re.compile(r"\w+://[^\s/:@{}\"']+:[^\s/@{}\"']+@")
_IMAGE_SECONDS = 30

SECRETS = ("source", "replica", "database", "mongodb", "alerts")
"""The parameters that name a secret with the URL of a database or a webhook."""

FOUND = ON_THIS_MACHINE, IN_ITS_REGISTRY = "is on this machine", "is in its registry"
"""What is said of an image that the tasks will get."""

_CONDITION = re.compile(r"inputs\.parameter_values\['pipelinechannel--([^']+)'\] == (\w+)")


def check_parameters(target: Target) -> None:
    """Check the target's parameters against the pipelines' own signatures.

    Raises:
        UserError: one is a parameter of no pipeline, or of another type.
    """
    signatures = [PIPELINES[name](target).component_spec.inputs or {} for name in PIPELINES]
    known = {key: spec.type for inputs in signatures for key, spec in inputs.items()}
    for key, value in target.parameters.items():
        if key not in known:
            raise UserError(f"No pipeline has the parameter {key} of the target {target.name}: they have "
                            f"{', '.join(sorted(known))}.")  # fmt: skip
        read_value(key, str(value), known[key])


def parameters_for(target: Target, name: str) -> dict[str, Any]:
    """The target's parameters that a pipeline takes."""
    inputs = PIPELINES[name](target).component_spec.inputs or {}
    return {key: value for key, value in target.parameters.items() if key in inputs}


def check_run(target: Target, name: str, parameters: Mapping[str, Any]) -> None:
    """Check what a run would stop at after hours: values, and what its tasks can reach.

    Args:
        target: where the run is to be started.
        name: the pipeline's.
        parameters: the run's, over the pipeline's defaults.

    Raises:
        UserError: a value is out of its range, a secret is not named or not where the tasks look for it, or the store
            is a folder of this machine and the tasks run elsewhere.
    """
    inputs = PIPELINES[name](target).component_spec.inputs or {}
    values = {key: spec.default for key, spec in inputs.items() if spec.optional} | dict(parameters)
    if values.get("users_per_shard", 1) < 1:
        raise UserError(f"The parameter users_per_shard is {values['users_per_shard']}: it must be 1 or more.")
    if (places := values.get("publish_to", PUBLISH_TO[0])) not in PUBLISH_TO:
        raise UserError(f"The parameter publish_to is {places!r}: it must be one of {', '.join(PUBLISH_TO)}.")
    unused = set() if places != PUBLISH_TO[0] else {"mongodb"}
    for key in SECRETS:
        if key not in unused and (reference := str(values.get(key) or "")):
            _check_secret(target, key, reference)
    _check_store(target, str(values["store"]))


def _check_secret(target: Target, key: str, reference: str) -> None:
    if reference.startswith(SECRET_MANAGER_SCHEME):
        return
    if not reference.startswith("env:"):  # it may be the URL itself, which the platform would show to everybody
        raise UserError(
            f"The parameter {key} names no secret: give env:NAME or sm://projects/P/secrets/S/versions/latest, and put "
            f"the URL into that variable or secret."
        )
    if target.name in ("local", "docker"):
        resolve_secret(reference)
    elif target.name == "vertex":
        raise UserError(
            f"The tasks of the target vertex have no environment variable {reference.removeprefix('env:')}: name a "
            f"secret, --param {key}=sm://projects/P/secrets/S/versions/latest."
        )


def _check_store(target: Target, store: str) -> None:
    reached = {"vertex": store.startswith("gs://"), "kubeflow": store.startswith(("gs://", "/"))}
    if not reached.get(target.name, True):
        raise UserError(
            f"The tasks of the target {target.name} cannot reach the store {store}: set "
            f"{ENVIRONMENT}PARAMETERS__STORE=gs://BUCKET/store, or add --param store=gs://BUCKET/store."
        )


def unset(target: Target) -> list[str]:
    """The variables of the settings that a run on Vertex AI cannot do without, of those that have no value yet."""
    if target.name != "vertex":
        return []
    needed: dict[str, Any] = {"REGISTRY": target.registry if target.registry != LOCAL_REGISTRY else None}
    needed |= {f"VERTEX__{key.upper()}": getattr(target.vertex, key) for key in ("project", "region", "staging_bucket")}
    needed |= {f"PARAMETERS__{key.upper()}": target.parameters.get(key) for key in ("source", "store")}
    return [f"{ENVIRONMENT}{name}" for name, value in needed.items() if not value]


def check_no_secrets(compiled: list[Path]) -> None:
    """Check that no secret value of this environment, and no URL with a password, stands in compiled pipelines.

    Raises:
        UserError: one does.
    """
    secrets = {name: value for name, value in os.environ.items() if SECRET_NAMES.search(name) and len(value) >= 8}
    for path in compiled:
        content = path.read_text()
        for name, value in secrets.items():
            if value in content:
                raise UserError(f"The value of {name} stands in {path}: name the secret there, as env:{name}.")
        if _PASSWORD_IN_URL.search(content):
            raise UserError(f"A URL with a password stands in {path}: name the secret there, as env:NAME or sm://….")


def image_states(target: Target) -> Iterator[tuple[str, str]]:
    """Each image of a target, and whether it is there: on this machine, in its registry, or nobody answers.

    This machine counts only where the tasks get their images from it.
    """
    from_here = target.name in ("local", "docker") or target.registry == LOCAL_REGISTRY
    for image in sorted({target.image("data"), target.image("model")}):
        if target.python_image or shutil.which("docker") is None:
            yield image, "not looked for"
        elif from_here and _asked("docker", "image", "inspect", image) == "":
            yield image, ON_THIS_MACHINE
        else:
            answer = _asked("docker", "manifest", "inspect", image)
            missing = re.search(r"no such manifest|manifest unknown|not found", answer)
            yield (
                image,
                IN_ITS_REGISTRY if not answer else "is missing" if missing else "its registry does not say",
            )


def graph(compiled: Path) -> list[str]:
    """A compiled pipeline's tasks, a line each, in the order in which they can run, with what they wait for."""
    spec = next(yaml.safe_load_all(compiled.read_text()))
    return [f"{compiled.stem}", *_dag(spec, spec["root"]["dag"], "  ")]


def _dag(spec: dict[str, Any], dag: dict[str, Any], indent: str) -> Iterator[str]:
    waiting = {name: set(task.get("dependentTasks", [])) for name, task in dag["tasks"].items()}
    titles = {name: task["taskInfo"]["name"] for name, task in dag["tasks"].items()}
    done: set[str] = set()
    while waiting:
        ready = sorted(name for name, before in waiting.items() if before <= done)
        for name in ready:
            task = dag["tasks"][name]
            after = waiting.pop(name)
            yield f"{indent}{titles[name]}{_notes(task, [titles[other] for other in sorted(after)])}"
            inner = spec["components"][task["componentRef"]["name"]].get("dag")
            if inner:
                yield from _dag(spec, inner, indent + "  ")
        done |= set(ready)


def _notes(task: dict[str, Any], after: list[str]) -> str:
    trigger = task.get("triggerPolicy", {})
    notes = [f"after {', '.join(after)}"] if after else []
    notes += ["whatever happens"] if trigger.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED" else []
    notes += ["if " + _CONDITION.sub(r"\1 is \2", trigger["condition"])] if "condition" in trigger else []
    notes += ["for each of a list"] if "parameterIterator" in task else []
    return f" ({'; '.join(notes)})" if notes else ""


def _asked(*command: str) -> str:
    """What a command has to complain of; empty where it succeeds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMAGE_SECONDS)
    except subprocess.TimeoutExpired:
        return "time out"
    return "" if done.returncode == 0 else done.stderr.lower() or "failed"
