"""The state of the recommendations as one sentence with a colour, for an operator's first look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from explorer.schemas import Measurement, PipelineRun, Publication
from explorer.templating import decimals, moment, percent, plain
from steam_recsys.evaluation.intervals import BETTER, LEVEL, WORSE, Interval
from steam_recsys.publications.versions import MAX_AGE_HOURS

GOOD, ATTENTION, PROBLEM = "good", "attention", "problem"
LABELS = {GOOD: "All well", ATTENTION: "Needs attention", PROBLEM: "Problem"}
"""The colours, from the best to the worst, and what the page says beside them."""

NOT_MEASURED = "Not measured yet"
"""What the page says instead if neither quality nor coverage nor drift is known."""

BESIDE = {BETTER: "better than that of", LEVEL: "level with", WORSE: "worse than that of"}
DRIFT_INDICES = ("psi_games", "psi_genres", "psi_history_lengths")

LITTLE_DRIFT, STRONG_DRIFT = 0.1, 0.25
"""The usual limits of a population stability index (Siddiqi 2006, "Credit Risk Scorecards", chapter 8)."""


@dataclass(frozen=True)
class RankingResult:
    """A ranking's figures on held-out reviews.

    Attributes:
        name: What the overview calls it.
        ndcg, recall: NDCG@10 and Recall@20, from 0 to 1; None if unknown.
        difference: The model's NDCG@10 minus this one's, user by user; None for the model itself.
    """

    name: str
    ndcg: float
    recall: float | None
    difference: Interval | None = None


@dataclass(frozen=True)
class TrainingResult:
    """A model's results on held-out reviews.

    Attributes:
        version: The model's version.
        trained_at: The start of its training, None if unknown.
        cutoff: The first day whose reviews were held out.
        users: The number of users who wrote them.
        passed: Whether the model passed the gate.
        failures: A sentence for each rule of the gate that it failed.
        own: The model's figures.
        baselines: Figures of the champion of that time and of the baselines, the best first.
    """

    version: str
    trained_at: datetime | None
    cutoff: date
    users: int
    passed: bool
    failures: list[str]
    own: RankingResult
    baselines: list[RankingResult]


@dataclass(frozen=True)
class Status:
    """The state.

    Attributes:
        colour: `GOOD`, `ATTENTION` or `PROBLEM`.
        label: The colour as text.
        sentence: The state in one sentence.
        note: The figures behind it; empty if none was measured.
    """

    colour: str
    label: str
    sentence: str
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """A part of the sentence: its colour, None if nothing was measured, its text, and the figures behind it."""

    colour: str | None
    text: str
    figures: str = ""


def describe_status(
    current: Publication | None,
    newest: str | None,
    runs: Sequence[PipelineRun],
    training: TrainingResult | None,
    monitoring: Sequence[Measurement],
    now: datetime,
) -> Status:
    """Say when the recommendations were published, whether on time, how good they are, and whether the data drifted.

    Args:
        current: The current publication, None before the first one.
        newest: The version that was published last; another than the current one after a rollback.
        runs: The last run of each pipeline and final state.
        training: The evaluation of the current publication's model, None if it is not recorded.
        monitoring: The last measurements, the newest first.
        now: The time.
    """
    if current is None:
        return Status(PROBLEM, LABELS[PROBLEM], "Nothing has been published yet: run the inference pipeline.")
    measured = [_quality(current, training, monitoring), _coverage(current), _drift(current, monitoring)]
    parts = [_publication(current, newest, runs, now), *measured]
    colour = max((each.colour for each in parts if each.colour), key=list(LABELS).index)
    label = LABELS[colour]
    if colour == GOOD and not any(each.colour for each in measured):
        colour, label = ATTENTION, NOT_MEASURED
    sentence = f"{'; '.join(each.text for each in parts)}."
    return Status(colour, label, sentence, " ".join(f"{each.figures}." for each in parts if each.figures))


def _publication(current: Publication, newest: str | None, runs: Sequence[PipelineRun], now: datetime) -> Finding:
    ended = {run.state: run.finished_at for run in runs if run.pipeline == "inference" and run.finished_at}
    times = [time for time in (ended.get("SUCCEEDED"), current.published_at) if time]
    hours = (now - max(times)) / timedelta(hours=1) if times else 0.0
    text = f"Published {moment(current.published_at)}"
    colour = GOOD
    if current.version != newest:
        colour = ATTENTION
        text = f"Rolled back on {moment(current.made_current_at)}, to the publication of {moment(current.published_at)}"
    if hours > MAX_AGE_HOURS:
        colour = ATTENTION if hours <= 2 * MAX_AGE_HOURS else PROBLEM
        text += f", late: no inference run has succeeded for {plain(hours)} hours"
    else:
        text += ", on time"
    failed = ended.get("FAILED")
    if failed and times and failed > max(times):
        colour, text = max(colour, ATTENTION, key=list(LABELS).index), f"{text}, but the last inference run failed"
    return Finding(colour, text)


def _quality(current: Publication, training: TrainingResult | None, monitoring: Sequence[Measurement]) -> Finding:
    """Describe the newest realised quality of the current model, or its evaluation."""
    for each in _of_the_model(current, monitoring):
        ours, popular, gain = (realised(each, name) for name in ("ndcg", "popular_ndcg", "ndcg_gain"))
        if ours and popular and gain:
            return _graded(gain.outcome, "recent popularity", "newer", ours.mean, popular.mean)
    best = next((each for each in training.baselines if each.difference), None) if training else None
    if training and best and best.difference:
        outcome = best.difference.outcome
        return _graded(outcome, best.name, "held-out", training.own.ndcg, best.ndcg)
    return Finding(None, "quality has not been measured yet")


def _graded(outcome: str, other: str, reviews: str, ours: float, theirs: float) -> Finding:
    return Finding(
        ATTENTION if outcome == WORSE else GOOD,
        f"quality is {BESIDE[outcome]} {other} on {reviews} reviews",
        f"Quality: NDCG@10 {decimals(ours)} against {decimals(theirs)}",
    )


def _coverage(current: Publication) -> Finding:
    if current.coverage is None:
        return Finding(None, "coverage is unknown")
    return Finding(GOOD, f"{percent(current.coverage)} of the games are in some user's first ten")


def _drift(current: Publication, monitoring: Sequence[Measurement]) -> Finding:
    """Describe the newest drift since the training of the current model."""
    newest = next(iter(_of_the_model(current, monitoring)), None)
    if newest is None:
        return Finding(None, "drift has not been measured yet")
    indices = [index for name in DRIFT_INDICES if (index := newest.figures.get(name)) is not None]
    if not indices:
        return Finding(None, "no reviews since the model's training to measure drift by")
    worst = max(indices)
    figures = f"Drift: population stability index {decimals(worst, 2)}, strong above {STRONG_DRIFT}"
    if worst > STRONG_DRIFT:
        return Finding(ATTENTION, "the data drifted strongly since the model's training", figures)
    return Finding(GOOD, f"{'little' if worst < LITTLE_DRIFT else 'some'} drift of the data", figures)


def _of_the_model(current: Publication, monitoring: Sequence[Measurement]) -> list[Measurement]:
    return [each for each in monitoring if each.model_version == current.model_version]


def realised(measurement: Measurement, name: str) -> Interval | None:
    """Return a measured figure with its interval; None if it was not measured."""
    found = [measurement.figures.get(f"{name}{end}") for end in ("", "_lower", "_upper")]
    mean, low, high = found
    return None if mean is None or low is None or high is None else Interval(mean, low, high)
