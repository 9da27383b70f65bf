"""What a run found of the model that it trained, from the facts that its stage `evaluate` left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from explorer.views import Monitored, Run

STAGE = "evaluate"
NDCG, RECALL = "ndcg_at_10", "recall_at_20"
OWN = "the model"
CALLED = {"champion": "the champion of that time"}
"""Names of rankings on the page, where they are others."""


@dataclass(frozen=True)
class Ranking:
    """A ranking's figures on held-out reviews, from 0 to 1; None where they are not known."""

    name: str
    ndcg: float
    recall: float | None


@dataclass(frozen=True)
class Evaluated:
    """What a model came to on reviews that were held out from it.

    Attributes:
        version: the model's.
        trained_at: when the run began to train it, None where that is not known.
        cutoff: the first day whose reviews were held out.
        users: whom they are by.
        passed: whether the gate let the model pass.
        failures: a sentence for each rule of the gate that it failed.
        own: the model's figures.
        rivals: those of the champion of that time and of the baselines, the best first.
    """

    version: str
    trained_at: datetime | None
    cutoff: date
    users: int
    passed: bool
    failures: list[str]
    own: Ranking
    rivals: list[Ranking]


def evaluated(run: Run) -> Evaluated | None:
    """What a run found; None where it evaluated no model, or not as this version of the project does."""
    records = {record.get("stage"): record for record in run.stages}
    facts = records.get(STAGE, {}).get("facts") or {}
    try:
        own = Ranking(OWN, facts[NDCG], facts[RECALL])
        return Evaluated(
            version=facts["version"],
            trained_at=_moment(records.get("train", {}).get("started_at")) or run.started_at,
            cutoff=date.fromisoformat(facts["cutoff"]),
            users=facts["users"],
            passed=facts["promote"],
            failures=facts["failures"],
            own=own,
            rivals=sorted(_rivals(facts), key=lambda ranking: -ranking.ndcg),
        )
    except (KeyError, TypeError, ValueError):
        return None


def trained_until(version: str, monitoring: Sequence[Monitored]) -> date | None:
    """The last day whose reviews the model that serves has learnt from, as it was last measured; None if it never was.

    That is later than the evaluation's cutoff: who passes the gate is fitted to all reviews, those held out included.
    """
    for each in monitoring:
        age = each.figures.get("model_age_days")
        if each.model_version == version and age is not None:
            return each.as_of - timedelta(days=1 + age)
    return None


def _rivals(facts: Mapping[str, Any]) -> Iterator[Ranking]:
    """A ranking for each name that stands before a metric's."""
    for key, figure in facts.items():
        name = key.removesuffix(f"_{NDCG}")
        if name != key:
            yield Ranking(CALLED.get(name, name.replace("_", " ")), figure, facts.get(f"{name}_{RECALL}"))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
