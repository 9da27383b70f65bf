"""The compiled YAML of each target, as it was reviewed. `make golden` writes it anew."""

import pytest
from kfp import components

from pipelines.catalogue import PIPELINES, compile_pipelines
from pipelines.target import TARGETS, Target
from tests.pipelines.golden_copies import GOLDEN, compile_golden


@pytest.mark.parametrize("target", TARGETS)
def test_each_target_compiles_to_its_golden_copy_byte_for_byte(target, tmp_path):
    for path in compile_golden(target, tmp_path):
        assert path.read_text() == (GOLDEN / target / path.name).read_text(), f"{path.name}: see make golden"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", PIPELINES)
def test_every_golden_copy_loads_as_a_component(target, name):
    loaded = components.load_component_from_file(str(GOLDEN / target / f"{name}.yaml"))
    assert loaded.name == name


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipelines_description_numbers_its_steps(name):
    description = PIPELINES[name](Target.load("local")).component_spec.description
    assert description.startswith("1. ")


@pytest.mark.parametrize("target", TARGETS)
def test_no_secret_value_stands_in_a_compiled_pipeline(target, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hush-hush@db/shop")
    for path in compile_pipelines(Target.load(target), tmp_path):
        assert "hush-hush" not in path.read_text()
        assert "env:DATABASE_URL" in path.read_text()
