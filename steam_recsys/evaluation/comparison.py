"""Rankings beside each other on the same users: their figures, and the challenger's differences to its rivals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from steam_recsys.arrays import Float64Array
from steam_recsys.evaluation.intervals import Interval, resampled_means

CHALLENGER, CHAMPION, POPULARITY = "challenger", "champion", "popularity"
"""Names of rankings; the other ones are further baselines."""

Measured = Mapping[str, Mapping[str, Float64Array]]
"""By ranking, then by the metric's name: a figure for each of the same users, float64 [B]."""

Figures = dict[str, Interval]
"""By the metric's name."""


@dataclass(frozen=True)
class Comparison:
    """What rankings came to on the same users.

    Attributes:
        users: how many.
        figures: by ranking, the challenger's first; none where there are no users.
        differences: the challenger's less the rival's, user by user, by rival.
    """

    users: int
    figures: dict[str, Figures]
    differences: dict[str, Figures]

    @classmethod
    def from_figures(cls, measured: Measured) -> Comparison:
        """Compare the challenger with all others, on resamples of users that are the same for all."""
        ours = measured[CHALLENGER]
        users = len(next(iter(ours.values()), ()))
        if not users:
            return cls(0, {}, {})
        means = resampled_means({(name, metric): of for name in measured for metric, of in measured[name].items()})
        figures = {
            name: {metric: Interval.from_resamples(of, means[name, metric]) for metric, of in by_metric.items()}
            for name, by_metric in measured.items()
        }
        differences = {
            name: {
                metric: Interval.from_resamples(ours[metric] - of, means[CHALLENGER, metric] - means[name, metric])
                for metric, of in by_metric.items()
            }
            for name, by_metric in measured.items()
            if name != CHALLENGER
        }
        return cls(users, figures, differences)

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Comparison:
        """Read what `dataclasses.asdict` made of one."""
        return cls(content["users"], _read(content["figures"]), _read(content["differences"]))

    def best_baseline(self, metric: str) -> str:
        """The baseline with the highest mean, the first one of equals."""
        baselines = [ranking for ranking in self.figures if ranking not in (CHALLENGER, CHAMPION)]
        return max(baselines, key=lambda ranking: self.figures[ranking][metric].mean)


def _read(content: Mapping[str, Any]) -> dict[str, Figures]:
    return {
        ranking: {metric: Interval(**figure) for metric, figure in figures.items()}
        for ranking, figures in content.items()
    }
