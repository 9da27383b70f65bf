import math

import pytest

from components.train.deadline import SPARE_SHARE, Deadline
from steam_recsys.errors import UserError


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def deadline_and_clock(seconds: float, growth: float = 1.0) -> tuple[Deadline, Clock]:
    """A deadline whose budget is this many seconds apart from the spare share."""
    clock = Clock()
    return Deadline(seconds / 60 / (1 - SPARE_SHARE), clock, growth), clock


def fit(deadline: Deadline, clock: Clock, part: str, seconds: float, times: float = 1.0) -> None:
    with deadline.measure(part, times):
        clock.now += seconds


def ends(deadline: Deadline, part: str = "") -> bool:
    """Return whether the search ends at a check."""
    went_on = False
    with deadline.enforced():
        deadline.check(part)
        went_on = True
    return not went_on


def test_without_a_budget_the_search_never_ends() -> None:
    clock = Clock()
    deadline = Deadline(clock=clock)
    fit(deadline, clock, "towers", 1e9)
    assert not ends(deadline, "towers")
    assert not deadline.passed


@pytest.mark.parametrize(("now", "ended"), [(69.0, False), (71.0, True)])
def test_the_search_ends_once_the_final_fit_needs_what_is_left(now: float, ended: bool) -> None:
    deadline, clock = deadline_and_clock(100)
    fit(deadline, clock, "towers", 20)
    fit(deadline, clock, "sequence", 10)
    clock.now = 1000 + now
    assert ends(deadline) is ended
    assert deadline.passed is ended


@pytest.mark.parametrize(("now", "ended"), [(54.0, False), (56.0, True)])
def test_the_final_fit_takes_longer_with_more_data(now: float, ended: bool) -> None:
    deadline, clock = deadline_and_clock(100, growth=1.5)
    fit(deadline, clock, "towers", 30)
    clock.now = 1000 + now
    assert ends(deadline) is ended


@pytest.mark.parametrize(("now", "ended"), [(39.0, False), (41.0, True)])
def test_the_final_fit_takes_longer_with_more_steps(now: float, ended: bool) -> None:
    deadline, clock = deadline_and_clock(100)
    fit(deadline, clock, "towers", 20, times=3)
    clock.now = 1000 + now
    assert ends(deadline) is ended


def test_of_several_fits_of_a_part_the_longest_counts() -> None:
    deadline, clock = deadline_and_clock(100)
    for seconds in (5, 30, 10):
        fit(deadline, clock, "towers", seconds)
    clock.now = 1069
    assert not ends(deadline)
    clock.now = 1071
    assert ends(deadline)


def test_no_fit_begins_that_would_leave_too_little_for_the_final_one() -> None:
    deadline, clock = deadline_and_clock(100)
    fit(deadline, clock, "towers", 30)
    clock.now = 1041  # 59 s are left: enough for the final fit, but not after another fit
    assert not ends(deadline)
    assert not ends(deadline, "sequence")
    assert ends(deadline, "towers")


def test_a_running_fit_is_stopped_once_its_repetition_would_end_too_late() -> None:
    deadline, clock = deadline_and_clock(100)
    fit(deadline, clock, "towers", 20)
    seen = []
    with deadline.enforced(), deadline.measure("sequence"):
        while True:
            deadline.check()
            seen.append(clock.now - 1000)
            clock.now += 10
    assert seen == [20, 30, 40, 50]  # at 60, the final fit would take 20 and at least 40
    assert deadline.passed


def test_nothing_is_stopped_outside_the_enforced_block() -> None:
    deadline, clock = deadline_and_clock(10)
    fit(deadline, clock, "towers", 20)
    assert ends(deadline)
    fit(deadline, clock, "towers", 20)
    deadline.check("towers")


def test_an_error_in_the_search_is_not_hidden() -> None:
    with pytest.raises(UserError, match="loss"), Deadline(1.0).enforced():
        raise UserError("the loss is nan")


@pytest.mark.parametrize("minutes", [-1.0, math.nan, math.inf])
def test_a_budget_that_is_no_number_of_minutes_is_refused(minutes: float) -> None:
    with pytest.raises(UserError, match=r"^training_minutes is (-1|nan|inf): give a number of minutes, or 0 .*\.$"):
        Deadline(minutes)
