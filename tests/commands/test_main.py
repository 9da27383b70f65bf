import re
import subprocess
import sys
from pathlib import Path

import pytest

from commands import __main__ as module
from commands.__main__ import COMMANDS, main

ROOT = Path(__file__).parents[2]


def test_every_command_is_in_the_help_and_has_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    for name in COMMANDS:
        assert f"\n  {name} " in printed
        with pytest.raises(SystemExit) as ended:
            main([name, "--help"])
        assert ended.value.code == 0
        assert f"usage: recsys {name} " in capsys.readouterr().out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    (declared,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert capsys.readouterr().out == f"recsys {declared}\n"


def test_help_imports_no_command() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "commands", "--help"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stderr
    assert not re.search(r"\| +(psycopg2|numpy|commands\.\w+)$", said, re.MULTILINE)


def test_a_missing_package_is_named_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        raise ModuleNotFoundError(name="asyncpg")

    monkeypatch.setattr(module, "import_module", import_module)
    with pytest.raises(SystemExit, match="recsys: explore needs the Python module asyncpg, which is not installed"):
        main(["explore"])
