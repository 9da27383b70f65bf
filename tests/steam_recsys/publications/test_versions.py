"""Which version to go back to, which to drop, and MongoDB's pointer, as pure functions of what is kept."""

from dataclasses import replace
from datetime import UTC, date, datetime

import numpy as np
import pytest

from steam_recsys.errors import UserError
from steam_recsys.publications.mongo.registry import Registry
from steam_recsys.publications.versions import (
    KEPT_VERSIONS,
    VersionInfo,
    check_name,
    current,
    expired,
    rollback_target,
)

NOW = datetime(2024, 1, 1, tzinfo=UTC)


def made(version: str) -> VersionInfo:
    return VersionInfo(version, "m", "s", date(2024, 1, 1))


def published(*versions: str) -> Registry:
    """Versions that were published one after the other; one that is kept already is switched to again."""
    registry = Registry()
    for version in versions:
        if version not in [each.version for each in registry.kept]:
            registry = registry.registered(made(version)).counted(version, 10, 20)
        registry = registry.switched(version, NOW)
    return registry


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
    registry = published(*history)
    last = list(dict.fromkeys(reversed(history)))
    now = current(registry.kept)
    assert now is not None
    assert now.version == registry.version == history[-1]
    assert sorted(expired(registry.kept)) == sorted(last[KEPT_VERSIONS:])
    skewed = [replace(each, published_at=NOW.replace(year=int(random.integers(1990, 2050)))) for each in registry.kept]
    assert expired(skewed) == expired(registry.kept)


def test_the_pointer_document_comes_back_as_it_was_stored() -> None:
    registry = published("v1", "v2", "v1").registered(made("v3")).retiring(["v2", "v1"])
    assert [each.made.version for each in registry.loading] == ["v3"]
    assert registry.retired == ("v2",)
    assert [each.version for each in registry.kept] == ["v1"]
    stored = registry.document()
    assert Registry.from_document(stored) == replace(registry, revision=registry.revision + 1)
    assert Registry.from_document(None) == Registry()
    assert registry.without(["v3", "v2"]).loading == ()


def test_the_pointer_moves_only_to_what_is_there_and_only_where_it_is_not_already() -> None:
    registry = published("v1")
    assert registry.switched("v1", NOW) is registry
    with pytest.raises(UserError, match="The version v2 is not in MongoDB"):
        registry.switched("v2", NOW)


@pytest.mark.parametrize("version", ["20240101-0a1b2c3d", "v" * 47, "1.0_x"])
def test_a_name_that_can_be_part_of_a_tables_name_is_taken(version: str) -> None:
    check_name(version)


def test_neither_what_is_half_loaded_nor_what_is_being_dropped_can_be_made_current() -> None:
    registry = published("v1", "v2").registered(made("v3")).retiring(["v1"])
    for version in ("v1", "v3"):
        with pytest.raises(UserError, match=f"{version} is not in MongoDB, or not whole: publish it again"):
            registry.switched(version, NOW)
    assert registry.counted("v3", 10, 20).switched("v3", NOW).version == "v3"
