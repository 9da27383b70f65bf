"""What users did with the recommendations: recorded in a real PostgreSQL, and compared with plain counting."""

import random
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extras import execute_values

from components.monitor.feedback import (
    DAYS,
    DayCounts,
    Experiment,
    Group,
    compare_groups,
    measure_experiment,
    measure_lists,
    share_of_games,
)
from steam_recsys.database.connection import create_schema
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.publications.control_group import in_control_group

NOW = datetime(2026, 3, 2, 5, tzinfo=UTC)

Event = tuple[float, int, int, str, str]
"""Days before `NOW`, user, game, kind and list."""


@pytest.fixture
def recorded(connection: Connection) -> Connection:
    create_schema(connection, "recsys")
    return connection


def record(connection: Connection, events: Iterable[Event]) -> None:
    rows = [(NOW - timedelta(days=ago), user, game, kind, "v1", shelf) for ago, user, game, kind, shelf in events]
    with connection.cursor() as cursor:
        execute_values(cursor, "INSERT INTO recsys.events VALUES %s", rows)


def test_clicks_count_in_their_list_and_purchases_in_every_list_if_they_follow(recorded: Connection) -> None:
    record(
        recorded,
        [
            (5, 1, 10, "shown", "relevance"), (4, 1, 10, "shown", "relevance"), (3, 1, 10, "clicked", "relevance"),
            (3, 1, 10, "clicked", "relevance"), (5, 1, 10, "shown", "popular"), (2, 1, 10, "bought", ""),
            (5, 1, 11, "shown", "relevance"), (6, 1, 11, "clicked", "relevance"),  # before it was shown
            (5, 2, 10, "shown", "popular"), (4, 2, 10, "dismissed", ""),
            (DAYS + 1, 2, 12, "shown", "popular"), (-1, 2, 13, "shown", "popular"),  # outside the period
        ],
    )  # fmt: skip
    with recorded.cursor() as cursor:
        overall, popular, relevance = measure_lists(cursor, NOW)
    assert [(each.shelf, each.users, each.shown) for each in (overall, popular, relevance)] == [
        ("", 2, 4), ("popular", 2, 2), ("relevance", 1, 2)
    ]  # fmt: skip
    assert [each.clicked.mean for each in (overall, popular, relevance)] == [0.25, 0.0, 0.5]
    assert [each.bought.mean for each in (overall, popular, relevance)] == [0.5, 0.5, 0.5]
    assert [each.dismissed.mean for each in (overall, popular, relevance)] == [0.25, 0.5, 0.0]
    for each in (overall, popular, relevance):
        assert 0 <= each.clicked.low <= each.clicked.mean <= each.clicked.high <= 1


def test_without_events_nothing_is_measured(recorded: Connection) -> None:
    with recorded.cursor() as cursor:
        assert measure_lists(cursor, NOW) == []
    assert experiments(recorded, 0.0, NOW, [NOW]) == [None]


def test_an_interval_covers_the_true_share_though_games_of_a_user_are_alike() -> None:
    numbers = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        shown = numbers.integers(1, 30, 200)
        happened = numbers.binomial(shown, numbers.beta(0.5, 4.5, 200))  # some users click often, most never
        interval = share_of_games(
            200,
            *map(float, (shown.sum(), (shown**2).sum(), happened.sum(), (happened**2).sum(), (shown * happened).sum())),
        )
        covered += interval.low <= 0.1 <= interval.high
    assert covered / 400 == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("shown", [1, 3, 7, 39])
def test_users_who_all_have_the_same_share_count_once_each(shown: int) -> None:
    happened = shown - shown // 3
    sums = (1_000.0 * each for each in (shown, shown**2, happened, happened**2, shown * happened))
    expected = Interval.wilson(happened / shown, 1_000.0, 0.0)
    interval = share_of_games(1_000, *sums)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def experiments(
    connection: Connection, share: float, start: datetime, looks: Iterable[datetime]
) -> list[Experiment | None]:
    found = []
    with connection.cursor() as cursor:
        for until in looks:
            cursor.execute("BEGIN")
            found.append(measure_experiment(cursor, share, start, until))
            cursor.execute("COMMIT")
    return found


