"""Protocols: which interactions a model may learn from, and which it is asked for.

All rank every game of the catalogue; samples of it mislead (Krichene and Rendle 2020, "On Sampled Metrics for Item
Recommendation").
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from steam_recsys.arrays import BoolArray
from steam_recsys.data.interactions import UNDATED, Interactions, load_interactions, split_by_time
from steam_recsys.data.snapshot import Snapshot


@dataclass(frozen=True)
class Split:
    """Interactions to learn from and interactions to be found.

    Attributes:
        past: what may be known.
        future: what is asked for.
        as_of: the day on which the question is asked, in days since 1970-01-01; None where time plays no part, and
            then no interaction has a day.
    """

    past: Interactions
    future: Interactions
    as_of: int | None


def by_time(interactions: Interactions, cutoff: int) -> Split:
    """The dated interactions before a day, and those from it on: what a shop asks every day, and what the gate asks."""
    return Split(*split_by_time(interactions, cutoff), cutoff)


def snapshot_by_time(snapshot: Snapshot, interactions: Interactions, cutoff: int) -> Split:
    """The same for a snapshot, whose past is as it was: with reviews that later ones replaced (`load_interactions`).

    Args:
        snapshot: which the interactions are from.
        interactions: those that may be known; none but dated ones.
        cutoff: the day, in days since 1970-01-01.
    """
    return Split(load_interactions(snapshot, before=cutoff), split_by_time(interactions, cutoff)[1], cutoff)


def at_random(interactions: Interactions, held_out_share: float, random: np.random.RandomState) -> Split:
    """Each interaction is held out with a probability; time plays no part."""
    return _without_time(interactions, random.rand(len(interactions)) >= 1 - held_out_share)


def last_out(interactions: Interactions) -> Split:
    """Each user's latest interaction and those before it; no look at time otherwise."""
    return _without_time(interactions, latest_of_each_user(interactions))


def latest_of_each_user(interactions: Interactions) -> BoolArray:
    """Whether an interaction is its user's latest, the later row among equals: bool [n]."""
    order = np.lexsort((np.arange(len(interactions)), interactions.days, interactions.users))
    users = interactions.users[order]
    last = np.zeros(len(interactions), dtype=bool)
    last[order[np.append(users[1:] != users[:-1], True)]] = True
    return last


def _without_time(interactions: Interactions, held_out: BoolArray) -> Split:
    timeless = replace(interactions, days=np.full_like(interactions.days, UNDATED))
    return Split(timeless.take(~held_out), timeless.take(held_out), None)
