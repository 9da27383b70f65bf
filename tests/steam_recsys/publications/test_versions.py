"""The rollback target, expired versions and MongoDB's pointer, as pure functions of the kept versions."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from steam_recsys.errors import UserError
from steam_recsys.publications.mongo import PointerDocument, UnpublishedVersion
from steam_recsys.publications.personalisation import Personalisation
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
    return VersionInfo(version, "m", "s", date(2024, 1, 1), 0.0)


def loaded(version: str) -> UnpublishedVersion:
    return UnpublishedVersion(info(version), 10, 20, Personalisation(0.5, 0.25, None))


def published(*versions: str) -> PointerDocument:
    """Publish versions one after another; a version that is already kept becomes current again."""
    pointer = PointerDocument()
    for version in versions:
        if version not in [each.version for each in pointer.kept]:
            pointer = pointer.with_unpublished(info(version)).with_loaded(loaded(version))
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
def test_rollback_returns_to_the_version_that_was_current_last(history: list[str], target: str) -> None:
    assert rollback_target(published(*history).kept, None) == target


@pytest.mark.parametrize("history", [[], ["v1"], ["v1", "v2", "v1"]])
def test_without_an_earlier_version_a_rollback_is_refused(history: list[str]) -> None:
    with pytest.raises(UserError, match="There is no version before"):
        rollback_target(published(*history).kept, None)


@pytest.mark.parametrize("seed", range(20))
def test_only_switches_decide_which_versions_are_kept(seed: int) -> None:
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


def test_the_pointer_document_is_read_as_it_was_stored() -> None:
    pointer = published("v1", "v2", "v1").with_unpublished(info("v3")).with_retired(["v2", "v1"])
    assert [each.info.version for each in pointer.loading] == ["v3"]
    assert pointer.retired == ("v2",)
    assert [each.version for each in pointer.kept] == ["v1"]
    assert [(each.overlap, each.coverage, each.popular_ten) for each in pointer.kept] == [(0.5, 0.25, None)]
    stored = pointer.document()
    assert PointerDocument.from_document(stored) == replace(pointer, revision=pointer.revision + 1)
    assert PointerDocument.from_document(None) == PointerDocument()
    assert pointer.without(["v3", "v2"]).loading == ()


def test_the_pointer_moves_only_to_another_existing_version() -> None:
    pointer = published("v1")
    assert pointer.with_current("v1", NOW) is pointer
    with pytest.raises(UserError, match="The version v2 is not in MongoDB"):
        pointer.with_current("v2", NOW)


@pytest.mark.parametrize("version", ["20240101-0a1b2c3d", "v" * 47, "1.0_x"])
def test_a_version_name_that_is_valid_in_a_table_name_is_accepted(version: str) -> None:
    check_name(version)


def test_half_loaded_and_half_dropped_versions_cannot_become_current() -> None:
    pointer = published("v1", "v2").with_unpublished(info("v3")).with_retired(["v1"])
    for version in ("v1", "v3"):
        with pytest.raises(UserError, match=f"{version} is not in MongoDB, or not complete: publish it again"):
            pointer.with_current(version, NOW)
    assert pointer.with_loaded(loaded("v3")).with_current("v3", NOW).version == "v3"
