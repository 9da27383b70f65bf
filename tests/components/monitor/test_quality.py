"""Versions published to a real PostgreSQL, measured by later reviews."""

import io
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg2.extensions import connection as Connection

from components.monitor.quality import USER_FIGURES, measure_versions, realised_quality
from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import publish
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.publications.destinations import DestinationConfig, open_destinations
from steam_recsys.publications.versions import VersionInfo
from tests.components.reverse_etl.predicted import Popular, Row, user_ranges, write_predictions
from tests.shop import add_game, add_user
from tests.snapshots import Review, write_snapshot_of

GAMES, USERS = 6, 3
DISCOUNTS = 1 / np.log2(np.arange(2, 12))


@pytest.fixture
def stocked(shop: Connection) -> Connection:
    """A shop with games 1 to 6 and users 1 to 3."""
    assert [add_game(shop, f"Game {number}") for number in range(1, GAMES + 1)] == list(range(1, GAMES + 1))
    assert [add_user(shop, f"user {number}") for number in range(1, USERS + 1)] == list(range(1, USERS + 1))
    return shop


def publish_lists(
    root: Path,
    database: str,
    version: str,
    as_of: date,
    lists: dict[int, list[int]],
    popular: Sequence[int],
    model: str = "model-1",
) -> None:
    rows: list[Row] = [(user, games, [0.0] * len(games), [None] * len(games)) for user, games in lists.items()]
    overall: list[Popular] = [("", rank, game, 1.0 / rank) for rank, game in enumerate(popular, start=1)]
    folder = write_predictions(root / version, [rows], overall)
    thresholds = Thresholds(user_coverage_floor=0, rows_per_user_floor=0)
    publish(
        DestinationConfig(database),
        str(folder),
        VersionInfo(version, model, "s", as_of, 0.0),
        user_ranges(folder),
        thresholds,
    )


def measured(database: str, snapshot: Snapshot, store: str) -> dict[str, list[dict[str, object]]]:
    with open_destinations(DestinationConfig(database)) as destinations:
        measure_versions(snapshot, destinations.primary, store)
    folder = Path(store) / "monitoring"
    return {path.stem: pq.read_table(path).to_pylist() for path in sorted(folder.glob("*"))}


def _rows(store: str) -> list[dict[str, float]]:
    return pa.concat_tables(map(pq.read_table, sorted((Path(store) / "monitoring").glob("*")))).to_pylist()


def snapshot_of(root: Path, reviews: list[Review], **more: object) -> Snapshot:
    return write_snapshot_of(root, reviews, n_games=GAMES, users=range(1, USERS + 1), **more)


