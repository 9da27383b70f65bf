"""Compare rankings on the same users: their figures, and the challenger's paired differences to its opponents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steam_recsys.arrays import Float64Array
from steam_recsys.evaluation.intervals import Interval, resampled_means

CHALLENGER, CHAMPION, POPULARITY = "challenger", "champion", "popularity"
"""Names of rankings: the model under evaluation, the current model and one baseline. All others are baselines too."""

UserFigures = Mapping[str, Mapping[str, Float64Array]]
"""By ranking, then by metric name: one figure per user, float64 [B], for the same users everywhere."""

Figures = dict[str, Interval]
"""By metric name."""


@dataclass(frozen=True)
class Comparison:
    """Figures of rankings on the same users.

    Attributes:
        users: Number of users.
        figures: By ranking, the challenger first; empty without users.
        differences: By opponent, the challenger's figures less the opponent's, user by user.
    """

    users: int
    figures: dict[str, Figures]
    differences: dict[str, Figures]

    @classmethod
    def from_figures(cls, measured: UserFigures) -> Comparison:
        """Compare the challenger with all others; every interval uses the same resamples of users."""
        ours = measured[CHALLENGER]
        users = len(next(iter(ours.values()), ()))
        if not users:
            return cls(0, {}, {})
        means = resampled_means(
            {(name, metric): values for name, by_metric in measured.items() for metric, values in by_metric.items()}
        )
        figures = {
            name: {metric: Interval.from_resamples(values, means[name, metric]) for metric, values in by_metric.items()}
            for name, by_metric in measured.items()
        }
        differences = {
            name: {
                metric: Interval.from_resamples(ours[metric] - values, means[CHALLENGER, metric] - means[name, metric])
                for metric, values in by_metric.items()
            }
            for name, by_metric in measured.items()
            if name != CHALLENGER
        }
        return cls(users, figures, differences)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Comparison:
        """Rebuild a comparison from the output of `dataclasses.asdict`."""
        return cls(content["users"], _intervals(content["figures"]), _intervals(content["differences"]))

    def best_baseline(self, metric: str) -> str:
        """Return the baseline with the highest mean, the first of equals."""
        baselines = [ranking for ranking in self.figures if ranking not in (CHALLENGER, CHAMPION)]
        return max(baselines, key=lambda ranking: self.figures[ranking][metric].mean)


def _intervals(content: Mapping[str, Any]) -> dict[str, Figures]:
    return {
        ranking: {metric: Interval(**figure) for metric, figure in figures.items()}
        for ranking, figures in content.items()
    }
