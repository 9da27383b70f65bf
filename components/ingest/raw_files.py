"""The raw files: their layout, and where they are: in a folder, an archive, a bucket or on Hugging Face."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.storage.folder import is_remote, open_folder

HUGGING_FACE_SCHEME = "hf://"
STEAM_REVIEWS = "hf://HangenYuu/Steam_Games_Review/raw"
"""The public copy of the Kaggle data set Steam Games Reviews and Rankings."""

FILE_SUFFIXES = (".csv", ".gz", ".zip")

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # with and without members
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)


@dataclass(frozen=True)
class RawFile:
    """One raw file: its name, and the columns to read, in this order whatever their order in the file."""

    name: str
    columns: tuple[str, ...]


REVIEWS = RawFile(
    "steam_game_reviews.csv",
    ("review", "hours_played", "helpful", "funny", "recommendation", "date", "game_name", "username"),
)
GAMES = RawFile(
    "games_description.csv",
    (
        "name", "short_description", "long_description", "genres", "minimum_system_requirement",
        "recommend_system_requirement", "release_date", "developer", "publisher", "overall_player_rating",
        "number_of_reviews_from_purchased_people", "number_of_english_reviews", "link",
    ),
)  # fmt: skip
RANKINGS = RawFile("games_ranking.csv", ("game_name", "genre", "rank_type", "rank"))
RAW_FILES = (GAMES, REVIEWS, RANKINGS)


@dataclass(frozen=True)
class RawSource:
    """Where the content of a raw file is.

    Attributes:
        location: The location in the user's words, for messages.
        path: A local file: the raw file itself, a gzip of it, or a zip archive.
        member: The file's name in the zip archive; empty if the path is none.
    """

    location: str
    path: Path
    member: str = ""

    @contextmanager
    def open(self) -> Iterator[IO[bytes] | gzip.GzipFile]:
        """Open the file's content, unpacked.

        Raises:
            UserError: The file cannot be read, or the archive is damaged.
        """
        try:
            with ExitStack() as stack:
                if self.member:
                    archive = stack.enter_context(zipfile.ZipFile(self.path))
                    yield stack.enter_context(self._open_member(archive))
                elif _first_bytes(self.path).startswith(_GZIP):
                    yield stack.enter_context(gzip.GzipFile(self.path))
                else:
                    yield stack.enter_context(self.path.open("rb"))
        except _DAMAGE:
            raise UserError(f"{self.location} is a damaged archive: copy or download it again.") from None
        except OSError as error:
            raise UserError(f"{self.location} cannot be read ({error.strerror}): correct that.") from None

    def _open_member(self, archive: zipfile.ZipFile) -> IO[bytes]:
        try:
            return archive.open(self.member)
        except (RuntimeError, NotImplementedError):  # it has a password, or an unknown method of compression
            raise UserError(f"{self.location} cannot be unpacked here: unpack it and give the folder.") from None


@contextmanager
def open_raw(raw: str) -> Iterator[dict[str, RawSource]]:
    """Find the raw files, and fetch them if they are elsewhere. Only files of the layout are fetched.

    Args:
        raw: A folder, a CSV file with reviews, a gzip of one, a zip archive, `gs://BUCKET/FOLDER`, `s3://BUCKET/FOLDER`,
            or `hf://OWNER/NAME/FOLDER` on Hugging Face.

    Yields:
        The files by name. Only the reviews file is always there.

    Raises:
        UserError: There is no reviews file, or the files cannot be fetched.
    """
    raw = raw.rstrip("/") or raw
    with ExitStack() as stack:
        if raw.startswith(HUGGING_FACE_SCHEME):
            sources = _sources_in_folder(raw, _download(raw))
        elif is_remote(raw):
            parent, _, name = raw.rpartition("/")
            if name.endswith(FILE_SUFFIXES):
                sources = _sources_in_file(raw, stack.enter_context(open_folder(parent).local_path(name)))
            else:
                folder = open_folder(raw)
                paths = {file.name: stack.enter_context(folder.local_path(file.name)) for file in RAW_FILES}
                sources = _existing_sources(raw, paths)
        elif "://" in raw:
            raise UserError(
                f"{raw} is neither a path nor a gs://, s3:// or hf:// URI: name a folder with the raw files."
            )
        elif Path(raw).is_file():
            sources = _sources_in_file(raw, Path(raw))
        elif Path(raw).is_dir():
            sources = _sources_in_folder(raw, Path(raw))
        else:
            raise UserError(f"The folder {raw} does not exist: give one that holds {REVIEWS.name}.")
        yield sources


def _sources_in_folder(location: str, folder: Path) -> dict[str, RawSource]:
    sources = _existing_sources(location, {file.name: folder / file.name for file in RAW_FILES}, folder)
    for source in sources.values():
        if _first_bytes(source.path).startswith(_ZIP):
            raise UserError(f"{source.location} is a zip archive: unpack it.")
    return sources


def _existing_sources(location: str, paths: dict[str, Path], folder: Path | None = None) -> dict[str, RawSource]:
    sources = {name: RawSource(f"{location}/{name}", path) for name, path in paths.items() if path.exists()}
    if REVIEWS.name in sources:
        return sources
    others = (
        sorted(path.name for path in folder.iterdir() if path.name.endswith(FILE_SUFFIXES))
        if folder and folder.is_dir()
        else []
    )
    holds = f"the folder holds {', '.join(others[:10])}; " if others else ""
    raise UserError(
        f"{location}/{REVIEWS.name} is missing: {holds}give a folder that holds it, or a file with reviews."
    )


def _sources_in_file(location: str, path: Path) -> dict[str, RawSource]:
    """Return the files in a zip archive, or a file with reviews, which may have any name."""
    if not path.is_file():
        raise UserError(f"{location} is missing: correct the location.")
    if not _first_bytes(path).startswith(_ZIP):
        return {REVIEWS.name: RawSource(location, path)}
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.endswith(".csv") and not name.startswith("__MACOSX")]
    except zipfile.BadZipFile:
        raise UserError(f"{location} is a damaged archive: copy or download it again.") from None
    by_name = {PurePosixPath(member).name: member for member in members}
    if len(members) == 1:
        by_name = {REVIEWS.name: members[0]}
    if REVIEWS.name not in by_name or len(by_name) < len(members):
        holds = ", ".join(sorted(members)[:10]) or "no CSV file"
        raise UserError(
            f"{location} must hold {REVIEWS.name} once, but it holds {holds}: unpack it and give the file with reviews."
        )
    return {
        file.name: RawSource(f"{location}/{by_name[file.name]}", path, by_name[file.name])
        for file in RAW_FILES
        if file.name in by_name
    }


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4)
    except OSError:
        return b""  # opening it to read gives the reason


def _download(raw: str) -> Path:
    """Download a data set into the cache of Hugging Face unless it is there already."""
    # Slow to import, and needed for Hugging Face only.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    parts = raw.removeprefix(HUGGING_FACE_SCHEME).strip("/").removeprefix("datasets/").split("/", 2)
    if len(parts) != 3:
        raise UserError(f"{raw} is not a data set: write it as hf://OWNER/NAME/FOLDER.")
    owner, name, folder = parts
    log("ingest", f"fetching {owner}/{name} from Hugging Face")
    try:
        root = snapshot_download(
            f"{owner}/{name}", repo_type="dataset", allow_patterns=[f"{folder}/{file.name}" for file in RAW_FILES]
        )
    except HFValidationError:
        raise UserError(f"{owner}/{name} is not the name of a data set: correct {raw}.") from None
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError):
        raise UserError(
            f"{owner}/{name} cannot be fetched from Hugging Face: check the network, or download it elsewhere and "
            f"give its folder."
        ) from None
    return Path(root) / folder
