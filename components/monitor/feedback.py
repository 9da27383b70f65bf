"""Feedback: what users did with the games that they were shown, list by list, and beside the control group.

A game counts as shown once per user and list. It counts as clicked if the user opened it from that list afterwards, as
bought or dismissed if the user did so afterwards, wherever. One user sees many games, so an interval that took them for
independent would be too narrow: Wilson's interval is computed with the number of independent games that would have the
same variance as these, with users as clusters (Kish 1965, "Survey Sampling", sections 6.4 and 8.2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from steam_recsys.database.connection import Cursor
from steam_recsys.evaluation.intervals import BETTER, LEVEL, WORSE, Interval
from steam_recsys.evaluation.sequential_test import SequentialTest, compare_proportions

DAYS = 28
"""Days up to the snapshot whose events are reported, as in the realised quality."""

MOST_LISTS = 20
"""Lists that are reported: those that showed most games."""

OUTCOME_DAYS = 7
"""Days after a user was first shown games in which a purchase counts for the experiment."""

ROUNDING = 1e-9
"""Share of the sum of squares below which a difference of such sums is due to rounding."""

# Per user and list; rows without a list are per user over all lists.
_BY_LIST = """
WITH shown AS (
    SELECT user_id, game_id, shelf, min(occurred_at) AS first_at
    FROM recsys.events
    WHERE kind = 'shown' AND occurred_at >= %(since)s AND occurred_at < %(until)s
    GROUP BY user_id, game_id, shelf
), clicked AS (
    SELECT user_id, game_id, shelf, max(occurred_at) AS last_at
    FROM recsys.events
    WHERE kind = 'clicked' AND occurred_at >= %(since)s AND occurred_at < %(until)s
    GROUP BY user_id, game_id, shelf
), afterwards AS (
    SELECT user_id, game_id, max(occurred_at) FILTER (WHERE kind = 'bought') AS bought_at,
           max(occurred_at) FILTER (WHERE kind = 'dismissed') AS dismissed_at
    FROM recsys.events
    WHERE kind IN ('bought', 'dismissed') AND occurred_at >= %(since)s AND occurred_at < %(until)s
    GROUP BY user_id, game_id
), by_user AS (
    SELECT s.user_id, s.shelf, GROUPING(s.shelf) = 1 AS overall,
           count(*)::float8 AS shown,
           count(*) FILTER (WHERE c.last_at >= s.first_at)::float8 AS clicked,
           count(*) FILTER (WHERE a.bought_at >= s.first_at)::float8 AS bought,
           count(*) FILTER (WHERE a.dismissed_at >= s.first_at)::float8 AS dismissed
    FROM shown AS s
    LEFT JOIN clicked AS c USING (user_id, game_id, shelf)
    LEFT JOIN afterwards AS a USING (user_id, game_id)
    GROUP BY GROUPING SETS ((s.user_id, s.shelf), (s.user_id))
)
SELECT CASE WHEN NOT overall THEN shelf END, count(*), sum(shown), sum(shown * shown),
       sum(clicked), sum(clicked * clicked), sum(clicked * shown),
       sum(bought), sum(bought * bought), sum(bought * shown),
       sum(dismissed), sum(dismissed * dismissed), sum(dismissed * shown)
FROM by_user
GROUP BY overall, shelf
ORDER BY overall DESC, sum(shown) DESC, shelf
LIMIT %(rows)s
"""

_EXPERIMENT = "SELECT control_share, started_at, measured_until FROM recsys.experiment"
_END_EXPERIMENT = "DELETE FROM recsys.experiment; DELETE FROM recsys.experiment_users"
_BEGIN_EXPERIMENT = "INSERT INTO recsys.experiment VALUES (%(share)s, %(start)s, %(start)s)"

# A day is read again, for events that were committed after the last look.
_ENROL = """
INSERT INTO recsys.experiment_users (user_id, control, first_shown_at)
SELECT user_id, recsys.in_control_group(user_id, %(share)s), min(occurred_at)
FROM recsys.events
WHERE kind = 'shown' AND occurred_at >= greatest(%(start)s, %(measured)s - interval '1 day') AND occurred_at < %(until)s
GROUP BY user_id
ON CONFLICT DO NOTHING
"""

_OLDEST_OPEN = (
    "SELECT min(first_shown_at) FROM recsys.experiment_users WHERE bought IS NULL AND first_shown_at < %(closed)s"
)
_CLOSE = """
UPDATE recsys.experiment_users AS u SET bought = outcome.bought
FROM (SELECT w.user_id, count(e.user_id) > 0 AS bought
      FROM recsys.experiment_users AS w
      LEFT JOIN recsys.events AS e
          ON e.user_id = w.user_id AND e.kind = 'bought' AND e.occurred_at >= %(oldest)s AND e.occurred_at < %(until)s
          AND e.occurred_at >= w.first_shown_at AND e.occurred_at < w.first_shown_at + make_interval(days => %(days)s)
      WHERE w.bought IS NULL AND w.first_shown_at < %(closed)s
      GROUP BY w.user_id) AS outcome