def test_each_version_is_measured_by_the_reviews_of_its_own_days(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    publish_lists(tmp_path, database, "v1", date(2020, 1, 10), {1: [2, 3], 2: [4, 5], 3: [6, 1]}, [1, 2])
    publish_lists(tmp_path, database, "v2", date(2020, 1, 20), {1: [5, 6], 2: [1, 2], 3: [2, 3]}, [3, 4])
    snapshot = snapshot_of(
        tmp_path / "shop",
        [
            (1, 1, date(2020, 1, 1)),  # before: seen, so that popularity shows user 1 game 2 first
            (1, 3, date(2020, 1, 10)),  # second in v1
            (1, 1, date(2020, 1, 11)),  # reviewed again: nothing new
            (2, 6, date(2020, 1, 19)),  # in no user's list
            (3, 3, date(2020, 1, 20)),  # second in v2, first of what is popular
            (3, 3, date(2020, 1, 21)),  # once more, which counts once
        ],
    )
    found = measured(database, snapshot, store)
    second = float(DISCOUNTS[1])
    assert found == {
        "v1": [
            {"user_id": 1, "ndcg": pytest.approx(second), "hit_rate": 1.0, "popular_ndcg": 0.0, "popular_hit_rate": 0.0,
             "as_of": date(2020, 1, 10), "model_version": "model-1"},
            {"user_id": 2, "ndcg": 0.0, "hit_rate": 0.0, "popular_ndcg": 0.0, "popular_hit_rate": 0.0,
             "as_of": date(2020, 1, 10), "model_version": "model-1"},
        ],
        "v2": [
            {"user_id": 3, "ndcg": pytest.approx(second), "hit_rate": 1.0, "popular_ndcg": 1.0, "popular_hit_rate": 1.0,
             "as_of": date(2020, 1, 20), "model_version": "model-1"},
        ],
    }  # fmt: skip
    assert measured(database, snapshot, store) == found


def test_popularity_leaves_out_games_that_the_user_has_reviewed(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    publish_lists(tmp_path, database, "v1", date(2020, 1, 10), {1: [6]}, [1, 2, 3])
    reviews: list[Review] = [(1, 1, date(2020, 1, 1)), (1, 3, None), (1, 2, date(2020, 1, 11))]
    (row,) = measured(database, snapshot_of(tmp_path / "shop", reviews), store)["v1"]
    assert (row["ndcg"], row["popular_ndcg"]) == (0.0, 1.0)


def test_negative_reviews_and_users_without_recommendations_do_not_count(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    publish_lists(tmp_path, database, "v1", date(2020, 1, 10), {1: [2]}, [1])
    reviews: list[Review] = [(1, 2, date(2020, 1, 11)), (2, 2, date(2020, 1, 11)), (None, 2, date(2020, 1, 11))]
    snapshot = snapshot_of(tmp_path / "shop", reviews, not_recommended={(1, 2)})
    assert measured(database, snapshot, store) == {}
    assert realised_quality(store, 0.9, "model-1").users == 0


def test_an_empty_file_of_a_removed_version_is_removed(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    folder = Path(store) / "monitoring"
    folder.mkdir(parents=True)
    pq.write_table(USER_FIGURES.empty_table(), folder / "v0.parquet")
    publish_lists(tmp_path, database, "v1", date(2020, 1, 10), {1: [2, 3]}, [1])
    assert list(measured(database, snapshot_of(tmp_path / "shop", [(1, 3, date(2020, 1, 10))]), store)) == ["v1"]
    assert not (folder / "v0.parquet").exists()


def test_a_version_for_the_same_days_replaces_the_first(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    snapshot = snapshot_of(tmp_path / "shop", [(1, 3, date(2020, 1, 10))])
    publish_lists(tmp_path, database, "v1", date(2020, 1, 10), {1: [2, 3]}, [1])
    assert len(measured(database, snapshot, store)["v1"]) == 1
    publish_lists(tmp_path, database, "v2", date(2020, 1, 10), {1: [3, 2]}, [1])
    assert [row["ndcg"] for row in measured(database, snapshot, store)["v2"]] == [1.0]
    assert realised_quality(store, 0.9, "model-1").users == 1


def test_figures_are_kept_for_four_weeks_and_averaged_per_user(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    reviews: list[Review] = []
    for number in range(5):
        day = date(2020, 1, 1 + 7 * number) if number < 4 else date(2020, 2, 5)
        publish_lists(tmp_path, database, f"v{number}", day, {1: [2, number % 2 + 3], 2: [1]}, [1, 5])
        reviews.append((1, number + 1, day))
        measured(database, snapshot_of(tmp_path / f"shop {number}", reviews), store)
    assert sorted(path.stem for path in (Path(store) / "monitoring").glob("*")) == ["v2", "v3", "v4"]
    quality = realised_quality(store, 0.9, "model-1")
    assert quality.users == 1  # the same one thrice
    assert quality.ndcg is not None
    assert quality.ndcg.mean == pytest.approx(np.mean([row["ndcg"] for row in _rows(store)]))
    assert 0 < quality.ndcg.mean < 1
    assert quality.above_floor is not None
    assert quality.popular_ndcg is not None
    assert quality.above_floor.mean == pytest.approx(quality.ndcg.mean - 0.9 * quality.popular_ndcg.mean)


def test_a_model_is_not_judged_by_what_another_model_recommended(
    stocked: Connection, database: str, store: str, tmp_path: Path
) -> None:
    publish_lists(tmp_path, database, "v1", date(2020, 1, 10), {1: [5, 6]}, [1], model="model-0")
    publish_lists(tmp_path, database, "v2", date(2020, 1, 11), {1: [3, 2], 2: [3, 2]}, [1])
    reviews: list[Review] = [(1, 2, date(2020, 1, 10)), (2, 3, date(2020, 1, 11))]
    measured(database, snapshot_of(tmp_path / "shop", reviews), store)
    for model, ndcg in (("model-0", 0.0), ("model-1", 1.0)):
        quality = realised_quality(store, 0.9, model)
        assert quality.ndcg is not None
        assert (quality.users, quality.ndcg.mean) == (1, ndcg)


def test_a_store_without_figures_has_no_quality(stocked: Connection, database: str, store: str, tmp_path: Path) -> None:
    publish_lists(tmp_path, database, "v1", date(2020, 1, 10), {1: [2]}, [1])
    assert measured(database, snapshot_of(tmp_path / "shop", [(1, 2, date(2020, 1, 2))]), store) == {}
    assert realised_quality(f"{store}-of-another", 0.9, "model-1").users == 0


def test_figures_that_cannot_be_read_are_measured_again(
    stocked: Connection, database: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_lists(tmp_path, database, "v1", date(2020, 1, 10), {1: [2, 3]}, [1, 2])
    snapshot = snapshot_of(tmp_path / "shop", [(1, 3, date(2020, 1, 10))])
    found = measured(database, snapshot, store)
    assert set(found) == {"v1"}
    quality = realised_quality(store, 0.9, "model-1")
    whole = (Path(store) / "monitoring" / "v1.parquet").read_bytes()
    foreign = io.BytesIO()
    pq.write_table(pa.table({"user_id": ["one"], "ndcg": [0.5]}), foreign)
    flipped = bytearray(whole)
    flipped[4 + 30] ^= 1  # in the first page
    for number, content in enumerate([b"", whole[: len(whole) // 2], foreign.getvalue(), bytes(flipped)]):
        (Path(store) / "monitoring" / f"expired-{number}.parquet").write_bytes(content)
        (Path(store) / "monitoring" / "v1.parquet").write_bytes(content)
        assert realised_quality(store, 0.9, "model-1").users == 0
        assert "v1.parquet cannot be read as figures (" in capsys.readouterr().out
        assert measured(database, snapshot, store) == found
        assert realised_quality(store, 0.9, "model-1") == quality
