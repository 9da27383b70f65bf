"""The demo's workspace: a folder with its database, stores and results, `local/` by default."""

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

from psycopg2.extensions import make_dsn

from demo.postgres import EmbeddedPostgres, programs
from steam_recsys.database.urls import connection_parameters
from steam_recsys.errors import UserError


@dataclass(frozen=True)
class Workspace:
    """The demo's folder, with the embedded database, the stores and the results of the last run."""

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
    def first_night(self) -> Path:
        """The folder of the raw files of the first of two nights, until they are ingested."""
        return self.root / "first-night"

    @property
    def notebooks(self) -> Path:
        """The folder of the user's copies of the notebooks."""
        return self.root / "notebooks"

    @property
    def summary(self) -> Path:
        """The summary of the last run, as JSON."""
        return self.root / "summary.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the workspace for this process; a process that dies releases its lock.

        Raises:
            UserError: Another demo is running in this workspace.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise UserError(
                    f"{file.read() or 'Another demo'} is running in {self.root}: wait until it ends."
                ) from None
            file.truncate(0)
            file.write(f"The demo of process {os.getpid()}, since {datetime.now():%H:%M:%S},")
            file.flush()
            yield

    def keep_pages(self) -> list[Path]:
        """Copy the newest pages of evaluation and monitoring into the workspace and return their paths."""
        return [self.keep_page(task, name) for task, name in (("evaluate", "evaluation"), ("monitor", "monitoring"))]

    def keep_page(self, task: str, name: str) -> Path:
        """Copy a task's newest page to `<name>.html`, which a browser opens, and return its path."""
        reports = (self.root / "artifacts").glob(f"**/{task}/report")
        page = self.root / f"{name}.html"
        shutil.copyfile(max(reports, key=lambda report: report.stat().st_mtime), page)
        return page

    def database_url(self, data: Path | None) -> str:
        """Return the URL of the database to use.

        That is DATABASE_URL if it names the user's own server. Otherwise it is a database on the embedded server, one
        per folder of data, so that two shops never mix.

        Raises:
            UserError: DATABASE_URL is not a PostgreSQL URL.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if url := self._own_database_url():
            return url
        self.postgres.start()
        return self.postgres.ensure_database(_database_name(data) if data else "synthetic")

    def record_load(self, url: str, raw: Path) -> Path | None:
        """Record that a database is loaded from a folder; return the folder of the load before, if it was another."""
        note = self.store(url) / "loaded-from"
        before = Path(note.read_text().removesuffix("\n")) if note.exists() else None
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(f"{raw.resolve()}\n")
        return before if before != raw.resolve() else None

    def record_success(self, url: str) -> None:
        """Record the database and the store of a successful run, in `database-url` and `store-path`."""
        path = self.root / "database-url"
        path.touch(mode=0o600)
        path.chmod(0o600)  # also if it existed
        path.write_text(url + "\n")
        (self.root / "store-path").write_text(f"{self.store(url)}\n")

    def known_database_url(self, data: Path | None = None) -> str:
        """Return the URL of the last successful run's database, or of a folder's database even if its run failed.

        Starts the embedded server if necessary, and creates nothing.

        Raises:
            UserError: There was no run yet, or none of that folder.
        """
        if data is not None:
            return self._own_database_url() or self._database_url_of(data)
        path = self.root / "database-url"
        if not path.exists():
            raise UserError("The demo has not run yet: run make demo first.")
        url = path.read_text().strip()
        if self.postgres.owns(url):
            self.postgres.start()
            url = self.postgres.url(_parts(url)["dbname"])
            path.write_text(url + "\n")
        return url

    def _own_database_url(self) -> str:
        """Return DATABASE_URL if it names the user's own server, else an empty text.

        Raises:
            UserError: It is not a PostgreSQL URL.
        """
        url = os.environ.get("DATABASE_URL", "")
        _parts(url)
        return "" if self.postgres.owns(url) else url

    def _database_url_of(self, data: Path) -> str:
        if self.postgres.exists():
            self.postgres.start()
            if self.postgres.has_database(_database_name(data)):
                return self.postgres.url(_database_name(data))
        raise UserError(f"The demo has not run on {data} yet: run make demo DATA={data} first.")

    def shows(self, data: Path) -> bool:
        """Return whether the last successful run used a folder of data and the embedded server."""
        path = self.root / "database-url"
        url = path.read_text().strip() if path.exists() else ""
        return self.postgres.owns(url) and _parts(url).get("dbname") == _database_name(data)

    def store(self, url: str) -> Path:
        """Return the store of a database; models use the ids of one database.

        Its folder is named after the database only if that is a plain name, as it might be a part of a password that
        contains a slash.

        Raises:
            UserError: The URL is not a PostgreSQL URL.
        """
        parts = _parts(url)
        name = parts.get("dbname", "default")
        if not self.postgres.owns(url):  # its port may change
            plain = _identifier(name) if re.fullmatch(r"[\w.-]+", name) else "database"
            host, port = parts.get("host"), parts.get("port")
            name = f"{plain}_{_digest(f'{host}:{port}/{name}')}"
        return (self.root / "store" / name).resolve()

    def open_psql(self, url: str) -> None:
        """Replace this process with psql on a database."""
        parts = _parts(url)
        if password := parts.pop("password", None):
            os.environ["PGPASSWORD"] = password  # other users of the machine can read a process's arguments
        psql = self.psql(url)
        os.execv(psql, [psql, make_dsn(**parts)])

    def psql(self, url: str) -> str:
        """Return the psql to use: the installed one, which edits lines, or the embedded server's if that is newer."""
        installed = shutil.which("psql")
        if installed and not self.postgres.owns(url):
            return installed
        embedded = str(programs() / "psql")
        # An older psql queries columns that a newer server no longer has.
        return installed if installed and _version(installed) >= _version(embedded) else embedded


def _parts(url: str) -> dict[str, str]:
    try:
        return connection_parameters(url)
    except ValueError as error:
        raise UserError(f"DATABASE_URL is {error}.") from None


def _version(psql: str) -> int:
    """Return a psql's major version, 0 if it is unknown."""
    printed = subprocess.run([psql, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\(PostgreSQL\) (\d+)", printed)
    return int(found[1]) if found else 0


def _database_name(data: Path) -> str:
    """Return a folder's database name; folders of equal names in different parents have different ones."""
    return f"{_identifier(data.resolve().name)}_{_digest(str(data.resolve()))}"


def _identifier(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40] or "data"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
