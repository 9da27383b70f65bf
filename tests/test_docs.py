"""README, the pages in `docs/` and the documentation site, compared with the code."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from pydantic_core import PydanticUndefined

from explorer.settings import Settings
from pipelines.compilation import PIPELINES, build_pipeline
from pipelines.target import Kubeflow, Target, TaskSettings, Vertex
from tests.test_readme import PAGES as TESTED_PAGES

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
TARGETS = (ROOT / "docs" / "targets.md").read_text()


def test_every_setting_is_documented():
    for settings in (Target, TaskSettings, Vertex, Kubeflow):
        for key in settings.model_fields:
            named = f"`{key}`" in TARGETS or f"`[{key}]`" in TARGETS or f"`[{key}." in TARGETS
            assert named or key == "name", f"{settings.__name__}.{key}"


def test_every_parameter_of_the_pipelines_is_documented():
    for name in PIPELINES:
        for key in build_pipeline(Target.load("local"), name).component_spec.inputs:
            assert f"`{key}`" in TARGETS, key


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_links_to_exists(page: Path):
    for link in re.findall(r"]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_every_make_target_that_a_page_names_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for page in PAGES for name in re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(), re.MULTILINE)}
    assert {"benchmark-quality", "benchmark-training", "benchmark-answers", "benchmark-data"} <= named
    assert named - {"benchmark-"} <= targets  # as in `make benchmark-…`


def test_every_shell_and_python_block_of_docs_is_run_by_a_test():
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    with_blocks = {
        page.relative_to(ROOT).as_posix() for page in pages if re.search(r"```(sh|python)", page.read_text())
    }
    assert with_blocks == {*TESTED_PAGES, "docs/notebooks.md"}  # the latter by tests/examples


def test_every_result_in_readme_is_a_figure_of_the_benchmarks():
    _, _, results = (ROOT / "README.md").read_text().partition("\n## Results\n")
    results, _, _ = results.partition("\n## ")
    figures, measured = (
        set(re.findall(r"-?\d+\.\d+", text)) for text in (results, (ROOT / "benchmarks" / "README.md").read_text())
    )
    assert len(figures) > 15
    assert figures - {"2.1"} <= measured  # in GB, and there in MB


def test_every_settings_file_says_what_it_is_for():
    for path in (ROOT / "pipelines" / "targets").glob("*.toml"):
        assert path.read_text().startswith("# "), path.name


def test_a_suggested_command_starts_with_the_environments_python():
    for page in PAGES:
        commands = (
            r"(\S*)(?:python -m (?:components|containers|pytest)|recsys (?:ingest|publications|models|freshness))"
        )
        named = re.findall(commands, page.read_text())
        assert all(re.fullmatch(r"(`|\w+=\$\()?\.venv/bin/", each) for each in named), page.name


class Loaded(HTMLParser):
    """The addresses that a page loads when a browser opens it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what is loaded; links that a reader clicks are not."""
        for name, value in attrs:
            if value and (name in ("src", "srcset") or (tag == "link" and name == "href")):
                self.addresses.append(value)


def test_the_site_builds_strictly_has_every_page_and_loads_nothing_from_other_hosts(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for page in PAGES:
        title = re.search(r"^# (.*)", page.read_text(), re.MULTILINE)[1]
        pages = [path for path in tmp_path.glob("*.html") if re.search(f"<h1.*>{title}<a", path.read_text())]
        assert len(pages) == 1, page.name
    for path in tmp_path.glob("*.html"):
        loaded = Loaded()
        loaded.feed(path.read_text())
        assert loaded.addresses
        assert not [each for each in loaded.addresses if "//" in each], path.name


def test_code_blocks_in_lists_are_indented():
    for page in PAGES:
        assert all(len(indent) % 4 == 0 for indent in re.findall(r"^( *)```", page.read_text(), re.MULTILINE)), (
            page.name
        )


def test_the_settings_of_github_and_of_pre_commit_are_yaml():
    paths = [*(ROOT / ".github").rglob("*.yml"), *(ROOT / ".github").rglob("*.yaml"), ROOT / ".pre-commit-config.yaml"]
    assert len(paths) == 7
    for path in paths:
        assert isinstance(yaml.safe_load(path.read_text()), dict), path.name


def test_dependabot_and_pre_commit_name_what_exists():
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text())["updates"]
    for update in updates:
        for directory in update.get("directories", [update.get("directory")]):
            assert (ROOT / directory.lstrip("/")).is_dir(), directory
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].startswith(".venv/bin/")
