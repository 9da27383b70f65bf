"""The decision whether to train again. A pure function of figures and thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.monitor.drift import Drift
from components.monitor.quality import Quality
from steam_recsys.publications.versions import KeptVersion
from steam_recsys.rules import Rule, Verdict


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Monitoring's parameters: how far the shop may move, and quality may fall, before the model is trained again.

    Attributes:
        quality_floor: Share of recent popularity's realised NDCG@10 that the recommendations must reach. They fall
            short if the 95 % interval of their NDCG@10 minus that share lies below zero.
        quality_users: Number of users with new reviews below which quality decides nothing.
        drift_ceiling: Highest population stability index; a shift above 0.25 is usually called significant (Siddiqi
            2006, "Credit Risk Scorecards", chapter 8).
        unknown_ceiling: Highest share of the reviews since the training that are of games unknown to the model.
        drift_reviews: Number of reviews since the training below which drift decides nothing.
        age_ceiling: Highest number of days of reviews that the model lacks.
        growth_ceiling: Highest share of the catalogue's games that were added since the training.
        published_overlap_ceiling: Highest overlap of the current publication: the mean Jaccard index of the first ten
            games of two users. The model recommends nearly the same to everybody.
        published_coverage_floor: Lowest share of the shop's games that are among the first ten of any user.
        published_users: Number of users of the current publication below which its overlap and coverage decide nothing.
        cooldown_days: Days of reviews to wait after a training, whatever fails: a model that did not pass the gate
            would most likely fail again the day after.
    """

    quality_floor: float = 0.9
    quality_users: int = 200
    drift_ceiling: float = 0.25
    unknown_ceiling: float = 0.1
    drift_reviews: int = 1_000
    age_ceiling: int = 7
    growth_ceiling: float = 0.1
    published_overlap_ceiling: float = 0.8
    published_coverage_floor: float = 0.005
    published_users: int = 1_000
    cooldown_days: int = 3


DEFAULT = Thresholds()
"""The defaults of the pipeline's parameters."""


@dataclass(frozen=True, kw_only=True)
class MonitoringInputs:
    """The figures that the decision follows from.

    Attributes:
        quality: Realised quality of the last versions.
        drift: Drift of the reviews since the training.
        age_days: Days of reviews that the model did not learn from.
        catalogue_growth: Share of the catalogue's games that were added since the training.
        published: The current publication; None before the first.
        days_since_training: Days of reviews since the last inference run that trained a model, whether it passed the
            gate or not, or that failed while training, or since a training pipeline's model did not pass the gate. None
            if there was no such run; negative if reviews of later days have been deleted since.
    """

    quality: Quality
    drift: Drift
    age_days: int
    catalogue_growth: float
    published: KeptVersion | None = None
    days_since_training: int | None = None


@dataclass(frozen=True)
class Decision:
    """Whether to train again, and why.

    Attributes:
        verdict: The verdict on the champion; None if there is no champion.
        cooling_down: Whether a training is due but the last one was only a few days ago.
    """

    verdict: Verdict | None
    cooling_down: bool = False

    @property
    def retrain(self) -> bool:
        """Whether to train again."""
        return not self.cooling_down and (self.verdict is None or not self.verdict.passed)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """All rules of the verdict."""
        return self.verdict.rules if self.verdict else ()

    @property
    def reasons(self) -> tuple[str, ...]:
        """One sentence per reason to train again."""
        if self.verdict is None:
            return ("There is no champion yet.",)
        return tuple(map(str, self.verdict.failures))

    @property
    def summary(self) -> str:
        """The decision as a sentence."""
        if self.cooling_down:
            return "The model stays, because a training was tried a few days ago."
        return "The model is trained again." if self.retrain else "The model stays."


FIRST_TRAINING = Decision(verdict=None)
"""The decision without a champion."""


def decide(inputs: MonitoringInputs, thresholds: Thresholds) -> Decision:
    """Train again if any rule fails, unless the last training was only a few days ago."""
    verdict = check(inputs, thresholds)
    since = inputs.days_since_training
    return Decision(
        verdict, cooling_down=not verdict.passed and since is not None and 0 <= since < thresholds.cooldown_days
    )


def check(inputs: MonitoringInputs, thresholds: Thresholds) -> Verdict:
    """Check quality, drift, the age of the model, the growth of the catalogue, and how personal the publication is.

    Quality, drift and the publication decide nothing if there are too few users or reviews.
    """
    return Verdict(
        (
            _quality(inputs.quality, thresholds),
            *_drift(inputs.drift, thresholds),
            Rule(
                about="Days of reviews that the model lacks",
                figure=inputs.age_days,
                at_most=thresholds.age_ceiling,
                name="model_age_days",
            ),
            Rule(
                about="Share of the catalogue's games that were added since the training",
                figure=inputs.catalogue_growth,
                at_most=thresholds.growth_ceiling,
                name="catalogue_growth",
            ),
            *_published(inputs.published, thresholds),
        )
    )


def _quality(quality: Quality, thresholds: Thresholds) -> Rule:
    return Rule(
        about=f"NDCG@10 minus {thresholds.quality_floor:g} times that of recent popularity, "
        "upper end of the 95 % interval",
        figure=quality.above_floor.high if quality.above_floor else None,
        at_least=0.0,
        reason=f"{quality.users:,} of at least {thresholds.quality_users:,} users with new reviews",
        enough=quality.users >= thresholds.quality_users,
        name="above_floor_upper",
    )


def _published(published: KeptVersion | None, thresholds: Thresholds) -> Iterator[Rule]:
    users = published.users if published else 0
    reason = f"{users:,} of at least {thresholds.published_users:,} users with recommendations"
    enough = users >= thresholds.published_users
    yield Rule(
        about="Overlap of two users' first ten published games",
        figure=published.overlap if published else None,
        at_most=thresholds.published_overlap_ceiling,
        reason=reason,
        enough=enough,
        name="overlap",
    )
    yield Rule(
        about="Share of the games that are in any user's published top ten",
        figure=published.coverage if published else None,
        at_least=thresholds.published_coverage_floor,
        reason=reason,
        enough=enough,
        name="coverage",
    )


def _drift(drift: Drift, thresholds: Thresholds) -> Iterator[Rule]:
    for about, name, ceiling in (
        ("Population stability index of the games", "psi_games", thresholds.drift_ceiling),
        ("Population stability index of the genres", "psi_genres", thresholds.drift_ceiling),
        ("Population stability index of the history lengths", "psi_history_lengths", thresholds.drift_ceiling),
        ("Share of new reviews of games unknown to the model", "unknown_games_share", thresholds.unknown_ceiling),
    ):
        yield Rule(
            about=about,
            figure=getattr(drift, name) if drift.reviews else None,
            at_most=ceiling,
            reason=f"{drift.reviews:,} of at least {thresholds.drift_reviews:,} reviews since the training",
            enough=drift.reviews >= thresholds.drift_reviews,
            name=name,
        )
