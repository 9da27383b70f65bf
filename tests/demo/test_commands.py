"""The arguments that make passes to the demo, and the demo to `recsys`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from demo.workspace import Workspace
from tests.commands.test_user import published

__all__ = ["published"]

ROOT = Path(__file__).parents[2]


def arguments(tmp_path: Path, *command: str) -> list[str]:
    """Return the arguments that a make target passes to `python`."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    python.chmod(0o700)
    # INSTALLED names an existing file, so make skips the installation.
    make = ["make", "--no-print-directory", *command, f"BIN={tmp_path}", "INSTALLED=Makefile"]
    environment = {**os.environ, "USER": "login"}
    done = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[4:-1]


def test_the_login_name_is_not_taken_for_the_user(tmp_path: Path) -> None:
    assert arguments(tmp_path, "user") == ["user", ""]
    assert arguments(tmp_path, "user", "USER=7") == ["user", "7"]


def test_no_shell_interprets_makes_arguments(tmp_path: Path) -> None:
    odd = """a "b" `touch oops` '; touch oops"""
    assert arguments(tmp_path, "user", f"USER={odd}", f"RANK_BY={odd}", f"GENRE={odd}") == [
        "user", odd, "--rank-by", odd, "--genre", odd,
    ]  # fmt: skip
    for command in ("user", "explore", "notebook", "psql"):
        assert arguments(tmp_path, command, f"DATA={odd}")[-2:] == ["--data", odd]
    assert not (ROOT / "oops").exists()


@pytest.mark.parametrize(
    "variable", ["USER", "DATA", "RANK_BY", "GENRE", "SHELVES", "BUILD", "LOCAL", "OTHER", "GIVEN"]
)
def test_make_runs_nothing_in_its_arguments(variable: str, tmp_path: Path) -> None:
    odd = f"$(shell touch {tmp_path}/oops) $(info oops) ${{HOME}} $$x"
    passed = arguments(tmp_path, "user", "USER=7", f"{variable}={odd}")
    assert not (tmp_path / "oops").exists()
    assert odd in passed if variable in ("USER", "DATA", "RANK_BY", "GENRE") else "--shelves" in passed or passed


@pytest.mark.parametrize("variable", ["DATA", "GENRE", "BUILD", "REGISTRY", "PYTHON"])
def test_make_runs_nothing_in_the_environment(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, f"$(shell touch {tmp_path}/oops)")
    arguments(tmp_path, "user", "USER=7")
    assert not (tmp_path / "oops").exists()


def test_the_number_of_nights_is_passed_on(tmp_path: Path) -> None:
    assert arguments(tmp_path, "demo") == ["run"]
    assert arguments(tmp_path, "demo", "DATA=a b", "NIGHTS=1") == ["run", "--data", "a b", "--nights", "1"]


def test_help_lists_every_command_once_and_in_a_group() -> None:
    done = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    first, *groups = done.stdout.split("\n\n")
    assert first.split() == ["make", "help", "List", "the", "commands"]
    assert [group.partition(":\n")[0] for group in groups] == ["Try it", "Develop", "Images", "Clusters", "Benchmarks"]
    listed = re.findall(r"^  make ([a-z-]+) ", done.stdout, re.MULTILINE)
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert sorted(listed) == sorted(phony.split())


def test_the_options_of_a_build_are_words_and_no_commands(tmp_path: Path) -> None:
    passed = arguments(tmp_path, "images", "REGISTRY=r", "BUILD=--label=a=*; touch oops `touch oops`")
    assert passed == ["r", "--label=a=*;", "touch", "oops", "`touch", "oops`"]
    assert not (ROOT / "oops").exists()


def test_a_closed_pipe_ends_the_command_without_a_stack_trace(published: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "local")
    workspace.root.mkdir(parents=True)
    workspace.record_success(os.environ["DATABASE_URL"])
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "demo", "--workspace", str(workspace.root), "user", "ann"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")
