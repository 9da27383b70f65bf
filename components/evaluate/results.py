"""The result of an evaluation, as it is stored beside the model: a state file, and the metrics of each user."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.evaluate.gate import Thresholds, describe_trade
from components.evaluate.slices import Slice
from steam_recsys.errors import ArtifactError
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION, Comparison, Figures, Interval, UserFigures
from steam_recsys.evaluation.metrics import HEADLINE_METRIC
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.rules import Rule, Verdict
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import ArtifactWriter, UnreadableError, seal, unseal
from steam_recsys.storage.model_store import EVALUATION, USER_METRICS


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Figures of a model and the gate's verdict.

    Attributes:
        version: Version of the challenger.
        champion: Version of the champion at the time; None if there was none.
        snapshot_id: Id of the snapshot whose rows were held out.
        cutoff: First day of the held-out period, ISO date.
        left_out: Number of held-out reviews outside the headline figures, see `hold_out`.
        overall: All rankings on all users with a history: the headline figures.
        beyond_accuracy: How personal, varied and well matched the lists are, by ranking and then by metric, see
            `beyond_accuracy`; these figures have no intervals.
        slices: The challenger and its opponents on some of the users or games.
        settings: Settings of each baseline as text.
        thresholds: The gate's parameters.
        verdict: The gate's verdict.
    """

    version: str
    champion: str | None
    snapshot_id: str
    cutoff: str
    left_out: int
    overall: Comparison
    beyond_accuracy: dict[str, dict[str, float]]
    slices: tuple[Slice, ...]
    settings: dict[str, str]
    thresholds: Thresholds
    verdict: Verdict

    @property
    def is_champion(self) -> bool:
        """Whether the challenger was the champion already, as when a training is repeated."""
        return self.version == self.champion

    @property
    def outcome(self) -> str:
        """What follows from the verdict, as text."""
        if self.verdict.passed:
            already = ": it is the champion already" if self.is_champion else ""
            return f"model {self.version} passes the gate{already}"
        champion = f"the champion stays {self.champion}" if self.champion else "there is no champion yet"
        return f"model {self.version} does not pass the gate: {champion}"

    @property
    def users(self) -> int:
        """Number of users in the headline figures."""
        return self.overall.users

    @property
    def figures(self) -> dict[str, Figures]:
        """The headline figures, by ranking and then by metric."""
        return self.overall.figures

    @property
    def metrics(self) -> dict[str, float]:
        """All headline figures by name: `ndcg_at_10` for the challenger, `item-kNN_ndcg_at_10` for a baseline."""
        return {
            _full_name(ranking, metric): figure
            for ranking in self.figures
            for metric, figure in self.means(ranking).items()
        }

    @property
    def differences(self) -> dict[str, float]:
        """The model's NDCG@10 minus each opponent's, with its interval: `item-kNN_ndcg_at_10_difference_lower`."""
        metric = HEADLINE_METRIC.name
        return {
            f"{_full_name(ranking, metric)}_difference{end}": figure
            for ranking, figures in self.overall.differences.items()
            for end, figure in zip(("", "_lower", "_upper"), _ends(figures[metric]), strict=True)
        }

    @property
    def trades(self) -> tuple[str, ...]:
        """What the model gains and loses beside the best baseline and the champion, one sentence each."""
        opponents = [self.overall.best_baseline(HEADLINE_METRIC.name)]
        opponents += [CHAMPION] if CHAMPION in self.figures else []
        return tuple(describe_trade(self.overall, self.beyond_accuracy, opponent) for opponent in opponents)

    def means(self, ranking: str) -> dict[str, float]:
        """Return a ranking's headline figures by metric."""
        return {name: figure.mean for name, figure in self.figures[ranking].items()} | self.beyond_accuracy[ranking]

    def facts(self) -> dict[str, Any]:
        """Return the result as plain values, for the journal and artifacts."""
        return {
            "version": self.version, "champion": self.champion, "cutoff": self.cutoff, "users": self.users,
            "promote": self.verdict.passed, "reasons": list(self.verdict.sentences),
            "failures": list(map(str, self.verdict.failures)), "trades": list(self.trades), **self.metrics,
            **self.differences,
        }  # fmt: skip

    def write(self, folder: str | Path, user_metrics: pa.Table) -> None:
        """Write a folder with the evaluation, the metrics of each user and a manifest.

        Args:
            folder: The folder.
            user_metrics: The result of `user_metrics_table`.
        """
        content = pa.BufferOutputStream()
        keys = dict.fromkeys(("user_id", "history", "held_out"), "DELTA_BINARY_PACKED")
        figures = [name for name in user_metrics.column_names if name not in keys]  # few distinct values
        pq.write_table(user_metrics, content, compression="zstd", use_dictionary=figures, column_encoding=keys)
        writer = ArtifactWriter(open_folder(folder))
        writer.write(EVALUATION, seal(asdict(self)))
        writer.write(USER_METRICS, content.getvalue().to_pybytes())
        writer.finish()

    @classmethod
    def read(cls, path: str | Path) -> Evaluation:
        """Read the file `EVALUATION` of a folder that `write` wrote, or of a model's folder in the store.

        Raises:
            ArtifactError: The file is missing or damaged, or another version of this project wrote it.
        """
        try:
            return unseal(Path(path).read_bytes(), cls._decode)
        except FileNotFoundError:
            raise ArtifactError(f"{path} is missing: evaluate the model first.") from None
        except UnreadableError as error:
            raise ArtifactError(f"{path} {error}: train and evaluate again.") from None

    @classmethod
    def _decode(cls, fields: dict[str, Any]) -> Evaluation:
        return cls(
            overall=Comparison.from_dict(fields.pop("overall")),
            slices=tuple(Slice.from_dict(part) for part in fields.pop("slices")),
            thresholds=Thresholds(**fields.pop("thresholds")),
            verdict=Verdict(tuple(Rule(**rule) for rule in fields.pop("verdict")["rules"])),
            **fields,
        )


def _full_name(ranking: str, metric: str) -> str:
    return metric if ranking == CHALLENGER else f"{ranking.replace(' ', '_')}_{metric}"


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.mean, interval.low, interval.high


def user_metrics_table(held_out: HeldOut, figures: UserFigures) -> pa.Table:
    """Return the metrics of each user by each ranking as a table, one ranking after the other, each sorted by user.

    Its columns are `ranking`, `user_id`, `history` (games before the cutoff), `held_out` (new games that the user
    recommends after it), and each metric as float32.

    Args:
        held_out: B users.
        figures: Their figures.
    """
    sizes = (held_out.history.lengths, held_out.relevant.lengths)
    users = [held_out.history.users, *(lengths.astype(np.int32) for lengths in sizes)]
    columns = ["ranking", "user_id", "history", "held_out", *next(iter(figures.values()))]
    return pa.concat_tables(
        pa.table([[name] * len(held_out), *users, *(each.astype(np.float32) for each in metrics.values())], columns)
        for name, metrics in figures.items()
    )
