"""What the commands of make give to the demo, and the demo to `recsys`."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from demo.workspace import Workspace
from tests.commands.test_user import published

__all__ = ["published"]

ROOT = Path(__file__).parents[2]


def arguments(tmp_path: Path, *command: str) -> list[str]:
    """What a command of make gives to `python`."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    python.chmod(0o700)
    # As if everything were installed, of which the target is a file that is there.
    make = ["make", "--no-print-directory", *command, f"BIN={tmp_path}", "INSTALLED=Makefile"]
    environment = {**os.environ, "USER": "somebody"}
    done = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[4:-1]


def test_a_user_must_be_named_and_who_is_logged_in_is_none(tmp_path: Path) -> None:
    assert arguments(tmp_path, "user") == ["user", ""]
    assert arguments(tmp_path, "user", "USER=7") == ["user", "7"]


def test_no_shell_reads_what_make_is_given(tmp_path: Path) -> None:
    odd = """a "b" `touch oops` '; touch oops"""
    assert arguments(tmp_path, "user", f"USER={odd}", f"RANK_BY={odd}", f"GENRE={odd}") == [
        "user", odd, "--rank-by", odd, "--genre", odd,
    ]  # fmt: skip
    for command in ("user", "explore", "psql"):
        assert arguments(tmp_path, command, f"DATA={odd}")[-2:] == ["--data", odd]
    assert not (ROOT / "oops").exists()


def test_who_reads_no_further_ends_it_without_a_stack_trace(published: str, tmp_path: Path) -> None:
    place = Workspace(tmp_path / "local")
    place.root.mkdir(parents=True)
    place.remember(os.environ["DATABASE_URL"])
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "demo", "--place", str(place.root), "user", "ann"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
