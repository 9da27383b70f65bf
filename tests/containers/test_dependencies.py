"""The audit, by pip-audit against the test's own vulnerability database, and the licences of installed packages."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from containers.dependencies import PAGE, DatabaseUnavailableError, audit, licence, licences_page, packages
from containers.images import ROLES, ROOT
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
    """The names of the packages that have vulnerabilities."""
    return set()


@pytest.fixture
def database(known: set[str]) -> Iterator[str]:
    """The option with the URL of a server that answers like OSV."""

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
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"--osv-url=http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_packages_without_vulnerabilities_are_counted(requirements: Path, database: str) -> None:
    assert audit(requirements, database) == 2


def test_a_known_vulnerability_fails_the_audit(requirements: Path, database: str, known: set[str]) -> None:
    known.add("second")
    with pytest.raises(
        UserError, match=r"some\.txt has known vulnerabilities, in second 2.0 \(TEST-2026-1\): run make"
    ):
        audit(requirements, database)


def test_requirements_without_hashes_fail_the_audit(requirements: Path, database: str) -> None:
    with requirements.open("a") as file:
        file.write("third==3.0\n")
    with pytest.raises(UserError, match=r"some\.txt was not audited \(") as refused:
        audit(requirements, database)
    assert not isinstance(refused.value, DatabaseUnavailableError)


def test_an_unreachable_database_is_reported_as_unavailable(requirements: Path) -> None:
    with pytest.raises(DatabaseUnavailableError, match=r"some\.txt was not audited"):
        audit(requirements, "--osv-url=http://127.0.0.1:1")


@pytest.mark.skipif(sys.version_info[:2] != (3, 11) or sys.platform != "linux", reason="lists what the images install")
def test_the_licences_page_is_up_to_date() -> None:
    assert PAGE.read_text() == licences_page()


def test_every_package_of_every_image_has_a_licence_row() -> None:
    listed = {line.split()[1] for line in PAGE.read_text().splitlines() if line.startswith("| ")}
    for role in ROLES:
        names = packages(ROOT / "requirements" / f"{role}.txt")
        assert len(names) > 10
        assert set(names) <= listed


def test_packages_for_other_systems_are_not_listed() -> None:
    assert "colorama" in (ROOT / "requirements" / "explorer.txt").read_text()
    assert "colorama" not in packages(ROOT / "requirements" / "explorer.txt")


def test_a_missing_package_names_the_command_to_run() -> None:
    with pytest.raises(UserError, match="no-such-package is not installed: run make setup"):
        licence("no-such-package")
