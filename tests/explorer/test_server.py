"""The explorer as a program: startup, workers, signals and settings."""

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from explorer.server import listen
from explorer.settings import Settings
from steam_recsys.errors import UserError
from steam_recsys.logging import mask_record
from steam_recsys.secrets import mask
from tests.canaries import MALFORMED, leaked
from tests.explorer.conftest import PublishedShop, serving, wait_until

ROOT = Path(__file__).parents[2]


@contextmanager
def started(published_shop: PublishedShop, log: Path, **further: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the program and return it with its URL; stop it at the end."""
    environment = {
        **os.environ, "EXPLORER_DATABASE_URL": published_shop.reader_url, "EXPLORER_STORE": published_shop.store,
        "EXPLORER_PORT": "0", **further,
    }  # fmt: skip
    command = [sys.executable, "-m", "explorer"]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    try:
        yield process, re.fullmatch(r"explorer: (http://127\.0\.0\.1:\d+)\n", process.stdout.readline())[1]
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(300)
        process.stdout.close()


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children():
        with suppress(psutil.NoSuchProcess):  # it has ended, its parent has not noticed yet
            found += [child] if "spawn_main" in " ".join(child.cmdline()) else []
    return found


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", verify=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_and_leaves_nothing_after_a_signal(
    published_shop: PublishedShop, tmp_path: Path, number: signal.Signals
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with started(published_shop, tmp_path / "log", TMPDIR=str(temporary)) as (process, url):
        wait_until(lambda: answers(url))
        assert httpx.get(f"{url}/api/v1/users/1/recommendations").json()["version"] == published_shop.plan.version
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, number)  # as a terminal does with Ctrl-C
        assert process.wait(300) == 0
    assert psutil.wait_procs(children, timeout=300)[1] == []  # the last one ends a moment after its parent
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_ctrl_c_during_startup_leaves_no_traceback(published_shop: PublishedShop, tmp_path: Path) -> None:
    with started(published_shop, tmp_path / "log") as (process, _):
        wait_until(lambda: len(workers(process)) == 2)
        children = workers(process)
        wait_until(lambda: all(child.cpu_times().user > 0.3 for child in children))  # during their imports
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(300) == 0
    assert psutil.wait_procs(children, timeout=300)[1] == []
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
def test_a_killed_worker_is_replaced(published_shop: PublishedShop, tmp_path: Path) -> None:
    with started(published_shop, tmp_path / "log", EXPLORER_WORKERS="1") as (process, url):
        wait_until(lambda: answers(url))
        (worker,) = workers(process)
        worker.kill()
        wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
        wait_until(lambda: answers(url))
        assert process.poll() is None
    assert "A worker ended with -9" in (tmp_path / "log").read_text()


def answered(port: int, times: int) -> int:
    """Count the new connections that are answered."""
    count = 0
    for _ in range(times):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
            count += connection.recv(1 << 12).startswith(b"HTTP/1.1 200")
    return count


def end(worker: psutil.Process) -> None:
    """Kill a worker whose parent is stopped, and wait until its sockets are closed: a lone zombie has none."""
    worker.kill()
    wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE)
    with suppress(psutil.ZombieProcess):  # its threads are unknown on macOS
        wait_until(lambda: worker.num_threads() == 1)


@contextmanager
def stopped(process: subprocess.Popen[str] | psutil.Process) -> Iterator[None]:
    """Stop a process for the body."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.slow
def test_a_dead_worker_and_its_unready_successor_take_no_connections(
    published_shop: PublishedShop, tmp_path: Path
) -> None:
    with started(published_shop, tmp_path / "log") as (process, url):
        port = int(url.rpartition(":")[2])
        wait_until(lambda: len(workers(process)) == 2)
        assert answered(port, 20) == 20
        dead, survivor = workers(process)
        with stopped(process):  # so that there is no successor yet
            end(dead)
            assert answered(port, 60) == 60
        wait_until(lambda: len(set(workers(process)) - {dead, survivor}) == 1)
        (successor,) = set(workers(process)) - {dead, survivor}
        with stopped(successor):  # during its imports
            assert answered(port, 60) == 60
        wait_until(lambda: answered(port, 20) == 20)


def test_connections_wait_for_a_worker_while_none_listens(published_shop: PublishedShop, tmp_path: Path) -> None:
    with started(published_shop, tmp_path / "log", EXPLORER_WORKERS="1") as (process, url):
        port = int(url.rpartition(":")[2])
        wait_until(lambda: len(workers(process)) == 1)
        (worker,) = workers(process)
        with stopped(process):
            end(worker)
            with pytest.raises(OSError, match="Address already in use"):
                socket.create_server(("127.0.0.1", port))
            waiting = socket.create_connection(("127.0.0.1", port), timeout=300)
            waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
        with waiting:
            assert waiting.recv(1 << 12).startswith(b"HTTP/1.1 200")


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(published_shop: PublishedShop, tmp_path: Path) -> None:
    with started(published_shop, tmp_path / "log") as (process, url):
        wait_until(lambda: answers(url))
        children = workers(process)
        assert len(children) == 2
        process.kill()
        _, alive = psutil.wait_procs(children, timeout=300)
        for child in alive:
            child.kill()
    assert alive == []


def test_connections_are_spread_over_the_workers(published_shop: PublishedShop, tmp_path: Path) -> None:
    with started(published_shop, tmp_path / "log") as (process, url):
        wait_until(lambda: answers(url))
        port = int(url.rpartition(":")[2])
        connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
        for connection in connections:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: here\r\n\r\n")
            assert connection.recv(1 << 12).startswith(b"HTTP/1.1 200")
        held = [
            sum(
                found.laddr.port == port and found.status == psutil.CONN_ESTABLISHED
                for found in worker.net_connections()
            )
            for worker in workers(process)
        ]
        for connection in connections:
            connection.close()
    assert len(held) == 2
    assert sum(held) == 60
    assert min(held) >= 10  # a worker also takes one that a busy one leaves for too long


def test_other_folders_in_the_cache_folder_stay(published_shop: PublishedShop, tmp_path: Path) -> None:
    (tmp_path / "cache" / "of another program").mkdir(parents=True)
    with started(published_shop, tmp_path / "log", EXPLORER_CACHE=str(tmp_path / "cache")) as (_, url):
        wait_until(lambda: answers(url))
        assert len(list((tmp_path / "cache").iterdir())) == 2
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["of another program"]


def test_a_taken_port_is_reported() -> None:
    first = listen("127.0.0.1", 0)
    with first, pytest.raises(UserError, match=r"cannot listen on 127.0.0.1, port \d+ \(Address already in use\): set"):
        listen("127.0.0.1", first.getsockname()[1])


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("EXPLORER_DATABASE_URL", None, "EXPLORER_DATABASE_URL is not set: set it in the environment."),
        (
            "EXPLORER_DATABASE_URL",
            "mysql://me:hidden@host/db",
            "not a PostgreSQL URL like postgresql://user:password@host:port/database",
        ),
        ("EXPLORER_DATABASE_URL", "postgresql://me:hidden/word@host/db", "not a PostgreSQL URL like postgresql://"),
        ("EXPLORER_OPERATOR_DATABASE_URL", "postgresql://me:hidden/word@host/db", "write %2F for /"),
        (
            "EXPLORER_DATABASE_URL",
            "postgresql://me:hidden@host/db?sslmode=require&channel_binding=require",
            "EXPLORER_DATABASE_URL is invalid (channel_binding is not supported",
        ),
        ("EXPLORER_DATABASE_URL", "postgresql://me:word@host/db?hidden=1", "or one with an unknown parameter"),
        ("EXPLORER_OPERATOR_TOKEN", "hidden", "EXPLORER_OPERATOR_TOKEN is invalid"),
        (
            "EXPLORER_OPERATOR_TOKEN",
            "hidden hidden hidden",
            "EXPLORER_OPERATOR_TOKEN is set without EXPLORER_OPERATOR_DATABASE_URL: set both or neither.",
        ),
        (
            "EXPLORER_PUBLISH_TO",
            "both",
            "EXPLORER_PUBLISH_TO is both without EXPLORER_MONGODB_URL: set the URL too.",
        ),
        ("EXPLORER_WORKERS", "many", "EXPLORER_WORKERS is invalid"),
        ("EXPLORER_PORT", "65536", "EXPLORER_PORT is invalid"),
        (
            "EXPLORER_CACHE",
            "/dev/null/no",
            "Cannot create a folder in /dev/null/no (Not a directory): set EXPLORER_CACHE.",
        ),
        (
            "EXPLORER_DATABASE",
            "hidden",
            "Unknown setting EXPLORER_DATABASE: the settings are EXPLORER_",
        ),
    ],
)
def test_invalid_settings_are_reported_without_their_values(variable: str, value: str | None, sentence: str) -> None:
    environment = {**os.environ, "EXPLORER_DATABASE_URL": "postgresql://me@127.0.0.1:1/nothing", "EXPLORER_PORT": "0"}
    environment.pop(variable, None)
    if value is not None:
        environment[variable] = value
    done = subprocess.run([sys.executable, "-m", "explorer"], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("explorer: ")
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
    assert "hidden" not in done.stderr
    assert done.stdout == ""


def test_without_a_folder_for_temporary_files_the_error_is_one_sentence() -> None:
    code = "import sys, tempfile; tempfile.tempdir = '/dev/null/no'; from explorer.__main__ import main; main()"
    environment = {**os.environ, "EXPLORER_DATABASE_URL": "postgresql://me@127.0.0.1:1/nothing", "EXPLORER_PORT": "0"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "explorer: Cannot create a folder in the folder for temporary files (Not a directory): set EXPLORER_CACHE.\n"
    )


def test_with_a_cache_folder_a_worker_needs_no_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/dev/null/no")
    settings = Settings(database_url="postgresql://me@127.0.0.1:1/nothing", cache=tmp_path)
    with serving(settings) as served:
        assert served.client.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///shop?host=/var/run/postgresql&user=me",
        "postgres://me:p%2Fw@[::1]:5432/shop",
        "postgresql://me:a%40b@first:5432,second:5433/shop?target_session_attrs=any",
        "postgresql://here",
        "postgresql://me:p#w?d@here/shop?connect_timeout=10",
        "host=here dbname=shop user=me",
        "postgresql://here/shop?user=me@company&sslmode=verify-full&sslrootcert=/etc/ca.pem&options=-csearch_path%3Da",
    ],
)
def test_every_kind_of_database_url_is_accepted(url: str) -> None:
    assert Settings(database_url=url).database_url.get_secret_value() == url


