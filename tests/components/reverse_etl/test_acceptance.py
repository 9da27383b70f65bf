"""The verdict on a version, from figures alone; and the figures, against the plain way to count them."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from components.reverse_etl.acceptance import ACCEPTED, NOT_ENOUGH, REFUSED, decide
from components.reverse_etl.limits import Limits
from steam_recsys.data.schemas import RECOMMENDATIONS
from steam_recsys.publications.version_stats import CurrentVersion, VersionStats, count

SHOWN = CurrentVersion("v1", users=1000, rows=50_000, sample={user: list(range(1, 11)) for user in range(1, 101)})


def census(
    users: int = 1000, rows: int = 50_000, sampled_users: int = 100, churn: float = 0.5, least_rows: int = 50
) -> VersionStats:
    return VersionStats(users, rows, least_rows, sampled_users, churn * sampled_users)


def outcomes(counted: VersionStats, shown: CurrentVersion | None = SHOWN, limits: Limits = Limits()) -> dict[str, str]:  # noqa: B008
    return {rule.about: rule.outcome for rule in decide(counted, counted.users, shown, limits).rules}


def test_a_version_like_the_one_that_is_shown_is_accepted_by_every_rule() -> None:
    verdict = decide(census(), 1000, SHOWN, Limits())
    assert verdict.accepted
    assert set(outcomes(census()).values()) == {ACCEPTED}
    assert "churn: 0.5000, at most 0.9500 asked for (of the first 10 games of 100 users of v1): accepted" in (
        verdict.reasons
    )
    assert "games that steam.games does not hold: 0, at most 0 asked for: accepted" in verdict.reasons
    assert len(verdict.reasons) == 11


@pytest.mark.parametrize(
    ("counted", "about"),
    [
        (census(users=899, rows=899 * 50), "users against the version that is shown"),
        (census(sampled_users=89), "share of its users who have recommendations again"),
        (census(rows=44_999), "games per user"),
        (census(churn=0.951), "churn"),
        (census(churn=math.nan), "churn"),
        (census(least_rows=0), "least games of a user"),
        (census(users=0, rows=0), "users with recommendations"),
    ],
)
def test_each_rule_refuses_what_is_just_outside_of_it(counted: VersionStats, about: str) -> None:
    verdict = decide(counted, counted.users, SHOWN, Limits())
    assert not verdict.accepted
    assert about in [rule.about for rule in verdict.refusals]


@pytest.mark.parametrize(
    "counted", [census(users=900, rows=45_000), census(sampled_users=90), census(rows=45_000), census(churn=0.95)]
)
def test_each_rule_accepts_what_is_just_inside_of_it(counted: VersionStats) -> None:
    assert decide(counted, counted.users, SHOWN, Limits()).accepted


def test_what_is_asked_of_a_count_is_a_count_and_of_a_share_a_share() -> None:
    said = decide(census(users=1007), 1007, CurrentVersion("v1", 1003, 50_000, SHOWN.sample), Limits()).reasons
    assert "users that steam.users does not hold: 0, at most 100 asked for: accepted" in said
    about = "users against the version that is shown"
    assert f"{about}: 1,007, at least 903 asked for (0.9 × 1,003 of v1): accepted" in said
    assert any(reason.startswith("games per user: 49.6524, at least 44.8654 asked for") for reason in said)


@pytest.mark.parametrize("stored", [999, 1001])
def test_a_destination_that_holds_other_users_than_were_sent_is_refused(stored: int) -> None:
    (refusal,) = decide(census(), stored, SHOWN, Limits()).refusals
    assert refusal.about == "users in the destination, each once"


@pytest.mark.parametrize("defect", ["not_finite", "repeated", "unknown_games"])
def test_one_defect_is_enough(defect: str) -> None:
    counted = census()
    getattr(counted, defect).add(1, "user 7 in shard-00000.parquet")
    (refusal,) = decide(counted, 1000, None, Limits()).refusals
    assert refusal.finding.endswith(": 1, at most 0 asked for (user 7 in shard-00000.parquet for one)")


@pytest.mark.parametrize(("gone", "outcome"), [(1, ACCEPTED), (100, ACCEPTED), (101, REFUSED)])
def test_some_users_may_leave_the_shop_before_the_publication(gone: int, outcome: str) -> None:
    counted = census()
    counted.unknown_users.add(gone, "user 7 in shard-00000.parquet")
    assert outcomes(counted, None)["users that steam.users does not hold"] == outcome


def test_a_least_churn_can_be_asked_for() -> None:
    assert outcomes(census(churn=0.0))["churn"] == ACCEPTED
    assert outcomes(census(churn=0.0), limits=Limits(churn_floor=0.01))["churn"] == REFUSED


def test_a_version_with_few_users_is_not_evidence_enough_and_the_first_has_nothing_to_be_compared_with() -> None:
    few = CurrentVersion("v1", users=99, rows=50_000, sample={})
    assert list(outcomes(census(users=1, rows=1), few).values()).count(NOT_ENOUGH) == 4
    unsampled = CurrentVersion("v1", users=1000, rows=50_000, sample={})
    assert list(outcomes(census(sampled_users=0), unsampled).values()).count(NOT_ENOUGH) == 2
    assert len(outcomes(census(users=1, rows=1), None)) == 7
    assert decide(census(users=1, rows=1), 1, None, Limits()).accepted


Row = tuple[int, list[int], list[float | None], list[int | None]]


def plainly(rows: Sequence[Row], games: set[int], users: set[int], sample: dict[int, list[int]]) -> tuple[object, ...]:
    repeated = sum(len(row[1]) - len(set(row[1])) for row in rows)
    not_finite = sum(score is None or not math.isfinite(score) for row in rows for score in row[2])
    named, reasons = {game for row in rows for game in row[1]}, {game for row in rows for game in row[3]} - {None}
    here = [row for row in rows if row[0] in sample]
    replaced = sum(len(set(sample[row[0]]) - set(row[1][:10])) / len(sample[row[0]]) for row in here)
    return (
        len(rows), sum(len(row[1]) for row in rows), min(len(row[1]) for row in rows), len(here), round(replaced, 9),
        not_finite, repeated, len(named - games) + len(reasons - games), sum(row[0] not in users for row in rows),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_a_census_counts_as_the_plain_way_does(seed: int) -> None:
    random = np.random.default_rng(seed)
    width = int(random.integers(1, 15))
    rows: list[Row] = []
    for user in np.sort(random.choice(100, int(random.integers(1, 30)), replace=False)).tolist():
        length = width if seed % 2 else int(random.integers(0, width + 1))
        games = random.integers(1, 40, length).tolist()
        scores = [None if draw < 0.02 else math.inf if draw < 0.04 else draw for draw in random.random(length).tolist()]
        rows.append((user, games, scores, [None if draw == 0 else draw for draw in random.integers(0, 40, length)]))
    known_games, known_users = set(range(1, 38)), set(random.choice(100, 60, replace=False).tolist())
    sample = {user: random.integers(1, 40, 10).tolist() for user in range(0, 100, 3)}
    columns = [
        pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), RECOMMENDATIONS, strict=True)
    ]
    batch = pa.record_batch(columns, schema=RECOMMENDATIONS)
    counted = VersionStats()
    for start in range(0, len(rows), 11):
        part = batch.slice(start, 11)
        known = np.array(sorted(known_users))
        counted.add(count(part, "a shard", pa.array(sorted(known_games), pa.int32()), known, sample))
    whole = count(batch, "a shard", pa.array(sorted(known_games), pa.int32()), np.array(sorted(known_users)), sample)
    figures = [
        (each.users, each.rows, each.least_rows, each.sampled_users, round(each.replaced, 9),
         *(defect.count for defect in each.defects))
        for each in (whole, counted)
    ]  # fmt: skip
    expected = plainly(rows, known_games, known_users, sample)
    assert figures[0] == expected
    assert figures[1][:7] + figures[1][8:] == expected[:7] + expected[8:]  # unknown games are counted a batch
