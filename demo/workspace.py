"""Where the demo keeps its things: the folder `local/`."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from demo.postgres import EmbeddedPostgres, programs
from steam_recsys.errors import UserError


@dataclass(frozen=True)
class Workspace:
    """The demo's folder, with the embedded database, the stores and what a run leaves to read."""

    root: Path

    @property
    def postgres(self) -> EmbeddedPostgres:
        """The embedded server."""
        return EmbeddedPostgres(self.root / "postgres")

    @property
    def build(self) -> Path:
        """The folder of the compiled pipelines."""
        return self.root / "build"

    @property
    def summary(self) -> Path:
        """What the last run did, as JSON."""
        return self.root / "summary.json"

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Keep the place to this process for as long as the body lasts; what a process that dies had taken is free.

        Raises:
            UserError: another demo is at work here.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                raise UserError(
                    f"{lock.read() or 'Another demo'} is at work in {self.root}: wait for its end."
                ) from None
            lock.truncate(0)
            lock.write(f"The demo of process {os.getpid()}, since {datetime.now():%H:%M:%S},")
            lock.flush()
            yield

    def keep_pages(self) -> list[Path]:
        """Copy the newest pages of the evaluation and the monitoring to where a browser opens them; where that is."""
        return [self.keep_page(task, name) for task, name in (("evaluate", "evaluation"), ("monitor", "monitoring"))]

    def keep_page(self, task: str, name: str) -> Path:
        """Copy the newest page of a task to where a browser opens it; where that is."""
        reports = (self.root / "artifacts").glob(f"**/{task}/report")
        page = self.root / f"{name}.html"
        shutil.copyfile(max(reports, key=lambda report: report.stat().st_mtime), page)
        return page

    def database_url(self, data: Path | None) -> str:
        """The URL of the database to use.

        It is DATABASE_URL where that names a server of the user's own; otherwise one of the embedded server's, one for
        each folder of data, so that two shops never mix.

        Raises:
            UserError: DATABASE_URL is none.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if url := self._own_database_url():
            return url
        self.postgres.start()
        return self.postgres.ensure_database(_named(data) if data else "synthetic")

    def load(self, url: str, raw: Path) -> Path | None:
        """Note that a database is loaded from a folder; the other one that it was loaded from last, if any."""
        note = self.store(url) / "loaded-from"
        before = Path(note.read_text().removesuffix("\n")) if note.exists() else None
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{raw.resolve()}\n")
        return before if before != raw.resolve() else None

    def remember(self, url: str) -> None:
        """Make a database and its store those to look at, in `database-url` and `store-path`: a run has succeeded."""
        path = self.root / "database-url"
        path.touch(mode=0o600)
        path.write_text(url + "\n")
        (self.root / "store-path").write_text(f"{self.store(url)}\n")

    def known_database_url(self, data: Path | None = None) -> str:
        """The URL of the last successful run's database, or of the one that a folder of data has, whatever its run did.

        The embedded server is started where it is not running; nothing is made.

        Raises:
            UserError: there was no run yet, or none of that folder.
        """
        if data is not None:
            return self._own_database_url() or self._database_url_of(data)
        path = self.root / "database-url"
        if not path.exists():
            raise UserError("There is no demo to look at yet: run make demo first.")
        url = path.read_text().strip()
        if self.postgres.owns(url) and not self.postgres.running():
            self.postgres.start()
            url = self.postgres.url(_parts(url)["dbname"])
            path.write_text(url + "\n")
        return url

    def _own_database_url(self) -> str:
        """DATABASE_URL where that names a server of the user's own, else nothing.

        Raises:
            UserError: it is no URL.
        """
        url = os.environ.get("DATABASE_URL", "")
        _parts(url)
        return "" if self.postgres.owns(url) else url

    def _database_url_of(self, data: Path) -> str:
        if self.postgres.exists():
            self.postgres.start()
            if self.postgres.has_database(_named(data)):
                return self.postgres.url(_named(data))
        raise UserError(f"There is no demo of {data} to look at: run make demo DATA={data} first.")

    def shows(self, data: Path) -> bool:
        """Whether the last successful run was of a folder of data, on the embedded server."""
        path = self.root / "database-url"
        url = path.read_text().strip() if path.exists() else ""
        return self.postgres.owns(url) and _parts(url).get("dbname") == _named(data)

    def store(self, url: str) -> Path:
        """The store that goes with a database: models speak of one database's ids.

        Raises:
            UserError: the URL is none.
        """
        parts = _parts(url)
        name = parts.get("dbname", "default")
        if not self.postgres.owns(url):  # whose port changes from start to start
            server = f"{parts.get('host')}:{parts.get('port')}/{name}"
            name = f"{_identifier(name)}_{_digest(server)}"
        return (self.root / "store" / name).resolve()

    def open_psql(self, url: str) -> None:
        """Become a psql on a database."""
        parts = _parts(url)
        if password := parts.pop("password", None):
            os.environ["PGPASSWORD"] = password  # other users of the machine can read a process's arguments
        psql = self.psql(url)
        os.execv(psql, [psql, make_dsn(**parts)])

    def psql(self, url: str) -> str:
        """The psql for a database: the machine's own, which edits lines; the embedded server's where that is newer."""
        installed = shutil.which("psql")
        if installed and not self.postgres.owns(url):
            return installed
        embedded = str(programs() / "psql")
        # An older one asks the server for columns that it no longer has.
        return installed if installed and _version(installed) >= _version(embedded) else embedded


def _parts(url: str) -> dict[str, str]:
    try:
        return dict(parse_dsn(url))
    except psycopg2.ProgrammingError:
        raise UserError("DATABASE_URL is not a PostgreSQL URL: set it to postgresql://user@host:port/name.") from None


def _version(psql: str) -> int:
    """The major version of a psql; 0 where it says none."""
    said = subprocess.run([psql, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\(PostgreSQL\) (\d+)", said)
    return int(found[1]) if found else 0


def _named(data: Path) -> str:
    """A database's name for a folder: two folders of the same name have two."""
    return f"{_identifier(data.resolve().name)}_{_digest(str(data.resolve()))}"


def _identifier(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40] or "data"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
