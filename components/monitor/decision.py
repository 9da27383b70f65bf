"""The decision whether to train again. A pure function of what was measured and of thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.monitor.drift import Drift
from components.monitor.quality import Quality
from components.monitor.thresholds import Thresholds

KEPT, EXCEEDED, NOT_ENOUGH = "kept", "exceeded", "not enough evidence"


@dataclass(frozen=True)
class Measured:
    """What the decision follows from.

    Attributes:
        quality: realised by the last versions.
        drift: of the reviews since the training.
        age_days: days of reviews that the model did not learn from.
        catalogue_growth: the share of the games that have come to the catalogue since the training.
        days_since_training: days of reviews since the last inference run that trained, whether its model passed
            the gate or not, or that failed on the way; negative where reviews of later days have been taken back since.
    """

    quality: Quality
    drift: Drift
    age_days: int
    catalogue_growth: float
    days_since_training: int | None = None


@dataclass(frozen=True)
class Rule:
    """A limit, and how it came out.

    Attributes:
        about: the figure, in words.
        figure: the figure.
        limit: what it may reach.
        least: whether it must reach the limit, and not stay below it.
        evidence: what there is to decide by, in words.
        enough: whether that is enough for a decision.
    """

    about: str
    figure: float
    limit: float
    least: bool = False
    evidence: str = ""
    enough: bool = True

    @property
    def outcome(self) -> str:
        """How it came out; a figure that is not a number exceeds every limit."""
        if not self.enough:
            return NOT_ENOUGH
        return KEPT if (self.figure >= self.limit if self.least else self.figure <= self.limit) else EXCEEDED

    @property
    def sentence(self) -> str:
        """The rule and how it came out, with its numbers."""
        asked = f", {'at least' if self.least else 'at most'} {self.limit:g} is asked for" if self.enough else ""
        evidence = f" ({self.evidence})" if self.evidence else ""
        return f"{self.about} is {self.figure:.4g}{asked}{evidence}: {self.outcome}."


@dataclass(frozen=True)
class Decision:
    """Whether to train again, all rules that it follows from, and whether it is too early after a training."""

    retrain: bool
    rules: tuple[Rule, ...] = ()
    resting: bool = False

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why: a sentence for each limit that is exceeded."""
        if not self.rules:
            return ("There is no champion yet.",) if self.retrain else ()
        return tuple(rule.sentence for rule in self.rules if rule.outcome == EXCEEDED)


FIRST = Decision(retrain=True)
"""Where there is no champion."""


def decide(measured: Measured, thresholds: Thresholds) -> Decision:
    """Train again if any limit is exceeded: of quality, of drift, of the model's age, or of the catalogue's growth.

    Few users or few reviews are no evidence: a limit of theirs then decides nothing. Nor is any training asked for
    within some days of the last.
    """
    rules = (*_quality(measured.quality, thresholds), *_drift(measured.drift, thresholds), *_age(measured, thresholds))
    exceeded = any(rule.outcome == EXCEEDED for rule in rules)
    since = measured.days_since_training
    resting = exceeded and since is not None and 0 <= since < thresholds.rest_days
    return Decision(exceeded and not resting, rules, resting)


def _quality(quality: Quality, thresholds: Thresholds) -> Iterator[Rule]:
    about = f"NDCG@10 less {thresholds.quality_floor:g} times recent popularity's, at its interval's upper end,"
    enough = quality.above_floor is not None and quality.users >= thresholds.quality_users
    evidence = f"{quality.users:,} of at least {thresholds.quality_users:,} users with new reviews"
    figure = quality.above_floor.high if quality.above_floor else 0.0
    yield Rule(about, figure, 0.0, least=True, evidence=evidence, enough=enough)


def _drift(drift: Drift, thresholds: Thresholds) -> Iterator[Rule]:
    enough = drift.reviews >= thresholds.drift_reviews
    evidence = f"{drift.reviews:,} of at least {thresholds.drift_reviews:,} reviews since the training"
    for about, figure in (
        ("The population stability index of the games", drift.psi_games),
        ("The population stability index of the genres", drift.psi_genres),
        ("The population stability index of the history lengths", drift.psi_history_lengths),
    ):
        yield Rule(about, figure, thresholds.drift_ceiling, evidence=evidence, enough=enough)
    about = "The share of new reviews that are of games unknown to the model"
    yield Rule(about, drift.unknown_games_share, thresholds.unknown_ceiling, evidence=evidence, enough=enough)


def _age(measured: Measured, thresholds: Thresholds) -> Iterator[Rule]:
    yield Rule("The number of days of reviews that the model lacks", measured.age_days, thresholds.age_ceiling)
    about = "The share of the catalogue's games that have come since the training"
    yield Rule(about, measured.catalogue_growth, thresholds.growth_ceiling)
