"""The gate: whether a challenger becomes champion. A pure function of figures and thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from steam_recsys.evaluation.beyond_accuracy import COVERAGE, JACCARD, POPULAR_TEN
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION, POPULARITY, Comparison
from steam_recsys.evaluation.metrics import HEADLINE_METRIC
from steam_recsys.rules import Rule, Verdict

METRIC = HEADLINE_METRIC.name
ALL_USERS = "all users"

BeyondAccuracy = Mapping[str, Mapping[str, float]]
"""Figures of `beyond_accuracy`, by ranking and then by metric; the gate needs overlap, popular ten and coverage."""

PERSONAL = {
    JACCARD: "Overlap of two users' ten games",
    POPULAR_TEN: "Share of users who get the popular ten",
}
"""Figures that are lower if lists are more personal, and their names in rules."""

MIN_USERS = 15
"""Users below which an interval shows nothing: bootstrap intervals of so few are too narrow, and that of one user has
no width (Hesterberg 2015, "What Teachers Should Know About the Bootstrap", on narrowness)."""

CATALOGUE_SHARE = "Share of the catalogue that is in any user's ten"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The gate's parameters: how much a challenger may fall short, and how much evidence a rule needs.

    Attributes:
        accuracy_margin: Largest share of the best baseline's and of the champion's NDCG@10 that the challenger may lose
            in exchange for more personal lists. The whole 95 % interval of the loss must be within it. With few
            held-out users the interval is wide, and to replace a champion a larger margin is needed.
        champion_gain: Share of the champion's NDCG@10 by which the challenger's mean must be higher to count as more
            accurate: with 0, by however little. A negative one accepts challengers that are level, because they have
            learnt from newer reviews than an ageing champion.
        personal_margin: By how much overlap and the share of users with the popular ten, which are between 0 and 1, may
            exceed popularity's and the champion's; and by how much one of them must be lower than the champion's to
            count as more personal. It is a little more than two trainings with different seeds differ by.
        coverage_floor: Share of popularity's and of the champion's coverage of the catalogue that the challenger must
            reach. If the champion's coverage is below this share of the challenger's, that counts as more personal.
        slice_margin: Share of a baseline's NDCG@10 that the challenger may fall short by on each slice.
        slice_users: Number of users below which a slice is not enough evidence.
    """

    accuracy_margin: float = 0.05
    champion_gain: float = 0.0
    personal_margin: float = 0.05
    coverage_floor: float = 0.9
    slice_margin: float = 0.3
    slice_users: int = 100


DEFAULT = Thresholds()
"""The defaults of the pipelines' parameters."""


def decide(
    overall: Comparison, beyond: BeyondAccuracy, slices: Mapping[str, Comparison], thresholds: Thresholds
) -> Verdict:
    """Compare the challenger with the best baseline and with the champion, in accuracy and in how personal it is.

    A popular list is hard to beat in accuracy and easy to beat in everything else. So the challenger need not be more
    accurate than a baseline: it must be shown to be at most a margin less accurate (a test of non-inferiority, Piaggio
    et al. 2012, "Reporting of Noninferiority and Equivalence Randomized Trials", with the interval of the paired
    difference), and it must not be less personal than popularity.

    The champion is replaced by a challenger that is neither clearly less accurate nor clearly less personal, and that
    is better in one of the two; if both are level, the champion stays. If there is no champion, or the challenger is
    the champion because its training was repeated, these rules are left out: promoting the model again leaves the
    pointer as it is and completes an interrupted promotion. Then, too, an interval on both sides of the baseline's
    margin does not stop the model: a small shop has too few held-out users to show anything, and without a champion its
    users get nothing.

    A slice has the same test with a larger margin, so that a gain overall does not come at the expense of a few users.
    A slice with few users, or with an interval on both sides of the margin, decides nothing.

    Args:
        overall: Rankings of all measured users, at least one, including at least one baseline.
        beyond: Figures beyond accuracy of the same rankings.
        slices: Comparisons by title, each of the challenger and one baseline.
        thresholds: The gate's parameters.
    """
    reigning, baseline = CHAMPION in overall.figures, overall.best_baseline(METRIC)
    rules = [_not_inferior(overall, baseline, thresholds.accuracy_margin, ALL_USERS, must_be_shown=reigning)]
    rules += _not_less_personal(beyond, POPULARITY, thresholds)
    if reigning:
        rules.append(_not_inferior(overall, CHAMPION, thresholds.accuracy_margin, ALL_USERS, must_be_shown=True))
        rules += _not_less_personal(beyond, CHAMPION, thresholds)
        rules.append(_better(overall, beyond, thresholds))
    return Verdict((*rules, *_on_slices(slices, thresholds)))


