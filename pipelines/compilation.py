"""All pipelines by name, with their compilation and their parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from kfp import compiler
from kfp.dsl.graph_component import GraphComponent

from pipelines.inference import inference_pipeline
from pipelines.ingestion import ingestion_pipeline
from pipelines.refresh import refresh_pipeline
from pipelines.target import Target
from pipelines.training import training_pipeline
from steam_recsys.errors import UserError

PIPELINES: dict[str, Callable[[Target], GraphComponent]] = {
    "ingestion": ingestion_pipeline,
    "training": training_pipeline,
    "inference": inference_pipeline,
    "refresh": refresh_pipeline,
}


@lru_cache
def build_pipeline(target: Target, name: str) -> GraphComponent:
    """Build a pipeline for a target; equal settings share it, as KFP takes a second or more for one.

    Its images keep the names that they have when it is built first: a process compiles one state of the code.
    """
    return PIPELINES[name](target)


def compile_pipelines(target: Target, output: Path) -> list[Path]:
    """Compile every pipeline for a target to `<output>/<name>.yaml` and return the files.

    Equal settings and code give equal bytes.

    Raises:
        UserError: The folder cannot be written to.
    """
    paths = {name: output / f"{name}.yaml" for name in PIPELINES}
    try:
        output.mkdir(parents=True, exist_ok=True)
        for name, path in paths.items():
            compiler.Compiler().compile(build_pipeline(target, name), str(path))
    except OSError as error:
        raise UserError(f"{output} cannot be written to ({error.strerror}): name another folder.") from None
    return list(paths.values())


def read_parameters(pipeline: GraphComponent, assignments: Iterable[str]) -> dict[str, Any]:
    """Convert `key=value` texts to the types that a pipeline declares, before anything runs.

    Raises:
        UserError: An assignment has no value, a parameter is unknown, missing or given twice, or a value has the wrong
            type. The message lists what is allowed.
    """
    inputs = pipeline.component_spec.inputs or {}
    values: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise UserError(f"--param {assignment} has no value: write it as --param key=value.")
        if key not in inputs:
            allowed = ", ".join(f"{name} ({spec.type})" for name, spec in inputs.items())
            raise UserError(f"The pipeline {pipeline.name} has no parameter {key}: it takes {allowed}.")
        if key in values:
            raise UserError(f"The parameter {key} is given twice: give it once.")
        values[key] = read_value(key, text, inputs[key].type)
    missing = [name for name, spec in inputs.items() if not spec.optional and name not in values]
    if missing:
        raise UserError(
            f"The pipeline {pipeline.name} needs the parameter {missing[0]}: add --param {missing[0]}=VALUE."
        )
    return values


def read_value(key: str, text: str, kind: str) -> Any:
    """Convert a parameter's text to one of KFP's types.

    Raises:
        UserError: The text does not have that type.
    """
    read, described = _READERS[kind]
    try:
        return read(text)
    except ValueError:
        raise UserError(f"The parameter {key} is {text!r}: it must be {described}.") from None


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "String": (str, "a text"),
    "Integer": (int, "a whole number"),
    "Float": (_number, "a finite number"),
    "Boolean": (_boolean, "true or false"),
    "List": (json.loads, "a list in JSON"),
    "Dict": (json.loads, "an object in JSON"),
}