def test_daily_looks_find_what_plain_counting_finds(recorded: Connection) -> None:
    chance = random.Random(0)
    events = [
        (
            chance.uniform(0, 25),
            chance.randint(1, 400),
            chance.randint(1, 9),
            chance.choice(["shown"] * 9 + ["bought"]),
            "",
        )
        for _ in range(4_000)
    ]
    record(recorded, events)
    start = NOW - timedelta(days=20)
    looks = [NOW - timedelta(days=ago) for ago in range(19, -1, -1)]
    found = experiments(recorded, 0.25, start, looks)
    first: dict[int, float] = {}
    for ago, user, _, kind, _ in sorted(events, reverse=True):
        if kind == "shown" and ago <= 20:
            first.setdefault(user, ago)
    bought = defaultdict(list)
    for ago, user, _, kind, _ in events:
        if kind == "bought":
            bought[user].append(ago)
    counts = {True: [0, 0], False: [0, 0]}
    for user, ago in first.items():
        if NOW - timedelta(days=ago) < datetime(2026, 2, 23, tzinfo=UTC):  # a week before today's midnight
            group = counts[bool(in_control_group(np.array([user]), 0.25)[0])]
            group[0] += 1
            group[1] += any(ago - 7 < each <= ago for each in bought[user])
    last = found[-1]
    assert (last.control, last.treatment) == (Group(*counts[True]), Group(*counts[False]))
    assert last.control.users > 50
    assert last.treatment.bought > 50
    assert experiments(recorded, 0.25, start, looks[-1:]) == [last]  # a repetition finds the same
    with recorded.cursor() as cursor:
        cursor.execute("DELETE FROM recsys.experiment; DELETE FROM recsys.experiment_users")
    assert experiments(recorded, 0.25, start, looks[-1:]) == [last]  # and so does one look instead of many


def test_an_experiment_outlives_its_events_and_ends_with_its_share(recorded: Connection) -> None:
    record(recorded, [(10, user, 1, "shown", "") for user in range(1, 101)])
    start = NOW - timedelta(days=11)
    (before,) = experiments(recorded, 0.1, start, [NOW])
    assert before.control.users + before.treatment.users == 100
    with recorded.cursor() as cursor:
        cursor.execute("DELETE FROM recsys.events")
    assert experiments(recorded, 0.1, NOW, [NOW]) == [before]
    (changed,) = experiments(recorded, 0.2, NOW, [NOW])
    assert (changed.control_share, changed.control.users, changed.treatment.users) == (0.2, 0, 0)
    assert experiments(recorded, 0.0, NOW, [NOW]) == [None]


def test_the_comparison_is_said_in_a_sentence() -> None:
    few = compare_groups(0.1, date(2026, 1, 1), [DayCounts(date(2026, 1, 1), Group(10, 1), Group(90, 9))])
    assert few.summary == (
        "Since 2026-01-01, 9 of 90 users with recommendations and 1 of 10 users in the control group bought a game in "
        "the week after they were first shown some. That is too few to compare them."
    )
    much = compare_groups(0.5, date(2026, 1, 1), [DayCounts(date(2026, 1, 1), Group(2_000, 100), Group(2_000, 200))])
    assert "Recommendations sell more than popular games: +5.00 percentage points" in much.summary
    level = compare_groups(0.5, date(2026, 1, 1), [DayCounts(date(2026, 1, 1), Group(2_000, 100), Group(2_000, 101))])
    assert "Neither group is shown to buy more" in level.summary


def test_the_sentence_of_the_documentation_is_that_of_its_figures() -> None:
    days = [DayCounts(date(2026, 1, 5), Group(5_004, 158), Group(95_120, 4_210))]
    page = (Path(__file__).parents[3] / "docs" / "feedback.md").read_text()
    assert compare_groups(0.05, date(2026, 1, 5), days).summary in page.replace("\n> ", " ")
