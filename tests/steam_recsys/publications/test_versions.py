"""Which version to go back to, which to drop, and MongoDB's pointer, as pure functions of what is kept."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from steam_recsys.errors import UserError
from steam_recsys.publications.mongo import PointerDocument
from steam_recsys.publications.versions import (
    KEPT_VERSIONS,
    VersionInfo,
    check_name,
    expired_versions,
    find_current,
    rollback_target,
)

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def info(version: str) -> VersionInfo:
    return VersionInfo(version, "m", "s", date(2024, 1, 1))


def published(*versions: str) -> PointerDocument:
    """Versions that were published one after the other; one that is kept already is switched to again."""
    pointer = PointerDocument()
    for version in versions:
        if version not in [each.version for each in pointer.kept]:
            pointer = pointer.with_unpublished(info(version)).with_counts(version, 10, 20)
        pointer = pointer.with_current(version, NOW)
    return pointer


@pytest.mark.parametrize(
    ("history", "target"),
    [
        (["v1", "v2", "v3"], "v2"),
        (["v1", "v2", "v3", "v2"], "v1"),
        (["v1", "v2", "v3", "v1", "v4"], "v1"),
        (["v1", "v2", "v1", "v2"], "v1"),
    ],
)
def test_the_way_back_leads_to_the_version_that_was_current_last_of_those_before(
    history: list[str], target: str
) -> None:
    assert rollback_target(published(*history).kept, None) == target


@pytest.mark.parametrize("history", [[], ["v1"], ["v1", "v2", "v1"]])
def test_before_the_first_version_there_is_none(history: list[str]) -> None:
    with pytest.raises(UserError, match="There is no version before"):
        rollback_target(published(*history).kept, None)


@pytest.mark.parametrize("seed", range(20))
def test_switches_alone_decide_what_is_kept(seed: int) -> None:
    random = np.random.default_rng(seed)
    history = [f"v{number}" for number in random.integers(0, 8, 30)]
    pointer = published(*history)
    last = list(dict.fromkeys(reversed(history)))
    now = find_current(pointer.kept)
    assert now is not None
    assert now.version == pointer.version == history[-1]
    assert sorted(expired_versions(pointer.kept)) == sorted(last[KEPT_VERSIONS:])
    skewed = [replace(each, published_at=NOW.replace(year=int(random.integers(1990, 2050)))) for each in pointer.kept]
    assert expired_versions(skewed) == expired_versions(pointer.kept)


def test_the_pointer_document_comes_back_as_it_was_stored() -> None:
    pointer = published("v1", "v2", "v1").with_unpublished(info("v3")).with_retired(["v2", "v1"])
    assert [each.info.version for each in pointer.loading] == ["v3"]
    assert pointer.retired == ("v2",)
    assert [each.version for each in pointer.kept] == ["v1"]
    stored = pointer.document()
    assert PointerDocument.from_document(stored) == replace(pointer, revision=pointer.revision + 1)
    assert PointerDocument.from_document(None) == PointerDocument()
    assert pointer.without(["v3", "v2"]).loading == ()


def test_the_pointer_moves_only_to_what_is_there_and_only_where_it_is_not_already() -> None:
    pointer = published("v1")
    assert pointer.with_current("v1", NOW) is pointer
    with pytest.raises(UserError, match="The version v2 is not in MongoDB"):
        pointer.with_current("v2", NOW)


@pytest.mark.parametrize("version", ["20240101-0a1b2c3d", "v" * 47, "1.0_x"])
def test_a_name_that_can_be_part_of_a_tables_name_is_taken(version: str) -> None:
    check_name(version)


def test_neither_what_is_half_loaded_nor_what_is_being_dropped_can_be_made_current() -> None:
    pointer = published("v1", "v2").with_unpublished(info("v3")).with_retired(["v1"])
    for version in ("v1", "v3"):
        with pytest.raises(UserError, match=f"{version} is not in MongoDB, or not complete: publish it again"):
            pointer.with_current(version, NOW)
    assert pointer.with_counts("v3", 10, 20).with_current("v3", NOW).version == "v3"
