"""Checks before anything is submitted, and a pipeline's graph as text."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from containers.images import LOCAL_REGISTRY, Role
from pipelines.compilation import PIPELINES, build_pipeline, read_value
from pipelines.target import ENVIRONMENT, URL_VARIABLES, Target
from pipelines.vertex_limits import setting_problems, spec_problems
from steam_recsys.errors import UserError
from steam_recsys.publications.control_group import check_control_share
from steam_recsys.publications.destinations import PUBLISH_TO
from steam_recsys.secrets import ORDINARY_WORDS, SECRET_MANAGER_SCHEME, resolve_secret
from steam_recsys.storage.folder import BUCKET_SCHEME, S3_SCHEME

SECRET_NAMES = re.compile("|".join(["PASSWORD", "SECRET", "TOKEN", "CREDENTIAL", "_KEY$", *URL_VARIABLES]))
_PASSWORD_IN_URL = re.compile(r"\w+://[^\s/:@{}\"']+:[^\s/@{}\"']+@")
_IMAGE_SECONDS = 30

SECRETS = ("source", "replica", "database", "mongodb", "alerts")
"""Parameters that name a secret: the URL of a database or a webhook."""

SHARES = (
    "max_rejected_share", "personal_budget", "accuracy_margin", "personal_margin", "coverage_floor", "slice_margin",
    "unknown_ceiling", "published_overlap_ceiling", "published_coverage_floor", "user_coverage_floor", "churn_floor",
    "churn_ceiling", "overlap_ceiling",
)  # fmt: skip
NOT_NEGATIVE = (
    "year", "training_minutes", "slice_users", "quality_floor", "quality_users", "drift_ceiling", "drift_reviews",
    "age_ceiling", "growth_ceiling", "published_users", "cooldown_days", "churn_users", "rows_per_user_floor",
)  # fmt: skip
RANGES = {
    "users_per_shard": (1, math.inf),
    "new_release_days": (1, math.inf),
    "seed": (0, 2**32 - 1),
    **dict.fromkeys(SHARES, (0, 1)),
    **dict.fromkeys(NOT_NEGATIVE, (0, math.inf)),
}
"""Lowest and highest value of numeric parameters. A stage would refuse some only after hours, and others never: a gate
with a margin of 5, meant as per cent, lets every model pass."""

FOUND = ON_THIS_MACHINE, IN_ITS_REGISTRY = "is on this machine", "is in its registry"
"""States of an image that the tasks can use."""

MISSING = "is missing"

_CONDITION = re.compile(r"inputs\.parameter_values\['pipelinechannel--([^']+)'\] == (\w+)")


def check_parameters(target: Target) -> None:
    """Check the target's parameters against the pipelines' signatures.

    Raises:
        UserError: No pipeline has a parameter, or its value has the wrong type.
    """
    signatures = [build_pipeline(target, name).component_spec.inputs or {} for name in PIPELINES]
    known = {key: spec.type for inputs in signatures for key, spec in inputs.items()}
    for key, value in target.parameters.items():
        if key not in known:
            raise UserError(f"No pipeline has the parameter {key} of the target {target.name}: the parameters are "
                            f"{', '.join(sorted(known))}.")  # fmt: skip
        read_value(key, str(value), known[key])


def parameters_for(target: Target, name: str) -> dict[str, Any]:
    """Return the target's parameters that a pipeline takes."""
    inputs = build_pipeline(target, name).component_spec.inputs or {}
    return {key: value for key, value in target.parameters.items() if key in inputs}


