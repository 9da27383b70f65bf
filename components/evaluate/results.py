"""What an evaluation found, as it is kept: a file of JSON beside the model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.evaluate.gate import Rule, Verdict
from components.evaluate.slices import Slice
from components.evaluate.thresholds import Thresholds
from steam_recsys.errors import UserError, other_version_error
from steam_recsys.evaluation.comparison import CHALLENGER, Comparison, Figures


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and the gate's verdict.

    Attributes:
        version: the challenger's.
        champion: the champion's version when it was evaluated, None for none.
        snapshot_id: of the snapshot whose rows were held out.
        cutoff: the ISO date on which the held-out period begins.
        left_out: held-out reviews that the headline figures do not ask for, as in `hold_out`.
        overall: all rankings on all users who have a history: the headline figures.
        catalogue: coverage and the Gini index, by ranking, then by metric; they have no intervals.
        slices: the challenger beside its rivals on some of the users or games.
        settings: the baselines', by their names.
        thresholds: what the gate asked for.
        verdict: the gate's.
    """

    version: str
    champion: str | None
    snapshot_id: str
    cutoff: str
    left_out: int
    overall: Comparison
    catalogue: dict[str, dict[str, float]]
    slices: tuple[Slice, ...]
    settings: dict[str, str]
    thresholds: Thresholds
    verdict: Verdict

    @property
    def is_champion(self) -> bool:
        """Whether the challenger was the champion already, as where a training is repeated."""
        return self.version == self.champion

    @property
    def outcome(self) -> str:
        """What follows from the verdict, in words."""
        if self.verdict.promote:
            already = ": it is the champion already" if self.is_champion else ""
            return f"model {self.version} passes the gate{already}"
        stays = f"the champion stays {self.champion}" if self.champion else "there is no champion yet"
        return f"model {self.version} does not pass the gate: {stays}"

    @property
    def users(self) -> int:
        """How many users the headline figures are of."""
        return self.overall.users

    @property
    def figures(self) -> dict[str, Figures]:
        """The headline figures, by ranking, then by metric."""
        return self.overall.figures

    @property
    def metrics(self) -> dict[str, float]:
        """Every headline figure, flat: the challenger's under the metric's name, others' after their own name."""
        return {
            (metric if ranking == CHALLENGER else f"{ranking.replace(' ', '_')}_{metric}"): figure
            for ranking in self.figures
            for metric, figure in self.means(ranking).items()
        }

    def means(self, ranking: str) -> dict[str, float]:
        """A ranking's headline figures by metric."""
        return {name: figure.mean for name, figure in self.figures[ranking].items()} | self.catalogue[ranking]

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return {
            "version": self.version, "champion": self.champion, "cutoff": self.cutoff, "users": self.users,
            "promote": self.verdict.promote, "reasons": list(self.verdict.reasons),
            "failures": [rule.sentence for rule in self.verdict.failures], **self.metrics,
        }  # fmt: skip

    def write(self, path: str | Path) -> None:
        """Write the evaluation as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Evaluation:
        """Read what `write` wrote.

        Raises:
            UserError: there is no evaluation, or one of another version of this project.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            verdict = content.pop("verdict")
            return cls(
                overall=Comparison.read(content.pop("overall")),
                slices=tuple(Slice.read(part) for part in content.pop("slices")),
                thresholds=Thresholds(**content.pop("thresholds")),
                verdict=Verdict(verdict["promote"], tuple(Rule(**rule) for rule in verdict["rules"])),
                **content,
            )
        except FileNotFoundError:
            raise UserError(f"{path} holds no evaluation: evaluate the model first.") from None
        except (KeyError, TypeError) as error:
            raise other_version_error(f"{path} holds an evaluation", error, "train and evaluate again") from None
