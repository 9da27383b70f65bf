"""The pages in `docs/` against the code that they speak of."""

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from explorer.settings import Settings
from pipelines.target import Kubeflow, Target, TaskSettings, Vertex

ROOT = Path(__file__).parents[1]
TARGETS = (ROOT / "docs" / "targets.md").read_text()
TESTS = {
    name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
}


def test_every_setting_is_documented():
    for settings in (Target, TaskSettings, Vertex, Kubeflow):
        for key in settings.model_fields:
            named = f"`{key}`" in TARGETS or f"`[{key}]`" in TARGETS or f"`[{key}." in TARGETS
            assert named or key == "name", f"{settings.__name__}.{key}"


def test_every_setting_of_the_explorer_is_documented_with_its_default():
    page = (ROOT / "docs" / "explorer.md").read_text()
    rows = [line.split("|")[1:3] for line in page.splitlines() if line.startswith("| `EXPLORER_")]
    documented = {
        name: default
        for names, defaults in rows
        for name, default in zip(
            re.findall(r"`EXPLORER_(\w+)`", names), [*re.findall(r"`(\S+)`", defaults), None, None], strict=False
        )
    }
    assert set(documented) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if field.default not in (PydanticUndefined, None, ""):
            assert type(field.default)(documented[name.upper()]) == field.default, name


def test_every_test_that_a_page_names_is_there():
    named = {name for page in (ROOT / "docs").glob("*.md") for name in re.findall(r"`(test_\w+)`", page.read_text())}
    assert named
    assert named <= TESTS


def test_every_file_that_a_page_leads_to_is_there():
    for page in [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"


def test_every_make_target_that_a_page_names_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = [ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for page in pages for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"benchmark-quality", "benchmark-training", "benchmark-answers", "benchmark-data"} <= named
    assert named <= targets


def test_every_settings_file_says_what_it_is_for():
    for path in (ROOT / "pipelines" / "targets").glob("*.toml"):
        assert path.read_text().startswith("# "), path.name


def test_a_command_names_the_environments_python():
    for name in ("README.md", "docs/operations.md", "docs/targets.md", "docs/kubeflow.md", "docs/vertex.md"):
        page = (ROOT / name).read_text()
        named = re.findall(r"(\S*)(?:python -m components|recsys (?:ingest|publications|models|freshness))", page)
        assert {each.strip("`") for each in named} <= {".venv/bin/"}, name
