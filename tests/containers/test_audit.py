"""The audit of requirements, by pip-audit itself, against a database of vulnerabilities of the test's own."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from containers.audit import NotAskedError, audit
from steam_recsys.errors import UserError

HASH = "--hash=sha256:" + "0" * 64
VULNERABILITY = {
    "id": "TEST-2026-1",
    "summary": "Test",
    "details": "Test",
    "published": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "second", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0"}]}],
        }
    ],
}


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    path = tmp_path / "some.txt"
    path.write_text(f"first==1.0 {HASH}\nsecond==2.0 {HASH}\n")
    return path


@pytest.fixture
def known() -> set[str]:
    """The packages that have vulnerabilities."""
    return set()


@pytest.fixture
def database(known: set[str]) -> Iterator[str]:
    """The URL of a server that answers as OSV does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            found = {"vulns": [VULNERABILITY]} if asked["package"]["name"] in known else {}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"--osv-url=http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_packages_without_known_vulnerabilities_are_counted(requirements: Path, database: str) -> None:
    assert audit(requirements, database) == 2


def test_a_known_vulnerability_fails_in_one_sentence(requirements: Path, database: str, known: set[str]) -> None:
    known.add("second")
    with pytest.raises(
        UserError, match=r"some\.txt has known vulnerabilities, in second 2.0 \(TEST-2026-1\): run make"
    ):
        audit(requirements, database)


def test_where_the_database_cannot_be_reached_it_says_so_and_nothing_is_found(requirements: Path) -> None:
    with pytest.raises(NotAskedError, match=r"some\.txt was not audited"):
        audit(requirements, "--osv-url=http://127.0.0.1:1")
