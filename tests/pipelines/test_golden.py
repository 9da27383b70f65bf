"""The reviewed YAML of each target. `make golden` regenerates it."""

import re

import pytest
import yaml
from google.protobuf import json_format
from kfp import components
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compilation import PIPELINES, build_pipeline, compile_pipelines
from pipelines.target import TARGETS, Target
from tests.pipelines.golden_copies import GOLDEN, compile_golden


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_compiles_to_its_golden_copy(target, tmp_path):
    for path in compile_golden(target, tmp_path):
        assert path.read_text() == (GOLDEN / target / path.name).read_text(), f"{path.name}: see make golden"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PIPELINES)
def test_every_golden_copy_loads_as_a_component(target, name):
    loaded = components.load_component_from_file(str(GOLDEN / target / f"{name}.yaml"))
    assert loaded.name == name


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PIPELINES)
def test_every_golden_copy_is_a_valid_pipeline_spec(target, name):
    documents = list(yaml.safe_load_all((GOLDEN / target / f"{name}.yaml").read_text()))
    parsed = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
    assert parsed.pipeline_info.name == name
    assert len(documents) == (2 if target == "kubeflow" else 1)
    for document in documents[1:]:
        json_format.ParseDict(document, pipeline_spec_pb2.PlatformSpec())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PIPELINES)
def test_a_placeholder_is_a_whole_value_because_kubeflow_replaces_no_other(target, name):
    constants = re.findall(r"constant: (.*)", (GOLDEN / target / f"{name}.yaml").read_text())
    with_placeholder = {constant for constant in constants if "{{" in constant}
    assert with_placeholder
    assert all(re.fullmatch(r"'\{\{\$\.[a-z_]+\}\}'", constant) for constant in with_placeholder)


@pytest.mark.parametrize("name", PIPELINES)
def test_vertex_yaml_has_nothing_that_vertex_rejects(name):
    content = (GOLDEN / "vertex" / f"{name}.yaml").read_text()
    for rejected in ("platforms:", "valueFromOneof", "workspace", "pvcMount"):
        assert rejected not in content


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipelines_description_numbers_its_steps(name):
    description = build_pipeline(Target.load("local"), name).component_spec.description
    assert description.startswith("1. ")


@pytest.mark.parametrize("target", TARGETS)
def test_no_compiled_pipeline_contains_a_secret(target, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hush-hush@db/shop")
    for path in compile_pipelines(Target.load(target), tmp_path):
        assert "hush-hush" not in path.read_text()
        assert "env:DATABASE_URL" in path.read_text()
