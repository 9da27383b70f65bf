"""The evaluation stage: rank held-out users by the challenger, the baselines and the champion, and apply the gate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from components.evaluate.gate import DEFAULT, Thresholds, decide
from components.evaluate.report import Diagnostics, html_report
from components.evaluate.results import Evaluation
from components.evaluate.slices import Rankings, compare_slices
from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.interactions import Interactions, cutoff_day, day_of, load_interactions, split_by_time
from steam_recsys.data.popularity import popularity, popularity_as_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baselines import tuned_baselines
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION, Comparison
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, MRR, Coverage, Gini, HitRate, Metric, Novelty, Recall
from steam_recsys.evaluation.rankers import ModelRanker, Ranker
from steam_recsys.evaluation.splits import Future, HeldOut, snapshot_by_time
from steam_recsys.logging import log
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.reporting.pages import write_page
from steam_recsys.rules import NOT_ENOUGH
from steam_recsys.storage.model_store import DESCRIPTION, current_champion, evaluated_part, stored_model


@dataclass(frozen=True)
class EvaluationSetup:
    """A challenger, its opponents, and the reviews of a snapshot before and after a cutoff.

    Attributes:
        version: Version of the challenger.
        champion: Version of the champion; None if there is none.
        snapshot_id: Id of the snapshot.
        cutoff: First day of the held-out period, ISO date.
        past: Everything that may be known.
        future: The held-out reviews, with at least one user to rank for.
        games: The catalogue.
        names: Names of the games, in the same order.
        challenger: Ranks by the challenger.
        rankers: All rankers by name: the challenger first, and the champion last if it is another model.
        settings: The settings of each baseline as text.
        description: Content of the challenger's `model.json`.
    """

    version: str
    champion: str | None
    snapshot_id: str
    cutoff: str
    past: Interactions
    future: Future
    games: Games
    names: list[str]
    challenger: ModelRanker
    rankers: dict[str, Ranker]
    settings: dict[str, str]
    description: Mapping[str, Any]

    @property
    def held_out(self) -> HeldOut:
        """The rows of the headline figures: users with a history, and games with reviews."""
        return self.future.returning

    @property
    def day(self) -> int:
        """The cutoff in days since 1970-01-01."""
        return day_of(date.fromisoformat(self.cutoff))

    @classmethod
    def load(cls, snapshot: str | Path, model: str | Path, store: str) -> EvaluationSetup:
        """Read the snapshot, the challenger and the champion, and fit the baselines.

        Popularity is as of the cutoff, in the models and in the baselines. The champion takes part as it was before it
        was fitted to all reviews. The later cutoff of the two models is used for all, so that neither has seen a
        held-out review. If the challenger is the champion, because its training was repeated, there is no champion to
        compare with.

        Raises:
            UserError: A folder holds no snapshot or no model, or there is no user to rank for.
        """
        opened, challenger = Snapshot.open(snapshot), TwoTowerArrays.load(model)
        description = json.loads((Path(model) / DESCRIPTION).read_text())
        champion_version, champion, champion_cutoff = _champion(store)
        cutoff = max(description["cutoff"], champion_cutoff)
        day = day_of(date.fromisoformat(cutoff))
        past = load_interactions(opened, before=day)
        after = split_by_time(load_interactions(opened), day)[1]
        table = opened.table("games", ["name", *GAME_COLUMNS]).sort_by("game_id")
        games = Games.from_table(table)
        future = Future.from_interactions(past, after, games.ids)
        if not len(future.returning):
            raise UserError(
                f"The snapshot {snapshot} cannot be evaluated: no user has a review before {cutoff} and a positive "
                f"review of another known game after it. Ingest more reviews."
            )
        popularity = popularity_as_of(past, games.ids, day)
        ranker = ModelRanker(challenger.for_catalogue(games, popularity))
        validation = snapshot_by_time(opened, past, cutoff_day(past, description["held_out_share"]))
        baselines = tuned_baselines(past, day, validation, games.ids)
        rankers: dict[str, Ranker] = {CHALLENGER: ranker}
        rankers |= {baseline.name: baseline.ranker for baseline in baselines}
        if champion and champion_version != challenger.version:
            rankers[CHAMPION] = ModelRanker(champion.for_catalogue(games, popularity))
        return cls(
            version=challenger.version,
            champion=champion_version,
            snapshot_id=opened.manifest.snapshot_id,
            cutoff=cutoff,
            past=past,
            future=future,
            games=games,
            names=table["name"].to_pylist(),
            challenger=ranker,
            rankers=rankers,
            settings={baseline.name: baseline.settings for baseline in baselines},
            description=description,
        )


def _champion(store: str) -> tuple[str | None, TwoTowerArrays | None, str]:
    """Return the champion's version, its model as it was evaluated, and its cutoff, an ISO date; `""` for none."""
    pointer = current_champion(store)
    if not pointer:
        return None, None, ""
    with stored_model(store, pointer.version) as folder:
        description = json.loads((folder / DESCRIPTION).read_text())
        return pointer.version, TwoTowerArrays.load(evaluated_part(folder)), description["cutoff"]


