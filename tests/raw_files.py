"""Raw files for tests, in the layout of the shop's exports."""

import csv
from collections.abc import Iterable
from pathlib import Path

from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS, RawFile


def review(game: str, username: str, date: str = "November 5, 2011", **fields: str) -> dict[str, str]:
    """Return a row of the reviews file."""
    return {"game_name": game, "username": username, "date": date, "recommendation": "Recommended", **fields}


def game(name: str, **fields: str) -> dict[str, str]:
    """Return a row of the descriptions file."""
    return {"name": name, "genres": "[]", "developer": "[]", "publisher": "[]", **fields}


def ranking(name: str, genre: str = "Action", rank_type: str = "Sales", rank: str = "1") -> dict[str, str]:
    """Return a row of the rankings file."""
    return {"game_name": name, "genre": genre, "rank_type": rank_type, "rank": rank}


def write_raw(
    folder: Path,
    reviews: Iterable[dict[str, str]] = (),
    games: Iterable[dict[str, str]] = (),
    rankings: Iterable[dict[str, str]] = (),
) -> str:
    """Write the three files and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for raw, rows in ((REVIEWS, reviews), (GAMES, games), (RANKINGS, rankings)):
        write_file(folder, raw, rows)
    return str(folder)


def write_file(folder: Path, raw: RawFile, rows: Iterable[dict[str, str]]) -> None:
    """Write one of the files."""
    with (folder / raw.name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, raw.columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