WHERE outcome.user_id = u.user_id
"""
_MEASURED = "UPDATE recsys.experiment SET measured_until = greatest(measured_until, %(until)s)"

_DAYS = """
SELECT (first_shown_at AT TIME ZONE 'UTC')::date AS day,
       count(*) FILTER (WHERE control), count(*) FILTER (WHERE control AND bought),
       count(*) FILTER (WHERE NOT control), count(*) FILTER (WHERE NOT control AND bought)
FROM recsys.experiment_users WHERE bought IS NOT NULL AND first_shown_at < %(closed)s GROUP BY day ORDER BY day
"""


@dataclass(frozen=True)
class ListFeedback:
    """What users did with the games of a list.

    Attributes:
        shelf: Name of the list or place, as it was recorded; empty if it is unknown.
        users: Number of users who were shown its games.
        shown: Number of games that they were shown, each once per user.
        clicked, bought, dismissed: Shares of these.
    """

    shelf: str
    users: int
    shown: int
    clicked: Interval
    bought: Interval
    dismissed: Interval


@dataclass(frozen=True)
class Group:
    """A group of the experiment: its users whose outcome is known, and how many of them bought a game."""

    users: int
    bought: int


@dataclass(frozen=True)
class Experiment:
    """The comparison of recommendations with popular games.

    Attributes:
        control_share: Share of the users in the control group.
        started_on: ISO date of its first day.
        control: The users who got popular games.
        treatment: The others.
        test: The comparison of the shares of them who bought a game.
    """

    control_share: float
    started_on: str
    control: Group
    treatment: Group
    test: SequentialTest

    @property
    def summary(self) -> str:
        """What the comparison shows so far, as text."""
        control, treatment, difference = self.control, self.treatment, self.test.difference
        bought = (
            f"Since {self.started_on}, {treatment.bought:,} of {treatment.users:,} users with recommendations and "
            f"{control.bought:,} of {control.users:,} users in the control group bought a game in the week after they "
            f"were first shown some."
        )
        if difference is None:
            return f"{bought} That is too few to compare them."
        outcome = {
            BETTER: "Recommendations sell more than popular games",
            LEVEL: "Neither group is shown to buy more",
            WORSE: "Popular games sell more than recommendations",
        }[difference.outcome]
        mean, low, high = (f"{100 * number:+.2f}" for number in (difference.mean, difference.low, difference.high))
        return (
            f"{bought} {outcome}: {mean} percentage points, 95 % interval {low} to {high}, p = "
            f"{self.test.p_value:.3f}; both hold however often you look."
        )


@dataclass(frozen=True)
class Feedback:
    """All feedback.

    Attributes:
        overall: Over all lists, in which a game counts once per list; None if nothing was recorded as shown.
        lists: The lists that showed most games, in this order.
        experiment: The comparison with the control group; None if there is none.
    """

    overall: ListFeedback | None = None
    lists: tuple[ListFeedback, ...] = ()
    experiment: Experiment | None = None

    def facts(self) -> dict[str, Any]:
        """Return plain values, for the record; empty if there is no feedback."""
        if not (self.overall or self.experiment):
            return {}
        return {**asdict(self), "summary": self.experiment.summary if self.experiment else None}


@dataclass(frozen=True)
class DayCounts:
    """Users of the experiment by the day on which they were first shown games."""

    day: date
    control: Group
    treatment: Group


def measure_lists(cursor: Cursor, until: datetime) -> list[ListFeedback]:
    """Measure all lists together, then each list; empty if no game was recorded as shown.

    Args:
        cursor: A cursor on the database with the events.
        until: The time before which events count.
    """
    period = {"since": until - timedelta(days=DAYS), "until": until, "rows": 1 + MOST_LISTS}
    cursor.execute(_BY_LIST, period)
    found = []
    for shelf, users, shown, shown_squares, *sums in cursor.fetchall():
        shares = [
            share_of_games(users, shown, shown_squares, *sums[start : start + 3]) for start in range(0, len(sums), 3)
        ]
        found.append(ListFeedback(shelf or "", users, round(shown), *shares))
    return found


def share_of_games(
    users: int, shown: float, shown_squares: float, happened: float, happened_squares: float, products: float
) -> Interval:
    """Compute the share of shown games to which something happened, with an interval that has users as clusters.

    Args:
        users: Number of users.
        shown: Games shown, summed over the users.
        shown_squares: Their squares, summed over the users.
        happened: Games to which it happened, summed over the users.
        happened_squares: Their squares, summed over the users.
        products: Products of both numbers, summed over the users.
    """
    share = happened / shown
    residuals = happened_squares - 2 * share * products + share**2 * shown_squares
    if residuals <= ROUNDING * shown_squares:
        residuals = 0.0
    variance = users / (users - 1) * residuals / shown**2 if users > 1 else 0.0
    # Without variance nothing is known of the clusters: as if each user counted once.
    independent = min(share * (1 - share) / variance, shown) if variance else float(users)
    return Interval.wilson(share, independent, math.sqrt(variance))


def measure_experiment(
    cursor: Cursor, control_share: float, published_at: datetime, until: datetime
) -> Experiment | None:
    """Bring the experiment up to date and measure it; None without a control group.

    It begins when the share of the control group changes, and forgets the one before. A user takes part from the first
    game that was shown to this user in the experiment, with one outcome: whether the user bought a game, any game, in
    the week from then on. Users are compared once their week is over, so each counts once and with the same chance.

    Args:
        cursor: A cursor on the database with the events.
        control_share: Share of the control group in the current publication.
        published_at: When that publication first became current.
        until: The time before which events count.
    """
    cursor.execute("LOCK TABLE recsys.experiment IN SHARE ROW EXCLUSIVE MODE")  # one run at a time
    cursor.execute(_EXPERIMENT)
    running = cursor.fetchone()
    if running and running[0] != control_share:
        cursor.execute(_END_EXPERIMENT)
        running = None
    if not control_share:
        return None
    if running is None:
        cursor.execute(_BEGIN_EXPERIMENT, {"share": control_share, "start": published_at})
        running = control_share, published_at, published_at
    _, start, measured = running
    closed = datetime(until.year, until.month, until.day, tzinfo=until.tzinfo) - timedelta(days=OUTCOME_DAYS)
    times = {"share": control_share, "start": start, "measured": measured, "until": until, "closed": closed}
    if until > measured:
        cursor.execute(_ENROL, times)
        cursor.execute(_OLDEST_OPEN, times)
        ((oldest,),) = cursor.fetchall()
        if oldest is not None:
            cursor.execute(_CLOSE, {**times, "oldest": oldest, "days": OUTCOME_DAYS})
        cursor.execute(_MEASURED, times)
    cursor.execute(_DAYS, times)
    days = [DayCounts(day, Group(*counts[:2]), Group(*counts[2:])) for day, *counts in cursor.fetchall()]
    return compare_groups(control_share, start.date(), days)


def compare_groups(control_share: float, started_on: date, days: Sequence[DayCounts]) -> Experiment:
    """Compare both groups, as if looked at after each day.

    Args:
        control_share: Share of the users in the control group.
        started_on: The first day.
        days: The users of each day, in the order of the days.
    """
    groups = [(each.control.users, each.control.bought, each.treatment.users, each.treatment.bought) for each in days]
    cumulated = np.cumsum(np.array(groups, dtype=np.int64).reshape(-1, 4), axis=0)
    control_users, control_bought, users, bought = cumulated[-1].tolist() if len(days) else (0, 0, 0, 0)
    return Experiment(
        control_share,
        started_on.isoformat(),
        Group(control_users, control_bought),
        Group(users, bought),
        compare_proportions(*cumulated.T),
    )
