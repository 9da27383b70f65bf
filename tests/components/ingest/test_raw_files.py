"""Where raw files come from: files, archives, buckets, and Hugging Face.

The real client of Hugging Face talks to a local server, in a subprocess because it reads its settings on import.
"""

import gzip
import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from components.ingest.ingestion import check_raw, ingest
from components.ingest.raw_files import GAMES, RANKINGS, RAW_FILES, REVIEWS, STEAM_REVIEWS, open_raw
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from tests.raw_files import game, review, write_raw

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


def ingest_from(
    endpoint: str, home: object, database: str, raw: str = STEAM_REVIEWS
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1"}
    source = ["--from-huggingface"] if raw == STEAM_REVIEWS else ["--raw", raw]
    command = [sys.executable, "-m", "commands", "ingest", *source, "--database", database]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_the_public_data_set_is_downloaded_and_loaded(hub, tmp_path, database, connection):
    done = ingest_from(hub, tmp_path / "home", database)
    assert done.returncode == 0, done.stderr
    with connection.cursor() as cursor:
        cursor.execute("SELECT username FROM steam.users")
        assert cursor.fetchall() == [("ann",)]


def test_a_data_set_may_be_named_as_hugging_face_names_it(hub, tmp_path, database, connection):
    raw = STEAM_REVIEWS.replace("hf://", "hf://datasets/")
    done = ingest_from(hub, tmp_path / "home", database, raw)
    assert done.returncode == 0, done.stderr
    with connection.cursor() as cursor:
        cursor.execute("SELECT username FROM steam.users")
        assert cursor.fetchall() == [("ann",)]


@pytest.mark.parametrize("name", ["own er/name", "owner/na--me", "owner/-name"])
def test_an_invalid_name_of_a_data_set_is_reported_in_one_line(name, tmp_path, database):
    done = ingest_from("http://127.0.0.1:1", tmp_path / "home", database, f"hf://{name}/raw")
    assert done.returncode == 1
    assert done.stderr == f"recsys: {name} is not the name of a data set: correct hf://{name}/raw.\n"


def test_a_missing_network_is_reported_in_one_line(tmp_path, database):
    done = ingest_from("http://127.0.0.1:1", tmp_path / "home", database)
    assert done.returncode == 1
    assert done.stderr == (
        "recsys: HangenYuu/Steam_Games_Review cannot be fetched from Hugging Face: check the network, or "
        "download it elsewhere and give its folder.\n"
    )


@pytest.fixture
def reviews(tmp_path) -> bytes:
    """The content of a reviews file with one review, and the folder `raw` with it."""
    write_raw(tmp_path / "raw", [review("Portal", "ann")], [game("Portal")])
    return (tmp_path / "raw" / REVIEWS.name).read_bytes()


def test_a_file_with_reviews_may_have_any_name_and_be_compressed(reviews, tmp_path, database, connection):
    (tmp_path / "mine").write_bytes(reviews)
    (tmp_path / "mine.csv.gz").write_bytes(gzip.compress(reviews))
    (tmp_path / "packed.csv").write_bytes(gzip.compress(reviews))
    with zipfile.ZipFile(tmp_path / "one.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("export/mine.csv", reviews)
    (tmp_path / "gz").mkdir()
    (tmp_path / "gz" / REVIEWS.name).write_bytes(gzip.compress(reviews))
    for name, inserted in (("mine", 1), ("mine.csv.gz", 0), ("packed.csv", 0), ("one.zip", 0), ("gz", 0)):
        loaded = ingest(str(tmp_path / name), database)
        assert (loaded.rows, loaded.inserted) == ({REVIEWS.name: 1}, inserted)


def test_an_archive_may_hold_all_files_in_a_folder(reviews, tmp_path, database):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__MACOSX/raw/._steam_game_reviews.csv", b"x")
        for raw in RAW_FILES:
            archive.write(tmp_path / "raw" / raw.name, f"raw/{raw.name}")
    assert ingest(str(tmp_path / "archive.zip"), database).rows == {GAMES.name: 1, REVIEWS.name: 1, RANKINGS.name: 0}


def test_an_archive_is_loaded_from_a_bucket(reviews, tmp_path, remote_store):
    open_folder(remote_store).write("reviews.csv.gz", gzip.compress(reviews))
    check_raw(f"{remote_store}/reviews.csv.gz")
    with pytest.raises(UserError, match=f"{remote_store}/reviews.zip is missing"):
        check_raw(f"{remote_store}/reviews.zip")


def encrypted(archive: bytes) -> bytes:
    """Return a zip archive with the flag of encryption set in both of its headers."""
    local, central = archive.index(b"PK\x03\x04"), archive.index(b"PK\x01\x02")
    changed = bytearray(archive)
    changed[local + 6] |= 1
    changed[central + 8] |= 1
    return bytes(changed)


def test_a_damaged_or_foreign_archive_is_reported(reviews, tmp_path):
    def archive(**members: bytes) -> bytes:
        path = tmp_path / "new.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in members.items():
                file.writestr(f"{name}.csv", content)
        return path.read_bytes()

    packed = gzip.compress(reviews * 500)
    whole = archive(mine=reviews)
    for name, content, message in (
        ("cut.csv.gz", packed[:-20], "cut.csv.gz is a damaged archive: copy or download it again"),
        ("flipped.gz", packed[:30] + b"\xff\xff\xff" + packed[33:], "flipped.gz is a damaged archive"),
        ("cut.zip", whole[:-30], "cut.zip is a damaged archive"),
        ("flipped.zip", whole[:60] + b"\xff\xff" + whole[62:], "flipped.zip/mine.csv is a damaged archive"),
        ("secret.zip", encrypted(whole), "secret.zip/mine.csv cannot be unpacked here: unpack it"),
        ("empty.zip", archive(), "is empty|it holds no CSV file"),
        ("two.zip", archive(a=reviews, b=reviews), "it holds a.csv, b.csv: unpack it and give the file with reviews"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=message):
            check_raw(str(tmp_path / name))


def test_a_zip_archive_under_the_name_of_a_raw_file_is_reported(reviews, tmp_path):
    with zipfile.ZipFile(tmp_path / "raw" / REVIEWS.name, "w") as archive:
        archive.writestr(REVIEWS.name, reviews)
    with pytest.raises(UserError, match=f"raw/{REVIEWS.name} is a zip archive: unpack it"):
        check_raw(str(tmp_path / "raw"))


def test_a_folder_under_the_name_of_a_raw_file_is_reported(reviews, tmp_path):
    (tmp_path / "raw" / REVIEWS.name).unlink()
    (tmp_path / "raw" / REVIEWS.name).mkdir()
    with pytest.raises(UserError, match=f"raw/{REVIEWS.name} cannot be read .Is a directory.: correct that"):
        check_raw(str(tmp_path / "raw"))


def test_another_scheme_is_reported():
    with (
        pytest.raises(UserError, match="abfs://bucket/raw is neither a path nor a gs://, s3:// or hf:// URI"),
        open_raw("abfs://bucket/raw"),
    ):
        pass
