"""Popularity as a bias of the model: as of the time of each example, and with weights that the model learns."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.optimize import minimize

from steam_recsys.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import DECAY_DAYS, DECAYS, popularity_as_of
from steam_recsys.logging import log
from steam_recsys.model.two_tower import log_shares

USUAL = np.array([float(decay == DECAY_DAYS) for decay in DECAYS])
"""The weights to start from, and where nothing can be learnt."""

WITHOUT_TIME = np.array([float(decay == np.inf) for decay in DECAYS])
"""Where time plays no part all reviews count alike, and a game's share is its probability."""

DIGITS = 4
"""Of the weights: more is not known, and C libraries differ in the last digit of an exponential."""

PRIOR_REVIEWS = 100.0
"""How many reviews the belief in the usual weights is worth."""


def shares_by_period(
    interactions: Interactions, game_ids: Int32Array, period_days: int, smoothing: float
) -> tuple[Int32Array, Float32Array]:
    """Each interaction's period, int32, and the games' log shares of popularity, float32 [D, P, V].

    They are as of each period's first day, so that none looks past an example's moment. Where time plays no part there
    is one period.
    """
    if not interactions.dated.any():
        popular = popularity_as_of(interactions, game_ids, None)
        return np.zeros(len(interactions), dtype=np.int32), log_shares(popular, smoothing)[:, None]
    first = int(interactions.days.min())
    periods = (interactions.days - first) // period_days
    shares = np.empty((len(DECAYS), int(periods.max()) + 1, len(game_ids)), dtype=np.float32)
    recent, kept = np.zeros((len(DECAYS), len(game_ids))), np.exp(-period_days / np.array(DECAYS))
    for period in range(shares.shape[1]):
        shares[:, period] = log_shares(recent, smoothing)
        next_day = first + (period + 1) * period_days
        recent = kept[:, None] * recent + popularity_as_of(interactions.take(periods == period), game_ids, next_day)
    return periods, shares


def popularity_weights(
    interactions: Interactions, periods: Int32Array, shares: Float32Array, game_ids: Int32Array
) -> Float64Array:
    """The weights under which the games that were recommended are likeliest, float64 [D].

    The conditional logit over the catalogue of each period (McFadden 1974, "Conditional Logit Analysis of Qualitative
    Choice Behavior"): the model without its towers, which then learn what sets users apart. The likelihood is concave,
    so there is one answer.

    Args:
        interactions: to learn from.
        periods: int32, of each of them.
        shares: float32 [D, P, V], each game's log share of popularity under each decay as of each period.
        game_ids: the V games, int32, ascending.
    """
    if not interactions.dated.any():
        return WITHOUT_TIME
    wanted = interactions.recommended
    reviews = np.bincount(periods[wanted], minlength=shares.shape[1])
    found = shares[:, periods[wanted], positions_of(interactions.games[wanted], game_ids)].sum(axis=1, dtype=np.float64)
    answer = minimize(
        partial(_loss, shares=shares, reviews=reviews, found=found),
        USUAL,
        jac=True,
        hess=partial(_curvature, shares=shares, reviews=reviews),
        method="trust-exact",
    )
    if not answer.success:
        log("train", f"the weights of popularity have not converged ({answer.message})")
    weights: Float64Array = np.round(answer.x, DIGITS)
    return weights


def _loss(
    weights: Float64Array, shares: Float32Array, reviews: Int64Array, found: Float64Array
) -> tuple[float, Float64Array]:
    """The reviews' summed -log p and the prior's part, over the number of both, and the gradient, float64 [D]."""
    gone = weights - USUAL
    loss, gradient = PRIOR_REVIEWS * gone @ gone / 2 - weights @ found, PRIOR_REVIEWS * gone - found
    for period in np.flatnonzero(reviews):
        probabilities, log_sum = _softmax(weights, shares[:, period])
        loss += reviews[period] * log_sum
        gradient += reviews[period] * (shares[:, period] @ probabilities)
    total = reviews.sum() + PRIOR_REVIEWS
    return float(loss / total), gradient / total


def _curvature(weights: Float64Array, shares: Float32Array, reviews: Int64Array) -> Float64Array:
    """The loss' second derivatives, float64 [D, D]."""
    hessian = PRIOR_REVIEWS * np.eye(len(weights))
    for period in np.flatnonzero(reviews):
        probabilities, _ = _softmax(weights, shares[:, period])
        hessian += reviews[period] * np.cov(shares[:, period], aweights=probabilities, bias=True)
    curvature: Float64Array = hessian / (reviews.sum() + PRIOR_REVIEWS)
    return curvature


def _softmax(weights: Float64Array, shares: Float32Array) -> tuple[Float64Array, float]:
    """The probabilities, float64 [V], and the log of the sum that they were divided by."""
    scores = weights @ shares
    highest = scores.max()
    exponentials = np.exp(scores - highest)
    total = exponentials.sum()
    return exponentials / total, float(highest + np.log(total))