METRICS: tuple[Metric, ...] = (HEADLINE_METRIC, Recall(20), MRR(10), HitRate(10))
NOVELTY, COVERAGE, GINI = Novelty(20), Coverage(20), Gini(20)
K = 20
"""Length of the rankings: the longest that a metric looks at."""


def evaluate_model(
    snapshot: str | Path,
    model: str | Path,
    store: str,
    report: str | Path | None = None,
    thresholds: Thresholds = DEFAULT,
) -> Evaluation:
    """Measure a model on the period that its training left out, and decide whether to promote it.

    The whole catalogue is ranked for every user who reviewed a game before the cutoff and recommends another known game
    after it; the user's own games are excluded. Undated reviews are neither history nor held out. Users without a
    history and games without reviews are measured separately, as slices.

    Args:
        snapshot: The snapshot that the model was trained on.
        model: Folder of the model, with the cutoff in its `model.json`.
        store: Store with the champion, if there is one.
        report: HTML file to write; None for no report.
        thresholds: The gate's parameters.

    Raises:
        UserError: The folder holds no model, or there is no user to rank for.
    """
    # 1. Read the snapshot and the models, and fit the baselines.
    setup = EvaluationSetup.load(snapshot, model, store)

    # 2. Rank the catalogue for the held-out users, and measure the rankings overall and on slices.
    rankings = Rankings.from_rankers(setup.held_out, setup.rankers, K)
    overall, catalogue = _overall(setup, rankings), _catalogue(setup, rankings)
    slices = compare_slices(setup, rankings, overall.best_baseline(HEADLINE_METRIC.name))

    # 3. Apply the gate.
    coverage = {ranking: figures[COVERAGE.name] for ranking, figures in catalogue.items()}
    verdict = decide(overall, coverage, {part.title: part.comparison for part in slices}, thresholds)
    evaluation = Evaluation(
        version=setup.version,
        champion=setup.champion,
        snapshot_id=setup.snapshot_id,
        cutoff=setup.cutoff,
        left_out=rankings.held_out.left_out,
        overall=overall,
        catalogue=catalogue,
        slices=slices,
        settings=setup.settings,
        thresholds=thresholds,
        verdict=verdict,
    )
    _log(evaluation)

    # 4. Write the report.
    if report is not None:
        write_page(report, html_report(evaluation, Diagnostics.from_setup(setup)))
    return evaluation


def _overall(setup: EvaluationSetup, rankings: Rankings) -> Comparison:
    figures = rankings.measure(METRICS)
    reviews = popularity(setup.past, setup.games.ids)
    for name, ranked in rankings.ranked.items():
        figures[name][NOVELTY.name] = NOVELTY.per_user(ranked, reviews)
    return Comparison.from_figures(figures)


def _catalogue(setup: EvaluationSetup, rankings: Rankings) -> dict[str, dict[str, float]]:
    return {
        name: {metric.name: metric.compute(ranked, len(setup.games)) for metric in (COVERAGE, GINI)}
        for name, ranked in rankings.ranked.items()
    }


def _log(evaluation: Evaluation) -> None:
    rules = evaluation.verdict.rules
    decided = [rule for rule in rules if rule.outcome != NOT_ENOUGH]
    for rule in decided:
        log("evaluate", str(rule))
    if len(decided) < len(rules):
        log("evaluate", f"slices with too few users to decide: {len(rules) - len(decided)}")
    log("evaluate", evaluation.outcome)
