"""Splits: which interactions a model may learn from, and which it is tested on.

Every split is tested by ranking all games of the catalogue; sampled candidates mislead (Krichene and Rendle 2020, "On
Sampled Metrics for Item Recommendation").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from steam_recsys.arrays import BoolArray
from steam_recsys.data.interactions import UNDATED, Interactions, load_interactions, split_by_time
from steam_recsys.data.snapshot import Snapshot


@dataclass(frozen=True)
class Split:
    """Interactions to learn from and interactions to predict.

    Attributes:
        past: What may be known.
        future: What is to be predicted.
        as_of: Day on which the predictions are made, in days since 1970-01-01. None if time plays no part; then no
            interaction has a day.
    """

    past: Interactions
    future: Interactions
    as_of: int | None


def by_time(interactions: Interactions, cutoff: int) -> Split:
    """Split dated interactions into those before a day and those from it on, as a shop and the gate do."""
    return Split(*split_by_time(interactions, cutoff), cutoff)


def snapshot_by_time(snapshot: Snapshot, interactions: Interactions, cutoff: int) -> Split:
    """Split a snapshot by time, with its past as it was then: reviews that were replaced later are in it.

    Args:
        snapshot: The snapshot that the interactions are from, see `load_interactions`.
        interactions: The interactions that may be known, all dated.
        cutoff: First day of the future, in days since 1970-01-01.
    """
    return Split(load_interactions(snapshot, before=cutoff), split_by_time(interactions, cutoff)[1], cutoff)


def at_random(interactions: Interactions, held_out_share: float, random: np.random.RandomState) -> Split:
    """Hold out each interaction with the given probability; time plays no part."""
    return _without_time(interactions, random.rand(len(interactions)) >= 1 - held_out_share)


def last_out(interactions: Interactions) -> Split:
    """Hold out each user's latest interaction; time plays no other part."""
    return _without_time(interactions, latest_of_each_user(interactions))


def latest_of_each_user(interactions: Interactions) -> BoolArray:
    """Mark each user's latest interaction, the last row of equals: bool [n]."""
    order = np.lexsort((np.arange(len(interactions)), interactions.days, interactions.users))
    users = interactions.users[order]
    latest = np.zeros(len(interactions), dtype=bool)
    latest[order[np.append(users[1:] != users[:-1], True)]] = True
    return latest


def _without_time(interactions: Interactions, held_out: BoolArray) -> Split:
    undated = replace(interactions, days=np.full_like(interactions.days, UNDATED))
    return Split(undated.take(~held_out), undated.take(held_out), None)
