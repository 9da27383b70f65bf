"""The popularity prior: popularity at the time of each example, with one fitted weight per decay."""

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

DEFAULT_WEIGHTS = np.array([float(decay == DECAY_DAYS) for decay in DECAYS])
"""Initial weights, and the result if nothing can be learnt."""

UNDATED_WEIGHTS = np.array([float(decay == np.inf) for decay in DECAYS])
"""Weights for reviews without dates: all count alike, and a game's share is its probability."""

DIGITS = 4
"""Decimals of the weights: more are not significant, and C libraries differ in the last digit of an exponential."""

PRIOR_REVIEWS = 100.0
"""Strength of the prior on the default weights, in reviews."""


def shares_by_period(
    interactions: Interactions, game_ids: Int32Array, period_days: int, smoothing: float
) -> tuple[Int32Array, Float32Array]:
    """Compute each interaction's period and the games' popularity at the start of each of P periods.

    Popularity as of the first day of a period never includes reviews later than an example. Without dates there is one
    period.

    Args:
        interactions: Interactions, either all or none of them with dates.
        game_ids: int32 [V], the games, ascending.
        period_days: Days per period.
        smoothing: Number of reviews added to each game's popularity.

    Returns:
        Periods, int32, one per interaction, and log shares of popularity by decay, float32 [D, P, V].
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


def decay_weights(
    interactions: Interactions, periods: Int32Array, shares: Float32Array, game_ids: Int32Array
) -> Float64Array:
    """Find the weights under which the recommended games are most likely, float64 [D].

    This is the conditional logit over the catalogue of each period (McFadden 1974, "Conditional Logit Analysis of
    Qualitative Choice Behavior"): the model without its towers, which then learn what sets users apart. The likelihood
    is concave, so the optimum is unique.

    Args:
        interactions: Interactions to learn from.
        periods: int32, the period of each interaction.
        shares: float32 [D, P, V], log shares of popularity by decay and period.
        game_ids: int32 [V], the games, ascending.
    """
    if not interactions.dated.any():
        return UNDATED_WEIGHTS
    wanted = interactions.recommended
    reviews = np.bincount(periods[wanted], minlength=shares.shape[1])
    observed = shares[:, periods[wanted], positions_of(interactions.games[wanted], game_ids)].sum(
        axis=1, dtype=np.float64
    )
    result = minimize(
        partial(_loss, shares=shares, reviews=reviews, observed=observed),
        DEFAULT_WEIGHTS,
        jac=True,
        hess=partial(_hessian, shares=shares, reviews=reviews),
        method="trust-exact",
    )
    if not result.success:
        log("train", f"the popularity weights have not converged ({result.message})")
    weights: Float64Array = np.round(result.x, DIGITS)
    return weights


def _loss(
    weights: Float64Array, shares: Float32Array, reviews: Int64Array, observed: Float64Array
) -> tuple[float, Float64Array]:
    """Compute the mean of the reviews' -log p and of the prior, and its gradient, float64 [D]."""
    change = weights - DEFAULT_WEIGHTS
    loss = PRIOR_REVIEWS * change @ change / 2 - weights @ observed
    gradient = PRIOR_REVIEWS * change - observed
    for period in np.flatnonzero(reviews):
        probabilities, log_sum = _softmax(weights, shares[:, period])
        loss += reviews[period] * log_sum
        gradient += reviews[period] * (shares[:, period] @ probabilities)
    total = reviews.sum() + PRIOR_REVIEWS
    return float(loss / total), gradient / total


def _hessian(weights: Float64Array, shares: Float32Array, reviews: Int64Array) -> Float64Array:
    """Compute the second derivatives of the loss, float64 [D, D]."""
    hessian = PRIOR_REVIEWS * np.eye(len(weights))
    for period in np.flatnonzero(reviews):
        probabilities, _ = _softmax(weights, shares[:, period])
        hessian += reviews[period] * np.cov(shares[:, period], aweights=probabilities, bias=True)
    mean: Float64Array = hessian / (reviews.sum() + PRIOR_REVIEWS)
    return mean


def _softmax(weights: Float64Array, shares: Float32Array) -> tuple[Float64Array, float]:
    """Compute the probabilities, float64 [V], and the log of the sum that normalises them."""
    scores = weights @ shares
    highest = scores.max()
    exponentials = np.exp(scores - highest)
    total = exponentials.sum()
    return exponentials / total, float(highest + np.log(total))
