"""The stage: a challenger beside baselines and champion, all on the same held-out rows, and the gate's verdict."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

from components.evaluate.baselines import tuned_baselines
from components.evaluate.gate import METRIC as GATE_METRIC
from components.evaluate.gate import Rule, Verdict, decide
from components.evaluate.holdout import hold_out
from components.evaluate.intervals import Interval, intervals
from components.evaluate.metrics import NDCG, Metric, Recall, measure
from components.evaluate.protocols import snapshot_by_time
from components.evaluate.ranking import ModelRanking, Ranker
from components.evaluate.report import html_report
from components.predict.recommender import Recommender
from components.shared.console import log
from components.shared.errors import UserError
from components.shared.games import COLUMNS, Games
from components.shared.interactions import cutoff_day, load_interactions, split_by_time
from components.shared.model_store import DESCRIPTION, current_champion, evaluated_part, stored_model
from components.shared.popularity import recent_popularity
from components.shared.snapshot import Snapshot

METRICS: tuple[Metric, ...] = (NDCG(10), Recall(20))
CHALLENGER, CHAMPION = "challenger", "champion"

Figures = dict[str, Interval]
"""By the metric's name."""


@dataclass(frozen=True)
class Evaluation:
    """What was measured, and the gate's verdict.

    Attributes:
        version: the challenger's.
        champion: the version of the champion that it was compared with, None for none.
        snapshot_id: of the snapshot whose rows were held out.
        cutoff: the ISO date on which the held-out period begins.
        users: how many users were ranked for.
        left_out: held-out reviews that could not be asked for, as in `HeldOut`.
        figures: by ranking, then by metric.
        settings: the baselines', by their names.
        verdict: the gate's.
    """

    version: str
    champion: str | None
    snapshot_id: str
    cutoff: str
    users: int
    left_out: int
    figures: dict[str, Figures]
    settings: dict[str, str]
    verdict: Verdict

    @property
    def metrics(self) -> dict[str, float]:
        """Every mean, flat: the challenger's under the metric's name, others' after their own name."""
        return {
            (metric if ranking == CHALLENGER else f"{ranking.replace(' ', '_')}_{metric}"): figure.mean
            for ranking, figures in self.figures.items()
            for metric, figure in figures.items()
        }

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return {
            "version": self.version, "champion": self.champion, "cutoff": self.cutoff, "users": self.users,
            "promote": self.verdict.promote, "reasons": list(self.verdict.reasons), **self.metrics,
        }  # fmt: skip

    def write(self, evaluation: str | Path, report: str | Path) -> None:
        """Write the evaluation as JSON and as an HTML report."""
        content = json.dumps(asdict(self), indent=2) + "\n"
        for path, text in ((evaluation, content), (report, self.html())):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")

    def html(self) -> str:
        """The report: one self-contained page."""
        outcome = "is promoted" if self.verdict.promote else "is not promoted"
        summary = (
            f"Snapshot {self.snapshot_id}, reviews from {self.cutoff} on held out. Every game of the catalogue was "
            f"ranked for {self.users:,} users; {self.left_out:,} held-out reviews by users without a history or of "
            f"games that nobody had reviewed by then are left out. Champion before: {self.champion or 'none'}."
        )
        return html_report(f"Model {self.version} {outcome}", summary, self.figures, self.settings, self.verdict)

    @classmethod
    def read(cls, path: str | Path) -> Evaluation:
        """Read what `write` wrote as JSON.

        Raises:
            UserError: there is no evaluation.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{path} holds no evaluation: evaluate the model first.") from None
        content["figures"] = {
            ranking: {metric: Interval(**figure) for metric, figure in figures.items()}
            for ranking, figures in content["figures"].items()
        }
        verdict = content["verdict"]
        content["verdict"] = Verdict(verdict["promote"], tuple(Rule(**rule) for rule in verdict["rules"]))
        return cls(**content)


def evaluate_model(snapshot: str | Path, model: str | Path, store: str) -> Evaluation:
    """Score a model on the period that its training left out, and decide on its promotion.

    Every game of the catalogue is ranked for every user who reviewed a game before the cutoff and recommends another,
    known by then, from it on; the user's own games are excluded. Undated reviews count neither as history nor as held
    out. Popularity, the model's and the baselines', is as of the cutoff. Of the champion that model is compared which
    was evaluated, before it was fitted to everything; where its cutoff is the later one, that is the cutoff for all, so
    that nothing is asked that one of them has seen.

    Args:
        snapshot: the snapshot that the model was trained on.
        model: the model's folder; the cutoff stands in its `model.json`.
        store: the store with the champion, if there is one.

    Raises:
        UserError: the folder holds no model, or no user can be asked.
    """
    opened, challenger = Snapshot.open(snapshot), Recommender.load(model)
    described = json.loads((Path(model) / DESCRIPTION).read_text())
    pointer, champion, champions_cutoff = _champion(store)
    cutoff = max(described["cutoff"], champions_cutoff)
    day = (date.fromisoformat(cutoff) - date(1970, 1, 1)).days
    past = load_interactions(opened, before=day)
    future = split_by_time(load_interactions(opened), day)[1]
    games = Games.of(opened.table("games", COLUMNS))
    held_out = hold_out(past, future, games.ids)
    if not len(held_out):
        raise UserError(
            f"No user of the snapshot {snapshot} has a review before {cutoff} and one of another known game from then "
            f"on, so nothing can be evaluated: ingest more reviews."
        )
    recent = recent_popularity(past, games.ids, day)
    validation = snapshot_by_time(opened, past, cutoff_day(past, described["held_out_share"]))
    baselines = tuned_baselines(past, day, validation, games.ids)
    rankers: dict[str, Ranker] = {CHALLENGER: ModelRanking(challenger.for_catalogue(games, recent))}
    rankers |= {baseline.name: baseline.ranker for baseline in baselines}
    if champion:
        rankers[CHAMPION] = ModelRanking(champion.for_catalogue(games, recent))
    measured = {name: measure(ranker, held_out, METRICS) for name, ranker in rankers.items()}
    deciding = {name: values[GATE_METRIC.name] for name, values in measured.items()}
    verdict = decide(
        deciding[CHALLENGER], {baseline.name: deciding[baseline.name] for baseline in baselines}, deciding.get(CHAMPION)
    )
    for reason in verdict.reasons:
        log("evaluate", reason)
    return Evaluation(
        challenger.version,
        pointer,
        opened.manifest.snapshot_id,
        cutoff,
        len(held_out),
        held_out.left_out,
        {name: intervals(by_metric) for name, by_metric in measured.items()},
        {baseline.name: baseline.settings for baseline in baselines},
        verdict,
    )


def _champion(store: str) -> tuple[str | None, Recommender | None, str]:
    """The champion's version, the model of it that was evaluated, and its cutoff, an ISO date; `""` for none."""
    pointer = current_champion(store)
    if not pointer:
        return None, None, ""
    with stored_model(store, pointer.version) as folder:
        described = json.loads((folder / DESCRIPTION).read_text())
        return pointer.version, Recommender.load(evaluated_part(folder)), described["cutoff"]
