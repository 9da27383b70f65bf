"""Predictions that are refused before the switch, with their messages."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig
from tests.components.reverse_etl.predicted import (
    Fallback,
    ListRow,
    Popular,
    Row,
    lists_of,
    marked,
    overall,
    publish_version,
    write_manifests,
    write_predictions,
)
from tests.components.reverse_etl.test_publication import shown, tables, tables_of
from tests.shop import add_game, add_user

POPULAR = overall([1, 2])
GOOD: list[Row] = [(1, [1, 2], [2.0, 1.0], [None, None])]


@pytest.mark.parametrize(
    ("shards", "popular", "sentence"),
    [
        ([[], []], POPULAR, "Users with recommendations: 0, must be at least 1"),
        (
            [[*GOOD, *GOOD]],
            POPULAR,
            r"shard-00000\.parquet has the list relevance of user 1 twice, out of order or before the first of its",
        ),
        (
            [[*GOOD, (0, [1], [1.0], [None])]],
            POPULAR,
            r"has the list relevance of user 0 twice, out of order or before the first .*, 1: predict",
        ),
        (
            [GOOD, GOOD],
            POPULAR,
            r"shard-00001\.parquet has the list relevance of user 1 twice, out of order or before the first .*, 2",
        ),
        (
            [[*lists_of(1, relevance=[1], discovery=[2]), *lists_of(1, interests=[1])]],
            POPULAR,
            "has the list interests of user 1 twice, out of order or before the first of its users",
        ),
        (
            [[*GOOD, *lists_of(2, interests=[1])]],
            POPULAR,
            r"shard-00000\.parquet has no list relevance of user 2: predict",
        ),
        (
            [[(1, "best", [1], [1.0], [0.0], [None])]],
            POPULAR,
            "has the unknown list 'best': choose one of relevance, interests, discovery, new_releases",
        ),
        ([[*GOOD, (2, [1], [1.0], [None])], []], POPULAR, "has user 2, but is for those up to 1: predict again"),
        ([[(1, [1, 2], [1.0], [None, None])]], POPULAR, "user 1 games, taste, popularity and reasons that differ in"),
        ([[(1, [1], [1.0], [])]], POPULAR, "user 1 games, taste, popularity and reasons that differ in number"),
        (
            [[*GOOD, (1, "interests", [1], [1.0], [], [None])]],
            POPULAR,
            "user 1 games, taste, popularity and reasons that differ in number",
        ),
        ([[*GOOD, (2, [], [], [])]], POPULAR, "Fewest games of a list: 0, must be at least 1"),
        ([[*GOOD, (1, "interests", [], [], [], [])]], POPULAR, "Fewest games of a list: 0, must be at least 1"),
        (
            [[(1, [1], [math.nan], [None])]],
            POPULAR,
            r"null or not finite: 1, .* \(user 1 in shard-00000.parquet, for example",
        ),
        ([[*GOOD, (2, [1, 2], [1.0, -math.inf], [1, 1])]], POPULAR, r"null or not finite: 1, .* \(user 2 in shard"),
        ([[*GOOD, (2, [1, 2], [1.0, None], [1, 1])]], POPULAR, r"null or not finite: 1, .* \(user 2 in shard"),
        (
            [[*GOOD, (1, "interests", [1, 2], [1.0, 0.0], [1.0, math.inf], [1, 1])]],
            POPULAR,
            r"null or not finite: 1, .* \(user 1 in shard",
        ),
        ([[(1, [None], [1.0], [None])]], POPULAR, "user 1 a game that is null"),
        (
            [[*GOOD, (2, [2, 1, 2], [3.0, 2.0, 1.0], [None] * 3)]],
            POPULAR,
            r"list twice: 1, must be at most 0 \(user 2 in shard",
        ),
        ([[(1, [77], [1.0], [None])]], POPULAR, r"that steam.games does not hold: 1, .* \(game 77 in shard-00000"),
        ([[(1, [1], [1.0], [78])]], POPULAR, r"that steam.games does not hold: 1, .* \(game 78 in shard-00000"),
        ([[(99, [1], [1.0], [None])]], POPULAR, r"that steam.users does not hold: 1, .* \(user 99 in shard-00000"),
        ([GOOD], [], r"popular\.parquet has no overall list of popular games"),
        ([GOOD], [("Indie", 1, 1, 1.0)], r"popular\.parquet has no overall list of popular games"),
        ([GOOD], [("discovery", "", 1, 1, 1.0)], r"popular\.parquet has no overall list of popular games"),
        ([GOOD], [*POPULAR, ("interests", "", 1, 1, 1.0)], r"popular\.parquet has the unknown list 'interests'"),
        ([GOOD], [("", 1, 1, math.nan)], r"popular\.parquet has a score that is not a finite number"),
        ([GOOD], [("", 1, 79, 1.0)], r"popular\.parquet names game 79, which steam.games does not hold: extract a new"),
        (
            [GOOD],
            [("", 1, 1, 1.0), ("", 1, 2, 1.0)],
            r"popular\.parquet has rank 1 twice in the list popular of the genre ''",
        ),
        (
            [GOOD],
            [("", 1, 1, 1.0), ("", 2, 1, 1.0)],
            r"popular\.parquet has game_id 1 twice in the list popular of the genre",
        ),
    ],
)
def test_invalid_predictions_are_refused_with_a_message_and_nothing_changes(
    shop: Connection,
    database: str,
    tmp_path: Path,
    shards: list[list[Row | ListRow]],
    popular: list[Popular | Fallback],
    sentence: str,
) -> None:
    publish_version(database, marked(tmp_path / "good", shop, 1.0, users=2), "v1")
    predictions = write_predictions(tmp_path / "wrong", shards, popular)
    ranges = [(1, 100)] if len(shards) == 1 else [(1, 1), (2, 100)]
    with pytest.raises(UserError, match=sentence) as raised:
        publish_version(database, predictions, "v2", ranges)
    assert "\n" not in str(raised.value)
    assert (shown(shop), tables(shop)) == (("v1", 1.0, 2), tables_of("v1"))


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            lambda folder: folder.rename(folder.with_name("elsewhere")),
            r"shard-00000\.parquet is missing, one of 2",
        ),
        (lambda folder: (folder / "popular.parquet").unlink(), r"popular\.parquet is missing"),
        (lambda folder: (folder / "popular.parquet").write_text("nonsense"), r"popular\.parquet is damaged"),
        (
            lambda folder: (folder / "recommendations" / "shard-00000.parquet").unlink(),
            r"shard-00000\.parquet is missing",
        ),
        (
            lambda folder: (folder / "recommendations" / "shard-00001.parquet").unlink(),
            r"shard-00001\.parquet is missing",
        ),
        (lambda folder: _rewrite(folder, pa.table({"user_id": [1]})), "has no column list"),
        (lambda folder: _rewrite(folder, pa.table({"user_id": ["x"]})), "cannot be read as predictions"),
        (
            lambda folder: _rewrite(
                folder,
                pa.table(
                    {
                        "user_id": [None],
                        "list": ["relevance"],
                        "game_ids": [[1]],
                        "taste": [[1.0]],
                        "popularity": [[0.0]],
                        "because": [[1]],
                    }
                ),
            ),
            "has a row whose user_id is null",
        ),
    ],
)
def test_a_folder_that_holds_no_predictions_is_refused(
    shop: Connection, database: str, tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    predictions = marked(tmp_path / "p", shop, 1.0, users=2)
    spoil(predictions)
    with pytest.raises(UserError, match=sentence):
        publish_version(database, predictions, ranges=[(1, 1), (2, 2)])


def test_wider_types_of_another_writer_are_taken(shop: Connection, database: str, tmp_path: Path) -> None:
    game, user = add_game(shop, "Game"), add_user(shop, "user")
    predictions = write_predictions(tmp_path / "p", [[]], overall([game]))
    wide = {"because": [[game]], "popularity": [[1]], "taste": [[0.5]], "game_ids": [[game]], "list": ["relevance"]}
    _rewrite(predictions, pa.table({**wide, "user_id": [user]}))
    assert publish_version(database, predictions).users == 1


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: _flip_a_bit(folder / "recommendations" / "shard-00001.parquet"), "is damaged, its checksum"),
        (lambda folder: (folder / "manifests" / "shard-00001.json").unlink(), "has no manifest, so it is not finished"),
    ],
)
def test_a_shard_that_differs_from_its_manifest_is_refused(
    shop: Connection, both: DestinationConfig, tmp_path: Path, spoil: Callable[[Path], object], sentence: str
) -> None:
    predictions = marked(tmp_path / "1", shop, 1.0, users=200)
    spoil(predictions)
    for config in (both, replace(both, publish_to="mongodb")):
        with pytest.raises(UserError, match=rf"{predictions}/recommendations/shard-00001\.parquet {sentence}"):
            publish_version(config, predictions, ranges=[(1, 1), (2, 200)])
    assert tables(shop) == set()


def _flip_a_bit(path: Path) -> None:
    """Flip a bit of a number in the file, which stays readable."""
    content, before = bytearray(path.read_bytes()), pq.read_table(path)
    content[24] ^= 1
    path.write_bytes(content)
    assert pq.read_table(path).num_rows == before.num_rows
    assert not pq.read_table(path).equals(before)


def _rewrite(folder: Path, table: pa.Table) -> None:
    pq.write_table(table, folder / "recommendations" / "shard-00000.parquet")
    write_manifests(folder)
