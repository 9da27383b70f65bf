"""Parameters from the command line, checked against the pipeline's own signature before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from kfp.dsl.graph_component import GraphComponent

from steam_recsys.errors import UserError


def read_parameters(pipeline: GraphComponent, assignments: Iterable[str]) -> dict[str, Any]:
    """Read `key=value` texts into values of the types that a pipeline declares.

    Raises:
        UserError: a text has another form, a parameter is unknown, missing or given twice, or a value is of another
            type; the sentence names what is allowed.
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
    """Read a parameter's text into a value of one of KFP's types.

    Raises:
        UserError: it is of another type.
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


_READERS: dict[str, tuple[Callable[[str], Any], str]] = {
    "String": (str, "a text"),
    "Integer": (int, "a whole number"),
    "Float": (float, "a number"),
    "Boolean": (_boolean, "true or false"),
    "List": (json.loads, "a list in JSON"),
    "Dict": (json.loads, "an object in JSON"),
}