@pytest.mark.parametrize("url", MALFORMED)
def test_a_malformed_url_is_reported_without_a_part_of_its_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_DATABASE_URL", url)
    try:
        shown = repr(Settings.load())
    except UserError as error:
        shown = str(error)
    assert leaked(shown) == []


def test_white_space_around_secrets_is_removed_and_they_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_DATABASE_URL", " postgresql://me:Sup3rS@here/db\n")
    monkeypatch.setenv("EXPLORER_OPERATOR_TOKEN", "S3cr3tPw S3cr3tPw\n")
    monkeypatch.setenv("EXPLORER_OPERATOR_DATABASE_URL", "postgresql://me@here/db")
    settings = Settings.load()
    assert settings.database_url.get_secret_value() == "postgresql://me:Sup3rS@here/db"
    assert settings.operator_token
    assert settings.operator_token.get_secret_value() == "S3cr3tPw S3cr3tPw"
    record = logging.LogRecord("explorer", logging.ERROR, "", 1, "The password %s of %s", ("Sup3rS", "me"), None)
    assert mask_record(record)
    assert record.getMessage() == "The password *** of me"
    assert mask("a token: S3cr3tPw S3cr3tPw") == "a token: ***"


def test_empty_settings_count_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXPLORER_DATABASE_URL", "postgresql://me@here/db")
    monkeypatch.setenv("EXPLORER_STORE", "")
    monkeypatch.setenv("EXPLORER_OPERATOR_TOKEN", "")
    settings = Settings.load()
    assert (settings.store, settings.operator_token) == (None, None)
