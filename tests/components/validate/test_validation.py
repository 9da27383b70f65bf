import json
import math
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.validate.checks import check_freshness, check_nulls, check_volume
from components.validate.validation import find, validate_snapshot
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import DataFile, Manifest, Snapshot
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import seal
from tests.snapshots import write_snapshot_of

GOOD = [(1, 1, date(2020, 1, 1)), (2, 2, date(2020, 2, 1)), (2, 1, date(2020, 3, 1))]


def rewrite(snapshot: Snapshot, table: str, content: pa.Table) -> None:
    """Replace a table of a snapshot."""
    path = snapshot.root / table / "part-00000.parquet"
    pq.write_table(content, path)
    files = {**Manifest.read(snapshot.root).files, table: [DataFile.from_path(snapshot.root, path, content.num_rows)]}
    Manifest("1:1:", snapshot.manifest.extracted_at, snapshot.manifest.watermark, files).write(snapshot.root)


def with_values(snapshot: Snapshot, table: str, **columns: list) -> None:
    content = snapshot.table(table)
    for name, values in columns.items():
        field = TABLES[table].field(name).with_nullable(True)
        content = content.set_column(content.schema.get_field_index(name), field, pa.array(values, field.type))
    rewrite(snapshot, table, content)


@pytest.fixture
def snapshot(tmp_path):
    return write_snapshot_of(tmp_path / "snapshot", GOOD)


@pytest.fixture
def report(tmp_path):
    return tmp_path / "report.html"


def test_a_good_snapshot_passes_and_its_rows_are_recorded(snapshot, report, store):
    assert validate_snapshot(snapshot.root, report, store).findings == []
    assert json.loads((Path(store) / "last-good-snapshot.json").read_text())["rows"]["reviews"] == 3
    assert "The run goes on." in report.read_text()


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        ("reviews", {"review_id": [1, 1, 2]}, r"review_id is unique: 1 \(for example review_id 1, user_id 1"),
        ("reviews", {"game_id": [1, None, 2]}, r"game_id is not null: 1 \(for example review_id 2, user_id 2"),
        ("reviews", {"hours_played": [-1.0, None, 2.0]}, r"hours_played is 0 or more: 1 "),
        ("reviews", {"hours_played": [math.inf, None, 2.0]}, r"hours_played is finite: 1 .*review_id 1, "),
        ("reviews", {"reviewed_on": [date(1996, 1, 1), None, None]}, "between 1997-01-01.*: 1 .*1996-01-01"),
        ("reviews", {"reviewed_on": [date(2025, 1, 3), None, None]}, "between .* and 2025-01-02: 1 .* 2025-01-03"),
        ("reviews", {"user_id": [1, 2, 77]}, r"every user_id exists: 1 \(for example review_id 3, user_id 77"),
        ("reviews", {"game_id": [1, 2, 88]}, "every game_id exists: 1 .*88"),
        ("games", {"game_id": [1, 1]}, "game_id is unique"),
        ("games", {"name": ["a", None]}, "name is not null"),
        ("users", {"user_id": [1, 1]}, "user_id is unique"),
    ],
)  # fmt: skip
def test_a_broken_contract_fails_the_run_and_names_the_column(table, columns, message, snapshot, report, store):
    with_values(snapshot, table, **columns)
    with pytest.raises(UserError, match="breaks its contract"):
        validate_snapshot(snapshot.root, report, store)
    assert re.search(message, " ".join(finding.message() for finding in find(Snapshot.open(snapshot.root), {})))
    assert not (Path(store) / "last-good-snapshot.json").exists()
    assert "The run stops." in report.read_text()


def test_a_review_dated_tomorrow_passes(snapshot, report, store):
    with_values(snapshot, "reviews", reviewed_on=[date(2025, 1, 2), date(1997, 1, 1), None])
    assert not [f for f in validate_snapshot(snapshot.root, report, store).findings if f.severity == "error"]


def test_a_game_ranked_twice_in_a_ranking_is_an_error(snapshot, report, store):
    rows = [(1, "Indie", "Sales", 1), (1, "Indie", "Sales", 2), (1, "Indie", "Review", 1), (2, "Indie", "Sales", 1)]
    columns = [dict(zip(TABLES["rankings"].names, row, strict=True)) for row in rows]
    rewrite(snapshot, "rankings", pa.Table.from_pylist(columns, schema=TABLES["rankings"]))
    with pytest.raises(UserError, match=r"a game is ranked once: 1 \(for example game_id 1 by Sales in Indie\)"):
        validate_snapshot(snapshot.root, report, store)


