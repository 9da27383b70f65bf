"""The raw files: fetched from a folder, a bucket or Hugging Face, checked, and read row by row."""

from __future__ import annotations

import csv
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.storage.folder import open_folder

if TYPE_CHECKING:
    import _csv

FIELD_LIMIT = 1 << 20
"""Maximum length of a field in characters. Only a quote that never closes exceeds it."""

HUGGING_FACE_SCHEME = "hf://"
STEAM_REVIEWS = "hf://HangenYuu/Steam_Games_Review/raw"
"""The public copy of the Kaggle data set Steam Games Reviews and Rankings."""

_UTF16 = "is UTF-16: convert it with iconv -f UTF-16 -t UTF-8."
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs"}


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
class RawRow:
    """One row of a raw file.

    Attributes:
        line: Line on which the row starts.
        text: The row's text.
        fields: Values of the file's `columns`; empty if there is a problem.
        problem: Why the row cannot be split into fields; None if it can.
    """

    line: int
    text: str
    fields: tuple[str, ...]
    problem: str | None = None


@contextmanager
def open_raw(raw: str) -> Iterator[Path]:
    """Give a checked local folder with the raw files.

    Args:
        raw: A folder, `gs://BUCKET/FOLDER`, or `hf://OWNER/NAME/FOLDER` on Hugging Face.

    Raises:
        UserError: The files cannot be fetched, or do not have the raw layout.
    """
    remote = raw.startswith(HUGGING_FACE_SCHEME)
    with nullcontext(_download(raw)) if remote else open_folder(raw).local_path("") as folder:
        try:
            check_folder(folder)
            yield folder
        except UserError as error:  # name the location that the user gave, not the local copy
            raise UserError(str(error).replace(str(folder), raw.rstrip("/"))) from None


def _download(raw: str) -> Path:
    """Download a data set into the cache of Hugging Face unless it is there already."""
    # Slow to import, and needed for Hugging Face only.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    parts = raw.removeprefix(HUGGING_FACE_SCHEME).strip("/").split("/", 2)
    if len(parts) != 3:
        raise UserError(f"{raw} is not a data set: write it as hf://OWNER/NAME/FOLDER.")
    owner, name, folder = parts
    log("ingest", f"fetching {owner}/{name} from Hugging Face")
    try:
        root = snapshot_download(
            f"{owner}/{name}", repo_type="dataset", allow_patterns=[f"{folder}/{file.name}" for file in RAW_FILES]
        )
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError):
        raise UserError(
            f"{owner}/{name} cannot be fetched from Hugging Face: check the network, or download it elsewhere and "
            f"give its folder."
        ) from None
    return Path(root) / folder


def check_folder(folder: Path) -> None:
    """Check that a folder has the raw layout, before any rows are read.

    Raises:
        UserError: The folder or one of its three files is missing, or a file is empty or lacks a column.
    """
    if not folder.is_dir():
        raise UserError(f"The folder {folder} does not exist: give one that holds the raw layout's three CSV files.")
    for raw in RAW_FILES:
        path = folder / raw.name
        if not path.is_file():
            raise UserError(f"{path} is missing: the raw layout has {', '.join(file.name for file in RAW_FILES)}.")
        next(read_rows(folder, raw), None)


def read_rows(folder: Path, raw: RawFile) -> Iterator[RawRow]:
    """Read the rows of a raw file.

    Raises:
        UserError: The file is empty or not UTF-8, lacks a column, or has a quote that never closes.
    """
    path = folder / raw.name
    csv.field_size_limit(FIELD_LIMIT)
    lines: list[str] = []
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(_recorded(file, lines), strict=True)
        try:
            header = next(reader, None)
            if header is None:
                raise UserError(f"{path} is empty: it must hold at least the header {','.join(raw.columns)}.")
            pick = itemgetter(*_column_indices(path, raw, header))
            yield from _rows(path, reader, lines, len(header), pick)
        except UnicodeDecodeError:
            raise _encoding_error(path) from None


def _encoding_error(path: Path) -> UserError:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
                return UserError(f"{path} {_UTF16}")
            try:
                line.decode()
            except UnicodeDecodeError:
                break
    return UserError(
        f"{path} is not UTF-8 on line {number}: convert it, for example with iconv -f WINDOWS-1252 -t UTF-8."
    )


def _column_indices(path: Path, raw: RawFile, header: list[str]) -> list[int]:
    names = [name.strip() for name in header]
    missing = [column for column in raw.columns if column not in names]
    if missing:
        if "\0" in "".join(header):
            raise UserError(f"{path} {_UTF16}")
        for separator, separators in _OTHER_SEPARATORS.items():
            if len(header) == 1 and separator in header[0]:
                raise UserError(f"{path} has {separators} between its columns: write it with commas.")
        raise UserError(f"{path} lacks the column {', '.join(missing)}: its header must name {', '.join(raw.columns)}.")
    return [names.index(column) for column in raw.columns]


def _recorded(file: Iterable[str], lines: list[str]) -> Iterator[str]:
    """Yield the lines of a file and append them to `lines`."""
    for line in file:
        lines.append(line)
        yield line


def _rows(
    path: Path, reader: _csv.Reader, lines: list[str], width: int, pick: Callable[[Sequence[str]], tuple[str, ...]]
) -> Iterator[RawRow]:
    while True:
        lines.clear()
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error) or "field larger" in str(error):
                raise UserError(f"{path} has a quote that opens near line {line} and never closes: fix it.") from None
            yield RawRow(line, "".join(lines), (), "the row is not CSV")
            continue
        if len(fields) == width:
            yield RawRow(line, "".join(lines), pick(fields))
        elif fields:
            yield RawRow(line, "".join(lines), (), f"the row has {len(fields)} fields, the header {width}")
