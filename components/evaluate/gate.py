"""The gate: whether a challenger becomes champion. A pure function of figures and thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION, POPULARITY, Comparison
from steam_recsys.evaluation.metrics import HEADLINE_METRIC
from steam_recsys.rules import Rule, Verdict

METRIC = HEADLINE_METRIC.name
OVERALL = "NDCG@10 of all users"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The gate's parameters: how much a challenger may fall short, and how much evidence a rule needs.

    Attributes:
        baseline_errors: Standard errors of the paired difference by which the challenger may fall short of the best
            baseline. With 1.96, anything within the difference's 95 % interval is a tie: the best of several baselines
            is picked on the same rows that it is compared on, and if most users have one or two reviews, popularity is
            as good as anything.
        champion_errors: The same for the champion, except that the challenger must stay above the bound: with 0, its
            mean must be higher than the champion's, by however little. A negative number requires the challenger to be
            better by more than that many errors, so that champions change rarely. A positive one lets it fall short by
            less than that many errors, because it has learnt from newer reviews than an ageing champion; it must still
            keep up with the best baseline.
        coverage_floor: Share of popularity's coverage of the catalogue that the challenger must reach.
        slice_floor: Share of a baseline's figure that the challenger must reach on each slice, less `baseline_errors`
            standard errors of their difference there.
        slice_users: Number of users below which a slice is not enough evidence.
    """

    baseline_errors: float = 1.96
    champion_errors: float = 0.0
    coverage_floor: float = 0.9
    slice_floor: float = 0.7
    slice_users: int = 100


DEFAULT = Thresholds()
"""The defaults of the pipelines' parameters."""


def decide(
    overall: Comparison, coverage: Mapping[str, float], slices: Mapping[str, Comparison], thresholds: Thresholds
) -> Verdict:
    """Compare the challenger with the best baseline, with the champion, by coverage, and on each slice.

    A tie with a baseline passes. What counts as a tie is measured: as in a paired test, the figures are compared user
    by user, and the challenger may fall short by some standard errors of the mean difference.

    The champion must be beaten, by a higher mean unless the thresholds say otherwise; if both are level, the champion
    stays. If there is no champion, or the challenger is the champion because its training was repeated, this rule is
    left out: promoting the model again leaves the pointer as it is and completes an interrupted promotion.

    On a slice, the challenger must reach a share of a baseline's figure, so that a gain overall does not come at the
    expense of a few users. Slices with few users decide nothing.

    Args:
        overall: Rankings of all measured users, at least one, including at least one baseline.
        coverage: Coverage of the catalogue by ranking.
        slices: Comparisons by title, each of the challenger and one baseline.
        thresholds: The gate's parameters.
    """
    baseline = overall.best_baseline(METRIC)
    bound, reason = _bound(overall, baseline, thresholds.baseline_errors, f"the best baseline, {baseline}")
    rules = [Rule(about=OVERALL, figure=_mean(overall, CHALLENGER), at_least=bound, reason=reason)]
    if CHAMPION in overall.figures:
        bound, reason = _bound(overall, CHAMPION, thresholds.champion_errors, "the champion")
        rules.append(Rule(about=OVERALL, figure=_mean(overall, CHALLENGER), above=bound, reason=reason))
    rules.append(
        Rule(
            about="Share of the catalogue that is recommended",
            figure=coverage[CHALLENGER],
            at_least=thresholds.coverage_floor * coverage[POPULARITY],
            reason=f"{thresholds.coverage_floor:g} × {coverage[POPULARITY]:.4f} of {POPULARITY}",
        )
    )
    return Verdict((*rules, *_on_slices(slices, thresholds)))


def _on_slices(slices: Mapping[str, Comparison], thresholds: Thresholds) -> Iterator[Rule]:
    for title, comparison in slices.items():
        about, users = f"NDCG@10 of {title}", comparison.users
        figure = _mean(comparison, CHALLENGER) if users else 0.0
        if not users or users < thresholds.slice_users:
            reason = f"{users:,} of at least {thresholds.slice_users:,} users"
            yield Rule(about=about, figure=figure, reason=reason, enough=False)
        else:
            baseline = comparison.best_baseline(METRIC)
            bound, reason = _bound(
                comparison, baseline, thresholds.baseline_errors, baseline, share=thresholds.slice_floor
            )
            yield Rule(about=about, figure=figure, at_least=bound, reason=reason)


def _bound(
    comparison: Comparison, opponent: str, errors: float, title: str, *, share: float = 1.0
) -> tuple[float, str]:
    """Return the bound that an opponent sets, a share of its mean less some standard errors, and the bound as text."""
    mean, error = _mean(comparison, opponent), comparison.differences[opponent][METRIC].error
    less = f", less {errors:g} × {error:.4f}, the difference's standard error" if errors else ""
    return share * mean - errors * error, f"{f'{share:g} × ' if share != 1 else ''}{mean:.4f} of {title}{less}"


def _mean(comparison: Comparison, ranking: str) -> float:
    return comparison.figures[ranking][METRIC].mean
