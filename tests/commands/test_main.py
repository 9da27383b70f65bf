import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from commands import __main__ as module
from commands.__main__ import COMMANDS, main
from tests.canaries import MALFORMED, leaked
from tests.raw_files import review, write_raw
from tests.webhook import Webhook

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


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize(
    "command",
    [
        ["ingest", "--raw", "raw"],
        ["publications", "list"],
        ["publications", "rollback"],
        ["freshness"],
        ["freshness", "--alerts", "env:ALERTS_URL"],
        ["user", "ann"],
    ],
    ids=" ".join,
)
def test_no_command_shows_a_part_of_a_password_in_a_malformed_url(
    command: list[str],
    url: str,
    tmp_path: Path,
    webhook: Webhook,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_raw(tmp_path / "raw", [review("Portal", "ann")])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code
    printed = f"{capfd.readouterr()} {ended.value.code} {webhook.bodies}"
    assert "DATABASE_URL" in printed
    assert leaked(printed) == []


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_ended_ends_the_command_without_a_traceback(unbuffered: str) -> None:
    script = """if True:
        import sys
        from types import SimpleNamespace
        from commands.__main__ import main

        sys.modules["commands.freshness"] = SimpleNamespace(
            add_arguments=lambda parser: None, run=lambda parsed: print(sys.stdin.readline() * 10_000)
        )
        main(["freshness"])
    """
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, errors = process.communicate("a line\n", timeout=60)
    assert (process.returncode, errors) == (1, "")


def test_another_broken_connection_is_not_taken_for_a_reader_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> None:
        raise BrokenPipeError("a database's")

    monkeypatch.setattr(module, "import_module", import_module)
    with pytest.raises(BrokenPipeError, match="a database's"):
        main(["freshness"])