def check_run(target: Target, name: str, parameters: Mapping[str, Any]) -> None:
    """Check parameter values, secrets and store before a run, which might otherwise fail only after hours.

    Args:
        target: Target of the run.
        name: Name of the pipeline.
        parameters: Parameters of the run, which override the pipeline's defaults.

    Raises:
        UserError: A value is out of range, a secret is not named or the tasks cannot read it, or the tasks cannot reach
            the store.
    """
    inputs = build_pipeline(target, name).component_spec.inputs or {}
    values = {key: spec.default for key, spec in inputs.items() if spec.optional} | dict(parameters)
    for key, (low, high) in RANGES.items():
        if key in values and not low <= values[key] <= high:
            allowed = f"{low} or more" if high == math.inf else f"from {low} to {high}"
            raise UserError(f"The parameter {key} is {values[key]}: it must be {allowed}.")
    check_control_share(values.get("control_share", 0.0))
    check_platform_settings(target)
    if (destination := values.get("publish_to", PUBLISH_TO[0])) not in PUBLISH_TO:
        raise UserError(f"The parameter publish_to is {destination!r}: it must be one of {', '.join(PUBLISH_TO)}.")
    unused = set() if destination != PUBLISH_TO[0] else {"mongodb"}
    for key in SECRETS:
        if key not in unused and (reference := str(values.get(key) or "")):
            _check_secret(target, key, reference)
    _check_store(target, str(values["store"]))


def check_platform_settings(target: Target) -> None:
    """Check settings that the platform would refuse only at the submission, or in the middle of a run.

    Raises:
        UserError: One has a form that the platform refuses.
    """
    for problem in setting_problems(target) if target.name == "vertex" else ():
        raise UserError(problem)


def check_compiled(target: Target, compiled: list[Path]) -> None:
    """Check compiled pipelines against the platform's limits.

    Raises:
        UserError: A pipeline exceeds one.
    """
    if target.name != "vertex":
        return
    for path in compiled:
        for problem in spec_problems(*yaml.safe_load_all(path.read_text())):
            raise UserError(f"{path}: {problem}")


def _check_secret(target: Target, key: str, reference: str) -> None:
    if reference.startswith(SECRET_MANAGER_SCHEME):
        return
    if not reference.startswith("env:"):  # it may be the URL itself, which the platform would show
        raise UserError(
            f"The parameter {key} does not name a secret: use env:NAME or sm://projects/P/secrets/S/versions/latest, "
            f"and put the URL into that variable or secret."
        )
    name = reference.removeprefix("env:")
    if target.name in ("kubeflow", "docker") and name not in URL_VARIABLES:
        raise UserError(
            f"Tasks on the target {target.name} have no environment variable {name}: put the URL into one of "
            f"{', '.join(URL_VARIABLES)}, and name that with --param {key}=env:NAME."
        )
    if target.name in ("local", "docker"):
        resolve_secret(reference)
    elif target.name == "vertex":
        raise UserError(
            f"Tasks on Vertex AI have no environment variable {name}: name a secret with "
            f"--param {key}=sm://projects/P/secrets/S/versions/latest."
        )


def _check_store(target: Target, store: str) -> None:
    if target.name == "local":
        return
    buckets = [BUCKET_SCHEME] if target.name == "vertex" else [BUCKET_SCHEME, S3_SCHEME]
    if store.startswith(tuple(buckets)) or (target.name == "kubeflow" and store.startswith("/")):
        return
    raise UserError(
        f"Tasks on the target {target.name} cannot reach the store {store}: set {ENVIRONMENT}PARAMETERS__STORE to "
        f"{' or '.join(f'{scheme}BUCKET/store' for scheme in buckets)}, or add --param store=…."
    )


def missing_settings(target: Target) -> list[str]:
    """List the environment variables of settings that a run on Vertex AI needs and that have no value."""
    if target.name != "vertex":
        return []
    required: dict[str, Any] = {"REGISTRY": target.registry if target.registry != LOCAL_REGISTRY else None}
    required |= {
        f"VERTEX__{key.upper()}": getattr(target.vertex, key) for key in ("project", "region", "staging_bucket")
    }
    required |= {f"PARAMETERS__{key.upper()}": target.parameters.get(key) for key in ("source", "store")}
    return [f"{ENVIRONMENT}{name}" for name, value in required.items() if not value]


