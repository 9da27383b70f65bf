"""Where the demo keeps its things: the folder `local/`."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from components.shared.errors import UserError
from demo.postgres import EmbeddedPostgres, programs


@dataclass(frozen=True)
class Place:
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

    def database_url(self, data: Path | None) -> str:
        """The URL of the database to use, written to `database-url` as well.

        It is DATABASE_URL where that is set; otherwise one of the embedded server's, one for each folder of data, so
        that two shops never mix.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        url = os.environ.get("DATABASE_URL")
        if not url:
            self.postgres.start()
            url = self.postgres.ensure_database(_identifier(data.resolve().name) if data else "synthetic")
        path = self.root / "database-url"
        path.touch(mode=0o600)
        path.write_text(url + "\n")
        return url

    def known_database_url(self) -> str:
        """The URL of the last run's database; its embedded server is started where it is not running.

        Raises:
            UserError: there was no run yet.
        """
        path = self.root / "database-url"
        if not path.exists():
            raise UserError("There is no demo to look at yet: run make demo first.")
        url = path.read_text().strip()
        if (self.postgres.data / "PG_VERSION").exists() and not self.postgres.running() and self.postgres.owns(url):
            self.postgres.start()
            url = self.postgres.url(_database(url))
            path.write_text(url + "\n")
        return url

    def store(self, url: str) -> Path:
        """The store that goes with a database: models speak of one database's ids."""
        return (self.root / "store" / _identifier(_database(url))).resolve()

    def psql(self) -> str:
        """The path of a psql: the machine's own, or the embedded server's."""
        return shutil.which("psql") or str(programs() / "psql")


def _database(url: str) -> str:
    return urlsplit(url).path.lstrip("/") or "default"


def _identifier(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40] or "data"