def describe_trade(overall: Comparison, beyond: BeyondAccuracy, opponent: str) -> str:
    """Say what the challenger gains and loses in comparison with another ranking, as text.

    For example "Compared with recent popularity: 38 % less overlap for 2.4 % of NDCG@10."
    """
    overlap = _relative(beyond[CHALLENGER][JACCARD], beyond[opponent][JACCARD])
    accuracy = _relative(_mean(overall, CHALLENGER), _mean(overall, opponent))
    if overlap is None or accuracy is None:  # a share of nothing
        return (
            f"Compared with {opponent}: overlap {beyond[CHALLENGER][JACCARD]:.4f} against "
            f"{beyond[opponent][JACCARD]:.4f}, NDCG@10 {_mean(overall, CHALLENGER):.4f} against "
            f"{_mean(overall, opponent):.4f}."
        )
    overlaps = f"{_percent(overlap)} {'less' if overlap < 0 else 'more'} overlap" if overlap else "the same overlap"
    if not accuracy:
        return f"Compared with {opponent}: {overlaps} and the same NDCG@10."
    amount = f"{_percent(accuracy)} {'more' if accuracy > 0 else 'less'} NDCG@10"
    if overlap < 0 and accuracy < 0:
        return f"Compared with {opponent}: {overlaps} for {_percent(accuracy)} of NDCG@10."
    return f"Compared with {opponent}: {overlaps} {'for' if overlap > 0 and accuracy > 0 else 'and'} {amount}."


def _not_inferior(comparison: Comparison, opponent: str, margin: float, users: str, *, must_be_shown: bool) -> Rule:
    """Require the interval of the paired difference to lie above a share of the opponent's mean.

    An interval on both sides of it shows nothing, nor does one of fewer than `MIN_USERS` users: the rule fails if it
    must be shown, and else decides nothing.
    """
    if comparison.users < MIN_USERS:
        return Rule(
            about=f"Users on whom the challenger is compared with {opponent}, {users}",
            figure=comparison.users,
            at_least=MIN_USERS,
            enough=must_be_shown,
        )
    difference, mean = comparison.differences[opponent][METRIC], _mean(comparison, opponent)
    inconclusive = difference.low < -margin * mean <= difference.high
    return Rule(
        about=f"NDCG@10 of {users}, challenger minus {opponent}",
        figure=difference.low,
        at_least=-margin * mean,
        reason=f"lower end of the 95 % interval of {difference.mean:+.4f}; {margin:g} × {mean:.4f} may be lost",
        enough=must_be_shown or not inconclusive,
    )


def _not_less_personal(beyond: BeyondAccuracy, opponent: str, thresholds: Thresholds) -> Iterator[Rule]:
    ours, theirs = beyond[CHALLENGER], beyond[opponent]
    for metric, about in PERSONAL.items():
        yield Rule(
            about=about,
            figure=ours[metric],
            at_most=min(theirs[metric] + thresholds.personal_margin, 1.0),
            reason=f"{theirs[metric]:.4f} of {opponent} and {thresholds.personal_margin:g}",
        )
    yield Rule(
        about=CATALOGUE_SHARE,
        figure=ours[COVERAGE],
        at_least=thresholds.coverage_floor * theirs[COVERAGE],
        reason=f"{thresholds.coverage_floor:g} × {theirs[COVERAGE]:.4f} of {opponent}",
    )


def _better(overall: Comparison, beyond: BeyondAccuracy, thresholds: Thresholds) -> Rule:
    """Require an advantage over the champion, in accuracy or in how personal the lists are."""
    ours, theirs = beyond[CHALLENGER], beyond[CHAMPION]
    accuracy, reigning = _mean(overall, CHALLENGER), _mean(overall, CHAMPION)
    advantages = [accuracy > (1 + thresholds.champion_gain) * reigning]
    advantages += [ours[metric] < theirs[metric] - thresholds.personal_margin for metric in PERSONAL]
    advantages.append(thresholds.coverage_floor * ours[COVERAGE] > theirs[COVERAGE])
    figures = [("NDCG@10", accuracy, reigning)]
    named = (("overlap", JACCARD), ("popular ten", POPULAR_TEN), ("coverage", COVERAGE))
    figures += [(name, ours[metric], theirs[metric]) for name, metric in named]
    reason = ", ".join(f"{name} {one:.4f} against {other:.4f}" for name, one, other in figures)
    return Rule(about="Advantages over the champion", figure=sum(advantages), at_least=1, reason=reason)


def _on_slices(slices: Mapping[str, Comparison], thresholds: Thresholds) -> Iterator[Rule]:
    for title, comparison in slices.items():
        users = comparison.users
        if not users or users < thresholds.slice_users:
            reason = f"{users:,} of at least {thresholds.slice_users:,} users"
            figure = _mean(comparison, CHALLENGER) if users else None
            yield Rule(about=f"NDCG@10 of {title}", figure=figure, reason=reason, enough=False)
            continue
        opponent = comparison.best_baseline(METRIC)
        yield _not_inferior(comparison, opponent, thresholds.slice_margin, title, must_be_shown=False)


def _relative(figure: float, reference: float) -> float | None:
    """Return the change relative to a reference; None if there is one and the reference is 0."""
    if not reference:
        return None if figure else 0.0
    return (figure - reference) / reference


def _percent(share: float) -> str:
    percent = 100 * abs(share)
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %"


def _mean(comparison: Comparison, ranking: str) -> float:
    return comparison.figures[ranking][METRIC].mean