def check_no_secrets(compiled: list[Path]) -> None:
    """Check that compiled pipelines contain no secret of this environment and no URL with a password.

    Raises:
        UserError: A pipeline contains one.
    """
    secrets = {
        # A word may be a part of another one, such as "postgres" of "postgresql".
        name: re.compile(rf"(?<!\w){value}(?!\w)" if re.fullmatch("[a-z]+", value) else re.escape(value))
        for name, value in os.environ.items()
        if SECRET_NAMES.search(name) and len(value) >= 8 and value not in ORDINARY_WORDS
    }
    for path in compiled:
        content = path.read_text()
        for name, pattern in secrets.items():
            if pattern.search(content):
                raise UserError(f"{path} contains the value of {name}: name the secret instead, env:{name}.")
        if _PASSWORD_IN_URL.search(content):
            raise UserError(f"{path} contains a URL with a password: name the secret instead, env:NAME or sm://….")


def image_states(target: Target) -> Iterator[tuple[str, str]]:
    """Yield each image of a target with its state: on this machine, in its registry, missing or unknown.

    Images on this machine count only if the tasks take their images from it.
    """
    local_images = target.name in ("local", "docker") or target.registry == LOCAL_REGISTRY
    roles: list[Role] = ["data", "model"]
    if target.parameters.get("registry"):
        roles.append("explorer")  # serves registered models
    for image in sorted({target.image(role) for role in roles}):
        if target.python_image or shutil.which("docker") is None:
            yield image, "not checked"
        elif local_images and _command_error("docker", "image", "inspect", image) == "":
            yield image, ON_THIS_MACHINE
        elif target.registry == LOCAL_REGISTRY:
            yield image, "is not on this machine"
        else:
            error = _command_error("docker", "manifest", "inspect", image)
            if not error:
                yield image, IN_ITS_REGISTRY
            elif re.search(r"no such manifest|manifest unknown|not found", error):
                yield image, MISSING
            elif re.search(r"denied|unauthorized|authentication required", error):
                yield image, "its registry denies access"
            else:
                yield image, "its registry does not answer"


def graph(compiled: Path) -> list[str]:
    """List a compiled pipeline's tasks in the order in which they can run, one line each, with their dependencies."""
    spec = next(yaml.safe_load_all(compiled.read_text()))
    return [f"{compiled.stem}", *_dag(spec, spec["root"]["dag"], "  ")]


def _dag(spec: dict[str, Any], dag: dict[str, Any], indent: str) -> Iterator[str]:
    waiting = {name: set(task.get("dependentTasks", [])) for name, task in dag["tasks"].items()}
    display_names = {name: task["taskInfo"]["name"] for name, task in dag["tasks"].items()}
    done: set[str] = set()
    while waiting:
        ready = sorted(name for name, before in waiting.items() if before <= done)
        for name in ready:
            task = dag["tasks"][name]
            after = waiting.pop(name)
            yield f"{indent}{display_names[name]}{_notes(task, [display_names[other] for other in sorted(after)])}"
            inner = spec["components"][task["componentRef"]["name"]].get("dag")
            if inner:
                yield from _dag(spec, inner, indent + "  ")
        done |= set(ready)


def _notes(task: dict[str, Any], after: list[str]) -> str:
    trigger = task.get("triggerPolicy", {})
    notes = [f"after {', '.join(after)}"] if after else []
    notes += ["always"] if trigger.get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED" else []
    notes += ["if " + _CONDITION.sub(r"\1 is \2", trigger["condition"])] if "condition" in trigger else []
    notes += ["for each item of a list"] if "parameterIterator" in task else []
    return f" ({'; '.join(notes)})" if notes else ""


def _command_error(*command: str) -> str:
    """Run a command and return its error message in lower case, empty if it succeeds."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMAGE_SECONDS)
    except subprocess.TimeoutExpired:
        return "time out"
    return "" if done.returncode == 0 else done.stderr.lower() or "failed"
