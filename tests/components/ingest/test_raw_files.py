"""The real client of Hugging Face talks to a local server, in a subprocess because it reads its settings on import."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.ingest.raw_files import RAW_FILES
from tests.raw_files import review, write_raw

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path) -> Iterator[str]:
    """The URL of a hub that has the data set `STEAM_REVIEWS` with one review."""
    folder = tmp_path / "hub"
    write_raw(folder, [review("Portal", "ann")])

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.partition("?")[0].rpartition("/")[2]
            if "/tree/" in self.path:
                files = [(f"raw/{raw.name}", (folder / raw.name).stat().st_size) for raw in RAW_FILES]
                tree = [{"type": "file", "path": path, "size": size, "oid": path} for path, size in files]
                self._answer(json.dumps(tree).encode(), "tree")
            elif "/api/" in self.path:
                siblings = [{"rfilename": f"raw/{raw.name}"} for raw in RAW_FILES]
                self._answer(json.dumps({"id": "x", "sha": COMMIT, "siblings": siblings}).encode(), "info")
            elif (folder / name).is_file():
                self._answer((folder / name).read_bytes(), name)
            else:
                self.send_error(404)

        do_HEAD = do_GET

        def _answer(self, body: bytes, etag: str) -> None:
            self.send_response(200)
            for header, value in (("Content-Length", len(body)), ("ETag", f'"{etag}"'), ("X-Repo-Commit", COMMIT)):
                self.send_header(header, str(value))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def ingest_from(endpoint: str, home: object, database: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "commands", "ingest", "--from-huggingface", "--database", database]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_public_data_set_is_downloaded_and_loaded(hub, tmp_path, database, connection):
    done = ingest_from(hub, tmp_path / "home", database)
    assert done.returncode == 0, done.stderr
    with connection.cursor() as cursor:
        cursor.execute("SELECT username FROM steam.users")
        assert cursor.fetchall() == [("ann",)]


def test_a_missing_network_is_reported_in_one_line(tmp_path, database):
    done = ingest_from("http://127.0.0.1:1", tmp_path / "home", database)
    assert done.returncode == 1
    assert done.stderr == (
        "recsys: HangenYuu/Steam_Games_Review cannot be fetched from Hugging Face: check the network, or "
        "download it elsewhere and give its folder.\n"
    )
