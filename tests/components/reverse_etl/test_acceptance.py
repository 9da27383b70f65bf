"""The verdict on a version from its counts, and the counts compared with a naive implementation."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from components.reverse_etl.acceptance import DEFAULT, Thresholds, decide
from steam_recsys.data.schemas import LISTS, RECOMMENDATIONS
from steam_recsys.publications.loading import CurrentVersion, KnownGames, Stored, VersionStats, count_batch
from steam_recsys.publications.personalisation import PersonalisationStats
from steam_recsys.rules import FAILED, NOT_ENOUGH, PASSED

CURRENT = CurrentVersion("v1", users=1000, rows=50_000, sample={user: list(range(1, 11)) for user in range(1, 101)})


def stats(
    users: int = 1000,
    rows: int = 50_000,
    sampled_users: int = 100,
    churn: float = 0.5,
    least_rows: int = 50,
    shared: int = 5,
) -> VersionStats:
    """Counts of a version in which any two users have this many of their first ten games in common."""
    lists = np.array([[*range(shared), *range(user * 10, user * 10 + 10 - shared)] for user in range(10, 40)], np.int32)
    personalisation = PersonalisationStats.count(np.arange(30), lists, np.zeros(0, np.int32))
    return VersionStats(users, 2 * users, rows, least_rows, sampled_users, churn * sampled_users, personalisation)


def stored(counted: VersionStats) -> Stored:
    return Stored("lists", counted.lists, counted.lists)


def outcomes(
    counted: VersionStats, shown: CurrentVersion | None = CURRENT, thresholds: Thresholds = DEFAULT
) -> dict[str, str]:
    return {rule.about: rule.outcome for rule in decide(counted, stored(counted), shown, thresholds).rules}


def test_a_version_like_the_current_one_passes_every_rule() -> None:
    verdict = decide(stats(), stored(stats()), CURRENT, Thresholds())
    assert verdict.passed
    assert set(outcomes(stats()).values()) == {PASSED}
    assert "Churn: 0.5000, must be at most 0.9500 (first 10 games of 100 users of v1): passed." in (verdict.sentences)
    assert "Games and reasons that steam.games does not hold: 0, must be at most 0: passed." in verdict.sentences
    assert (
        "Overlap of two users' first ten games: 0.3333, must be at most 0.9000 (every pair of 30 users): passed."
    ) in verdict.sentences
    assert len(verdict.sentences) == 12


@pytest.mark.parametrize(
    ("counted", "about"),
    [
        (stats(users=899, rows=899 * 50), "Users compared with the current version"),
        (stats(sampled_users=89), "Share of the current users who have recommendations again"),
        (stats(rows=44_999), "Games per user"),
        (stats(churn=0.951), "Churn"),
        (stats(churn=math.nan), "Churn"),
        (stats(least_rows=0), "Fewest games of a list"),
        (stats(shared=10), "Overlap of two users' first ten games"),
        (stats(users=0, rows=0), "Users with recommendations"),
    ],
)
def test_each_rule_fails_just_outside_its_bounds(counted: VersionStats, about: str) -> None:
    verdict = decide(counted, stored(counted), CURRENT, Thresholds())
    assert not verdict.passed
    assert about in [rule.about for rule in verdict.failures]


@pytest.mark.parametrize(
    "counted",
    [stats(users=900, rows=45_000), stats(sampled_users=90), stats(rows=45_000), stats(churn=0.95), stats(shared=9)],
)
def test_each_rule_passes_just_inside_its_bounds(counted: VersionStats) -> None:
    assert decide(counted, stored(counted), CURRENT, Thresholds()).passed


def test_bounds_of_counts_are_counts_and_bounds_of_shares_are_shares() -> None:
    current = CurrentVersion("v1", 1003, 50_000, CURRENT.sample)
    said = decide(stats(users=1007), stored(stats(users=1007)), current, Thresholds()).sentences
    assert "Users that steam.users does not hold: 0, must be at most 100: passed." in said
    about = "Users compared with the current version"
    assert f"{about}: 1,007, must be at least 903 (0.9 × 1,003 of v1): passed." in said
    assert any(reason.startswith("Games per user: 49.6524, must be at least 44.8654 ") for reason in said)


@pytest.mark.parametrize("held", [1999, 2001])
@pytest.mark.parametrize("keys", ["lists", "users"])
def test_a_destination_that_holds_other_lists_than_were_sent_fails(keys: str, held: int) -> None:
    (failure,) = decide(stats(), Stored(keys, held, 2000), CURRENT, Thresholds()).failures
    assert str(failure).startswith(
        f"{keys.capitalize()} in the destination, each once: {held:,}, must be exactly 2,000 ("
    )


def test_an_overlap_of_few_users_is_not_enough_evidence() -> None:
    about = "Overlap of two users' first ten games"
    assert outcomes(stats(users=99, shared=10), None)[about] == NOT_ENOUGH
    assert outcomes(stats(users=100, shared=10), None)[about] == FAILED
    assert outcomes(stats(users=100, shared=10), None, Thresholds(overlap_ceiling=1.0))[about] == PASSED


@pytest.mark.parametrize("defect", ["not_finite", "repeated", "unknown_games"])
def test_one_defect_is_enough(defect: str) -> None:
    counted = stats()
    getattr(counted, defect).add(1, "user 7 in shard-00000.parquet")
    (failure,) = decide(counted, stored(counted), None, Thresholds()).failures
    assert str(failure).endswith(": 1, must be at most 0 (user 7 in shard-00000.parquet, for example): failed.")


@pytest.mark.parametrize(("gone", "outcome"), [(1, PASSED), (100, PASSED), (101, FAILED)])
def test_some_users_may_be_deleted_before_the_publication(gone: int, outcome: str) -> None:
    counted = stats()
    counted.unknown_users.add(gone, "user 7 in shard-00000.parquet")
    assert outcomes(counted, None)["Users that steam.users does not hold"] == outcome


def test_a_minimum_churn_can_be_required() -> None:
    assert outcomes(stats(churn=0.0))["Churn"] == PASSED
    assert outcomes(stats(churn=0.0), thresholds=Thresholds(churn_floor=0.01))["Churn"] == FAILED


def test_few_users_are_not_enough_evidence_and_the_first_version_is_not_compared() -> None:
    few = CurrentVersion("v1", users=99, rows=50_000, sample={})
    assert list(outcomes(stats(users=1, rows=1), few).values()).count(NOT_ENOUGH) == 5
    unsampled = CurrentVersion("v1", users=1000, rows=50_000, sample={})
    assert list(outcomes(stats(sampled_users=0), unsampled).values()).count(NOT_ENOUGH) == 2
    one = stats(users=1, rows=1)
    assert len(outcomes(one, None)) == 8
    assert decide(one, stored(one), None, Thresholds()).passed


Numbers = list[float | None]
Row = tuple[int, str, list[int], Numbers, Numbers, list[int | None]]
POPULAR = list(range(1, 30, 2))


def naive_jaccard(one: list[int], other: list[int]) -> float:
    return len(set(one) & set(other)) / max(1, len(set(one) | set(other)))


def naive_counts(
    rows: Sequence[Row], games: set[int], users: set[int], sample: dict[int, list[int]]
) -> tuple[object, ...]:
    repeated = sum(len(row[2]) - len(set(row[2])) for row in rows)
    not_finite = sum(number is None or not math.isfinite(number) for row in rows for number in [*row[3], *row[4]])
    unknown = sum(game not in {*games, None} for row in rows for game in [*row[2], *row[5]])
    relevant = {row[0]: row[2] for row in rows if row[1] == "relevance"}
    here = relevant.keys() & sample.keys()
    replaced = sum(len(set(sample[user]) - set(relevant[user][:10])) / len(sample[user]) for user in here)
    return (
        len(relevant), len(rows), sum(len(row[2]) for row in rows), min(len(row[2]) for row in rows), len(here),
        round(replaced, 9), not_finite, repeated, unknown,
        sum(user not in users for user in relevant),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_counts_match_a_naive_implementation(seed: int) -> None:
    random = np.random.default_rng(seed)
    width = int(random.integers(1, 15))

    def numbers(length: int) -> Numbers:
        return [None if draw < 0.02 else math.inf if draw < 0.04 else draw for draw in random.random(length).tolist()]

    rows: list[Row] = []
    for user in np.sort(random.choice(100, int(random.integers(1, 30)), replace=False)).tolist():
        for name in ("relevance", *(name for name in LISTS[1:] if random.random() < 0.5)):
            length = width if seed % 2 else int(random.integers(0, width + 1))
            because = [None if draw == 0 else draw for draw in random.integers(0, 40, length).tolist()]
            games = random.integers(1, 40, length).tolist()
            rows.append((user, name, games, numbers(length), numbers(length), because))
    known_games, known_users = set(range(1, 38)), set(random.choice(100, 60, replace=False).tolist())
    sample = {user: random.integers(1, 40, 10).tolist() for user in range(0, 100, 3)}
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), RECOMMENDATIONS, strict=True)
    ]
    batch = pa.record_batch(columns, schema=RECOMMENDATIONS)
    shop = KnownGames(pa.array(sorted(known_games), pa.int32()), np.array(POPULAR, np.int32))
    known = np.array(sorted(known_users))
    counted = VersionStats()
    starts = [n for n, row in enumerate(rows) if row[1] == "relevance"][::3]
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        counted.add(count_batch(batch.slice(start, end - start), "a shard", shop, known, sample))
    whole = count_batch(batch, "a shard", shop, known, sample)
    figures = [
        (each.users, each.lists, each.rows, each.least_rows, each.sampled_users, round(each.replaced, 9),
         *(defect.count for defect in each.defects))
        for each in (whole, counted)
    ]  # fmt: skip
    expected = naive_counts(rows, known_games, known_users, sample)
    assert figures == [expected, expected]
    assert counted.personalisation.measure(shop.games) == whole.personalisation.measure(shop.games)
