"""The deadline of a training with a time budget: it ends the search for settings in time for the final fit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from steam_recsys.errors import UserError

SPARE_SHARE = 0.05
"""Share of the budget that is kept for what is not measured in advance, such as writing the model."""


class _OutOfTimeError(Exception):
    """What is left of the budget is needed for the final fit."""


@dataclass
class Deadline:
    """The deadline of a training, counted from when this object was made.

    The search for settings asks it before each fit and each measurement, and during fits. A step of the search ends
    once what is left would not be enough for the final fit. That fit repeats one fit of each part of the model, so its
    time is estimated from theirs.

    Attributes:
        minutes: The budget in minutes; 0 for no limit.
        clock: Returns the time in seconds, from any start.
        growth: How many times as many interactions the final fit has.
        passed: Whether the search has been cut short.

    Raises:
        UserError: The budget is negative or not finite.

    Example:
        >>> times = iter([0.0, 10.0, 40.0, 50.0])
        >>> deadline = Deadline(1.0, lambda: next(times))
        >>> with deadline.measure("towers"):  # from 10 to 40 s
        ...     pass
        >>> with deadline.enforced():  # at 50 s, 7 s before the end
        ...     deadline.check()
        ...     print("never printed")
        >>> deadline.passed
        True
    """

    minutes: float = 0.0
    clock: Callable[[], float] = time.monotonic
    growth: float = 1.0
    passed: bool = field(default=False, init=False)
    _enforced: bool = field(default=False, init=False)
    _seconds: dict[str, float] = field(default_factory=dict, init=False)
    _final_seconds: dict[str, float] = field(default_factory=dict, init=False)
    _running: tuple[str, float, float] | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not math.isfinite(self.minutes) or self.minutes < 0:
            raise UserError(
                f"training_minutes is {self.minutes:g}: give a number of minutes, or 0 for a training without a limit."
            )
        self._end = self.clock() + 60 * self.minutes * (1 - SPARE_SHARE)

    @property
    def left(self) -> float:
        """Seconds that are left, without the spare share."""
        return self._end - self.clock()

    @contextmanager
    def enforced(self) -> Iterator[None]:
        """End the block once what is left of the budget is needed for the final fit."""
        self._enforced = bool(self.minutes)
        try:
            yield
        except _OutOfTimeError:
            self.passed = True
        finally:
            self._enforced = False

    @contextmanager
    def measure(self, part: str, times: float = 1.0) -> Iterator[None]:
        """Measure the time of a fit of one part of the model, unless it would end too late.

        Args:
            part: Name of the part; of several fits of a part, the longest counts.
            times: How many times as long the fit would take with the steps of the final fit.
        """
        self.check(part)
        start = self.clock()
        self._running = (part, start, times)
        try:
            yield
        finally:
            self._running = None
        self._add(part, self.clock() - start, times)

    def check(self, part: str = "") -> None:
        """End the enforced block if what is left is not enough for the final fit after one more fit of a part.

        A fit that is running is a part of the final fit too, for as long as it has taken so far.

        Args:
            part: Name of the part that is fitted next, which takes as long as before; empty for no fit.
        """
        if not self._enforced:
            return
        final = dict(self._final_seconds)
        if self._running:
            running, start, times = self._running
            final[running] = max(final.get(running, 0.0), times * (self.clock() - start))
        if self.left < self._seconds.get(part, 0.0) + self.growth * sum(final.values()):
            raise _OutOfTimeError

    def _add(self, part: str, seconds: float, times: float) -> None:
        self._seconds[part] = max(seconds, self._seconds.get(part, 0.0))
        self._final_seconds[part] = max(times * seconds, self._final_seconds.get(part, 0.0))