def test_a_missing_column_or_another_type_is_an_error(snapshot, report, store):
    content = snapshot.table("reviews").drop_columns(["helpful"])
    rewrite(snapshot, "reviews", content.set_column(2, "game_id", content["game_id"].cast(pa.int64())))
    with pytest.raises(UserError, match="columns or types differ from the contract: ") as failed:
        validate_snapshot(snapshot.root, report, store)
    assert "helpful is missing, not int64" in str(failed.value)
    assert "game_id is int64, not int32" in str(failed.value)


def test_repeats_and_blanks_are_warnings(tmp_path, report, store):
    reviews = [*GOOD, (1, 1, date(2020, 5, 1)), (1, 1, date(2020, 6, 1)), (None, 1, None)]
    snapshot = write_snapshot_of(tmp_path / "snapshot", reviews)
    findings = validate_snapshot(snapshot.root, report, store).findings
    assert {finding.severity for finding in findings} == {"warning"}
    messages = [finding.message() for finding in findings]
    assert (
        "reviews: replaced by the same user's later review of the game: 2 (for example user_id 1, game_id 1, 3 times)"
        in messages
    )
    assert "reviews: without a known author: 1" in messages
    assert "reviews: without a date: 1" in messages


def test_a_snapshot_without_reviews_is_an_error(tmp_path, report, store):
    snapshot = write_snapshot_of(tmp_path / "snapshot", [], n_games=1, users=[1])
    with pytest.raises(UserError, match=r"reviews: has no rows, ingest first"):
        validate_snapshot(snapshot.root, report, store)


def test_a_table_that_lost_half_its_rows_is_an_error(snapshot, report, store):
    many = [(user, 1, date(2020, 1, 1)) for user in range(1, 8)]
    validate_snapshot(write_snapshot_of(snapshot.root.parent / "many", many).root, report, store)
    with pytest.raises(
        UserError,
        match=r"has 3 rows, less than 50% of the last good run's 7 .*delete last-good-snapshot\.json in the store\)",
    ):
        validate_snapshot(snapshot.root, report, store)
    (finding,) = check_volume({"reviews": 3}, {"reviews": 7})
    assert finding.count is None
    assert "None" not in report.read_text()


def test_a_table_may_shrink_by_half_or_grow():
    assert check_volume({"reviews": 50}, {"reviews": 100}) == []
    assert check_volume({"reviews": 49}, {"reviews": 100}) != []
    assert check_volume({"reviews": 1}, {}) == []


def test_a_source_without_recent_changes_is_a_warning():
    now = datetime(2024, 1, 10, tzinfo=UTC)
    assert check_freshness(now - timedelta(days=1), now) == []
    (finding,) = check_freshness(now - timedelta(days=3), now)
    assert finding.severity == "warning"
    assert finding.message() == "reviews: the last change is 3 days old (2024-01-07T00:00:00+00:00)"


def test_a_last_change_in_the_future_is_a_warning_as_it_would_hide_that_others_are_missing():
    now = datetime(2024, 1, 10, tzinfo=UTC)
    assert check_freshness(now + timedelta(minutes=4), now) == []
    (finding,) = check_freshness(now + timedelta(days=10), now)
    assert finding.severity == "warning"
    assert finding.message() == ("reviews: the last change is dated 10 days in the future (2024-01-20T00:00:00+00:00)")


def test_a_column_that_is_filled_in_exactly_as_often_as_required_is_no_warning():
    nulls = {"user_id": 50, "reviewed_on": 51, "hours_played": 99}
    messages = [finding.message() for finding in check_nulls(100, nulls)]
    assert messages == ["reviews: reviewed_on is filled in at least 50% of the rows: 51"]


def test_hostile_values_are_escaped_in_the_report(snapshot, report, store):
    with_values(snapshot, "games", name=["<script>alert(1)</script>", None])
    with_values(snapshot, "reviews", game_id=[1, 2, 88])
    with pytest.raises(UserError):
        validate_snapshot(snapshot.root, report, store)
    assert "<script>" not in report.read_text()


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"reviews": 7}', seal({"rows": {"reviews": "many"}}), seal({"rows": 7})]
)
def test_rows_of_the_last_good_run_that_cannot_be_read_are_not_compared(content, snapshot, report, store, capsys):
    open_folder(store).write("last-good-snapshot.json", content)
    assert validate_snapshot(snapshot.root, report, store).findings == []
    assert "the volume is not compared with the last good run's" in capsys.readouterr().out
    assert json.loads((Path(store) / "last-good-snapshot.json").read_text())["rows"]["reviews"] == 3
