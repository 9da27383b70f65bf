"""Rolling back to a kept version."""

from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig, rollback
from tests.components.reverse_etl.predicted import marked, publish_version
from tests.components.reverse_etl.test_publication import shown, tables, tables_of


@pytest.fixture
def three_versions(shop: Connection, database: str, tmp_path: Path) -> Connection:
    for number in range(1, 4):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    return shop


def test_a_rollback_goes_one_version_back_each_time_until_there_is_none(
    three_versions: Connection, database: str
) -> None:
    assert rollback(DestinationConfig(database)) == "v2"
    assert shown(three_versions) == ("v2", 2.0, 2)
    assert rollback(DestinationConfig(database)) == "v1"
    with pytest.raises(UserError, match="no version before v1 to roll back to: publish a new one"):
        rollback(DestinationConfig(database))
    assert shown(three_versions) == ("v1", 1.0, 2)


def test_a_rollback_can_name_its_version_even_a_newer_one(three_versions: Connection, database: str) -> None:
    assert rollback(DestinationConfig(database), "v1") == "v1"
    assert rollback(DestinationConfig(database), "v1") == "v1"
    assert rollback(DestinationConfig(database), "v3") == "v3"
    assert shown(three_versions) == ("v3", 3.0, 2)


def test_a_rollback_to_a_version_that_is_not_kept_names_those_that_are(
    three_versions: Connection, database: str
) -> None:
    with pytest.raises(UserError, match=r"The version v0 is not kept: choose one of v3, v2, v1\."):
        rollback(DestinationConfig(database), "v0")


def test_publishing_the_version_rolled_back_from_does_not_undo_the_rollback(
    three_versions: Connection, database: str, tmp_path: Path
) -> None:
    rollback(DestinationConfig(database))
    assert not publish_version(database, tmp_path / "3", "v3").switched
    assert shown(three_versions) == ("v2", 2.0, 2)


def test_a_version_rolled_back_to_is_the_one_to_go_back_to_and_is_kept(
    three_versions: Connection, database: str, tmp_path: Path
) -> None:
    rollback(DestinationConfig(database), "v1")
    publish_version(database, marked(tmp_path / "4", three_versions, 4, users=2), "v4")
    assert tables(three_versions) == tables_of("v1", "v3", "v4")
    assert rollback(DestinationConfig(database)) == "v1"


def test_a_rollback_does_not_wait_for_a_publication_under_way(
    three_versions: Connection, database: str, postgres_url: str
) -> None:
    publisher = psycopg2.connect(postgres_url)
    publisher.cursor().execute("SELECT pg_advisory_lock(hashtext('steam-recsys:recsys.publish'))")
    assert rollback(DestinationConfig(database)) == "v2"
    publisher.close()
