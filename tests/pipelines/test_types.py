"""The types of compiled pipelines, as Kubeflow's driver and Vertex AI check them; the local runner does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from pipelines.compilation import PIPELINES
from pipelines.target import TARGETS
from tests.pipelines.golden_copies import GOLDEN

Mismatch = tuple[str, str, str]
"""Where a value is used, the type that is expected there, and the type that it has."""

CONSTANTS = {
    str: "STRING",
    bool: "BOOLEAN",
    int: "NUMBER_INTEGER",
    float: "NUMBER_DOUBLE",
    list: "LIST",
    dict: "STRUCT",
}


def mismatches(spec: dict[str, Any]) -> Iterator[Mismatch]:
    """Follow every input of every task, in nested pipelines too, to what produces it, and compare the types."""
    components = {"root": spec["root"], **spec["components"]}
    for name, component in components.items():
        for task_name, task in component.get("dag", {}).get("tasks", {}).items():
            where = f"{name}/{task_name}"
            yield from _task_mismatches(where, task, component, components)
        yield from _output_mismatches(name, component, components)


def _task_mismatches(where: str, task: dict, parent: dict, components: dict) -> Iterator[Mismatch]:
    wanted = _definitions(components[task["componentRef"]["name"]], "inputDefinitions")
    given = {kind: dict(task.get("inputs", {}).get(kind, {})) for kind in ("parameters", "artifacts")}
    item = task.get("parameterIterator", {}).get("itemInput")
    for kind, sources in given.items():
        for key, source in sources.items():
            expected, found = wanted[kind][key], _type_of(source, parent, components)
            if {expected, found} == {"NUMBER_INTEGER", "NUMBER_DOUBLE"} and _is_whole_constant(source):
                continue  # a compiled 1 is 1.0
            if expected != found:
                yield f"{where}.{key}", str(expected), str(found)
    for key, expected in wanted["parameters"].items():
        definition = components[task["componentRef"]["name"]]["inputDefinitions"]["parameters"][key]
        if key not in given["parameters"] and key != item and not definition.get("isOptional"):
            yield f"{where}.{key}", str(expected), "nothing"
    if item is not None:
        items = task["parameterIterator"]["items"]["inputParameter"]
        if wanted["parameters"][items] != "LIST":
            yield f"{where}.{items}", "LIST", str(wanted["parameters"][items])


def _output_mismatches(name: str, component: dict, components: dict) -> Iterator[Mismatch]:
    """Compare a nested pipeline's outputs with the tasks that produce them."""
    wanted = _definitions(component, "outputDefinitions")
    outputs = component.get("dag", {}).get("outputs", {})
    for key, source in outputs.get("parameters", {}).items():
        selector = source["valueFromParameter"]
        found = _output_type(
            component, selector["producerSubtask"], "parameters", selector["outputParameterKey"], components
        )
        if found != wanted["parameters"][key]:
            yield f"{name}.{key}", str(wanted["parameters"][key]), str(found)


def _definitions(component: dict, side: str) -> dict[str, dict[str, Any]]:
    """Return the types of a component's parameters and artifacts by name."""
    defined = component.get(side, {})
    return {
        "parameters": {key: value["parameterType"] for key, value in defined.get("parameters", {}).items()},
        "artifacts": {key: value["artifactType"]["schemaTitle"] for key, value in defined.get("artifacts", {}).items()},
    }


def _type_of(source: dict, parent: dict, components: dict) -> str:
    if "componentInputParameter" in source:
        return _definitions(parent, "inputDefinitions")["parameters"][source["componentInputParameter"]]
    if "componentInputArtifact" in source:
        return _definitions(parent, "inputDefinitions")["artifacts"][source["componentInputArtifact"]]
    if "taskFinalStatus" in source:
        return "TASK_FINAL_STATUS"
    if "runtimeValue" in source:
        return CONSTANTS[type(source["runtimeValue"]["constant"])]
    for kind, key in (("parameters", "outputParameterKey"), ("artifacts", "outputArtifactKey")):
        producer = source.get("taskOutputParameter" if kind == "parameters" else "taskOutputArtifact")
        if producer:
            return _output_type(parent, producer["producerTask"], kind, producer[key], components)
    raise AssertionError(f"an unknown source: {source}")


def _is_whole_constant(source: dict) -> bool:
    return "runtimeValue" in source and float(source["runtimeValue"]["constant"]).is_integer()


def _output_type(parent: dict, task: str, kind: str, key: str, components: dict) -> str:
    producer = components[parent["dag"]["tasks"][task]["componentRef"]["name"]]
    return _definitions(producer, "outputDefinitions")[kind][key]


def compiled(target: str, name: str) -> dict[str, Any]:
    return next(yaml.safe_load_all((GOLDEN / target / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PIPELINES)
def test_each_input_of_a_task_has_the_type_of_what_produces_it(target, name):
    assert list(mismatches(compiled(target, name))) == []


def test_a_loop_over_a_list_without_a_type_of_its_items_is_found():
    spec = compiled("kubeflow", "inference")
    loop = next(component for name, component in spec["components"].items() if "for-loop" in name)
    item = next(key for key in loop["inputDefinitions"]["parameters"] if key.endswith("loop-item"))
    loop["inputDefinitions"]["parameters"][item]["parameterType"] = "STRING"
    assert [found[1:] for found in mismatches(spec)] == [("NUMBER_INTEGER", "STRING")]


def test_an_input_that_nothing_produces_is_found():
    spec = compiled("kubeflow", "training")
    tasks = next(
        component["dag"]["tasks"]
        for component in spec["components"].values()
        if "extract" in component.get("dag", {}).get("tasks", {})
    )
    del tasks["extract"]["inputs"]["parameters"]["store"]
    assert [found[1:] for found in mismatches(spec)] == [("STRING", "nothing")]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PIPELINES)
def test_a_condition_compares_a_value_of_its_own_type(target, name):
    for component in compiled(target, name)["components"].values():
        for task in component.get("dag", {}).get("tasks", {}).values():
            condition = task.get("triggerPolicy", {}).get("condition", "")
            if condition:
                key = condition.split("'")[1]
                source = task["inputs"]["parameters"][key]
                assert condition.endswith(" == true")
                assert _type_of(source, component, compiled(target, name)["components"]) == "BOOLEAN"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PIPELINES)
def test_a_compiled_pipeline_is_ascii_as_a_database_of_kubeflow_may_not_hold_more(target, name):
    assert (GOLDEN / target / f"{name}.yaml").read_bytes().isascii()
