"""`make benchmark-quality`: the model beside its baselines on several boards, the default configuration in every row.

Nothing is tuned on a test split: what the model and the baselines tune, they tune on a part of the training rows. Rows
that depend on a random seed are means over several seeds. Each board has its own files, so that one of them can be
measured again alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.learning_curves import TutorialRanker
from benchmarks.personal import published_reviews, synthetic_shop
from benchmarks.public_data import (
    BEAUTY,
    BOARDS,
    GENERATED,
    ML_LAST,
    ML_RANDOM,
    STEAM_200K,
    UCSD,
    Board,
    Protocol,
    select_boards,
)
from benchmarks.record import OUTPUT, at_least, at_most, show, times_as_many, write
from benchmarks.record import Row as Record
from benchmarks.sasrec import SasrecRanker, SasrecSettings
from components.train.tensorflow_runtime import get_workers
from components.train.trainer import Trainer
from components.train.training import tune_and_fit
from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import BoolArray, Float64Array, Int32Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.data.schemas import DISCOVERY, NEW_RELEASES, RELEVANCE
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baseline_settings import TuningKey, stored_or_tuned
from steam_recsys.evaluation.baselines import Parameters, fit_baselines, tune_baselines
from steam_recsys.evaluation.beyond_accuracy import (
    COVERAGE,
    IPW_NDCG,
    JACCARD,
    TAIL_MATCHED_AUC,
    TAIL_RECALL,
    TITLES,
    Reference,
    genres_of,
    measure_lists,
)
from steam_recsys.evaluation.intervals import Interval, intervals
from steam_recsys.evaluation.metrics import NDCG, Metric, Recall, measure_ranked
from steam_recsys.evaluation.popularity_matches import PopularityMatches, rank_and_match
from steam_recsys.evaluation.rankers import ModelRanker, Ranker, StaticRanker, rank
from steam_recsys.evaluation.splits import HeldOut, hold_out
from steam_recsys.model.history_weights import DEFAULT_HISTORY_WEIGHTS
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.lists import LENGTHS, NEW_RELEASE_DAYS, ReviewCounts, game_lists, new_releases
from steam_recsys.model.retrieval import GameList
from steam_recsys.model.scorer import Scorer

RANKS = 20
OURS, TUTORIAL, SASREC = "ours", "TFRS tutorial", "SASRec (ours)"
SEED, SEEDS = 0, (0, 1, 2)
"""The seed of whatever is measured once, and those of the rows that are means."""

SEEDED = (OURS, TUTORIAL, SASREC)
"""The rows that are means over seeds."""

PUBLICATION = "publication"
"""The part that measures what a demo publishes, after the boards."""

FAN_GAMES, FANS_PER_TAG, FANS_HISTORY, FANS_FROM = 30, 20, 8, 60
"""Of the fans: games that a tag must have, users of each tag, games of each user, and the tag's games with the most
reviews that these are drawn from."""

NDCG_10, RECALL_10, RECALL_20 = NDCG(10).name, Recall(10).name, Recall(20).name

MUST = {
    (ML_RANDOM, NDCG_10): 0.453,
    (ML_RANDOM, RECALL_20): 0.459,
    (ML_LAST, NDCG_10): 0.130,
    (ML_LAST, RECALL_20): 0.350,
    (UCSD, NDCG_10): 0.203,
    (STEAM_200K, NDCG_10): 0.496,
    (STEAM_200K, RECALL_20): 0.604,
    (BEAUTY, NDCG_10): 0.0531,
    (BEAUTY, RECALL_10): 0.0928,
}
"""Figures of ours to reach. Those of Amazon Beauty are the highest published ones of sequential models."""

ABOVE = (ML_RANDOM, ML_LAST, GENERATED)
"""Boards on which ours must be above every other row in NDCG@10: the whole interval of the paired difference."""

TRAINING, EVALUATION = "training", "evaluation"
WITHOUT_TUNING = "evaluation, the baselines tuned in an earlier run"
"""An evaluation that finds the baselines' settings in the store; its time is not compared with a target."""

MOST_SECONDS = {
    (ML_RANDOM, TRAINING): 180.0,
    (ML_LAST, TRAINING): 180.0,
    (UCSD, TRAINING): 180.0,
    (GENERATED, TRAINING): 600.0,
    (ML_RANDOM, EVALUATION): 300.0,
    (ML_LAST, EVALUATION): 300.0,
    (UCSD, EVALUATION): 300.0,
    (GENERATED, EVALUATION): 300.0,
}
"""Time of one training with all that it tunes; and of one evaluation, in which our model ranks, and the baselines of a
gate are tuned, fitted, and rank. The fits of SASRec and of the TFRS tutorial are in neither: the gate has no such rows.
"""

PERSONAL_MUST: dict[tuple[str, str], tuple[Callable[..., Record], float]] = {
    (UCSD, JACCARD): (at_most, 0.55),
    (UCSD, COVERAGE): (at_least, 0.015),
    (UCSD, TAIL_MATCHED_AUC): (at_least, 0.52),
    (STEAM_200K, COVERAGE): (at_least, 0.24),
    (STEAM_200K, IPW_NDCG): (at_least, 0.087),
}
"""Figures of ours beyond accuracy to reach."""


@dataclass(frozen=True)
class Row:
    """One ranker's results on one protocol.

    Attributes:
        ranker: Its name.
        settings: Its settings as text.
        figures: Intervals of the accuracy metrics.
        differences: Intervals of the paired differences of ours to it.
        beyond: Figures beyond accuracy.
    """

    ranker: str
    settings: str
    figures: dict[str, Interval]
    differences: dict[str, Interval]
    beyond: dict[str, float]


@dataclass(frozen=True)
class Fitted:
    """Our model on a protocol: its scorer, its lists, and what they are measured against."""

    config: ModelConfig
    scorer: Scorer
    lists: dict[str, GameList]
    reference: Reference
    new: BoolArray

    @classmethod
    def fit(cls, protocol: Protocol, seed: int) -> Fitted:
        """Train on the protocol's past with the default configuration."""
        games, past, as_of = protocol.games, protocol.test.past, protocol.test.as_of
        trainer = Trainer(seed, get_workers())
        fitted, _ = tune_and_fit(past, protocol.validation, games, ModelConfig(), trainer, "benchmark")
        scorer = fitted.model.for_catalogue(games, popularity_as_of(past, games.ids, as_of))
        reference = Reference.from_past(past, games, as_of, [scorer.popularity_prior])
        likes = reference.reviews.astype(np.int64)
        new = np.zeros(len(games), dtype=bool)
        if protocol.released is not None and as_of is not None:
            new = new_releases(protocol.released, as_of, NEW_RELEASE_DAYS)
        lists = game_lists(
            fitted.config.popularity_weight,
            fitted.config.interests_weight,
            scorer.popularity_prior,
            np.ones(len(games), dtype=bool),
            ReviewCounts(likes, likes),  # every review of a protocol is a positive one
            new,
        )
        return cls(fitted.config, scorer, {wanted.name: wanted for wanted in lists}, reference, new)

    def rank(self, name: str, history: Histories, k: int) -> Int32Array:
        """Return the first k games of one list, int32 [B, k]."""
        return self.scorer.recommend_lists(history, [replace(self.lists[name], length=k)])[0].positions


@dataclass(frozen=True)
class Measured:
    """What was measured on a board.

    Attributes:
        rows: One row per ranker, ours first.
        seconds: Time of a training and of an evaluation, see `MOST_SECONDS`.
        ours: Our model with the first seed.
    """

    rows: list[Row]
    seconds: dict[str, float]
    ours: Fitted


def measure_board(board: Board, protocol: Protocol, store: Path) -> Measured:
    """Rank and measure everything on one board.

    The figures of rankers that depend on a seed are means over `SEEDS`, user by user, and their intervals are of these
    means. Settings and times are those of the first seed.

    Args:
        board: The board.
        protocol: Its data.
        store: Folder that keeps the settings of the baselines, which are tuned once per data and code.
    """
    games, past, as_of = protocol.games, protocol.test.past, protocol.test.as_of
    held_out = hold_out(past, protocol.test.future, games.ids)
    settings: dict[str, str] = {}
    figures: dict[str, list[dict[str, Float64Array]]] = defaultdict(list)
    beyond: dict[str, list[dict[str, float]]] = defaultdict(list)

    def measure_ranker(
        name: str, summary: str, ranker: Ranker, reference: Reference, matches: PopularityMatches
    ) -> None:
        ranked, auc = rank_and_match(ranker, held_out.history, RANKS, matches)
        settings.setdefault(name, summary)
        figures[name].append(_figures(board, protocol, held_out, ranked))
        beyond[name].append(measure_lists(ranked, held_out, reference) | matches.figures(auc))

    def report(name: str) -> None:
        found = ", ".join(f"{metric} {values.mean():.4f}" for metric, values in figures[name][-1].items())
        print(f"[benchmark] {board.name}, {name} ({settings[name]}): {found}", flush=True)

    training_seconds, ranking_seconds = [], []
    fitted: list[Fitted] = []
    sasrec = SasrecSettings.tune(protocol, SEEDS[0]) if board.ordered else None
    for seed in SEEDS:
        start = time.monotonic()
        ours = Fitted.fit(protocol, seed)
        training_seconds.append(time.monotonic() - start)
        fitted.append(ours)
        reference = fitted[0].reference
        start = time.monotonic()
        matches = PopularityMatches.from_held_out(held_out, reference.popularity)
        measure_ranker(OURS, ours.config.summary, ModelRanker(ours.scorer), reference, matches)
        ranking_seconds.append(time.monotonic() - start)
        measure_ranker(TUTORIAL, "", TutorialRanker.fit(past, games.ids, seed), reference, matches)
        for name in (OURS, TUTORIAL):
            report(name)
        if sasrec:
            measure_ranker(SASREC, str(sasrec), SasrecRanker.fit(protocol, sasrec, seed), reference, matches)
            report(SASREC)
    tunings: list[str] = []

    def tune() -> dict[str, Parameters]:
        tunings.append(board.name)
        return tune_baselines(protocol.validation, games.ids)

    start = time.monotonic()
    chosen = stored_or_tuned(str(store), tuning_key(protocol), tune)
    for baseline in fit_baselines(past, as_of, games.ids, chosen):
        measure_ranker(baseline.name, baseline.settings, baseline.ranker, reference, matches)
        report(baseline.name)
    evaluation = EVALUATION if tunings else WITHOUT_TUNING
    seconds = {TRAINING: training_seconds[0], evaluation: ranking_seconds[0] + time.monotonic() - start}
    means = {name: _means(of_seeds) for name, of_seeds in figures.items()}
    rows = [
        Row(
            name,
            settings[name],
            intervals(means[name]),
            intervals(_differences(means[OURS], means[name])),
            {key: float(np.mean([each[key] for each in beyond[name]])) for key in beyond[name][0]},
        )
        for name in means
    ]
    return Measured(rows, seconds, fitted[0])


def without_parts(scorer: Scorer) -> dict[str, Scorer]:
    """Return scorers that each lack one of the parts that a scorer has, by the part's name; the rest stays the same."""
    parts: dict[str, dict[str, Any]] = {
        "popularity": {"popularity_weight": 0.0},
        "the two towers": {"history": np.zeros_like(scorer.history)},
    }
    if scorer.sequence is not None:
        parts["the sequential tower"] = {"sequence": None, "sequence_scale": 0.0}
    if len(scorer.item_item.games):
        parts["games liked together"] = {"item_item": ItemItemWeights.empty(len(scorer))}
    if scorer.next_games is not None:
        parts["games that come next"] = {"next_games": None}
    if scorer.history_weights != DEFAULT_HISTORY_WEIGHTS:
        parts["history weights"] = {"history_weights": DEFAULT_HISTORY_WEIGHTS}
    return {name: replace(scorer, **changes) for name, changes in parts.items()}


def ablation(board: Board, protocol: Protocol, ours: Fitted) -> str:
    """Measure our model without each of its parts, and return the results as a table in Markdown.

    The other settings stay as they were chosen, so the differences say what each part adds to the chosen model.
    """
    held_out = hold_out(protocol.test.past, protocol.test.future, protocol.games.ids)

    def measured(scorer: Scorer) -> dict[str, Float64Array]:
        return _figures(board, protocol, held_out, rank(ModelRanker(scorer), held_out.history, RANKS))

    whole = measured(ours.scorer)
    titles = [_title(metric) for metric in board.metrics]
    lines = [
        f"| without | {' | '.join([*titles, *(f'ours − it, {title}' for title in titles)])} |",
        f"|---|{'---|' * (2 * len(titles))}",
    ]
    for name, scorer in without_parts(ours.scorer).items():
        lacking = measured(scorer)
        cells = [f"{lacking[metric.name].mean():.4f}" for metric in board.metrics]
        differences = intervals(_differences(whole, lacking))
        cells += [str(differences[metric.name]) for metric in board.metrics]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(["", f"The model of seed {SEEDS[0]} without each of its parts:", "", *lines]) + "\n"


def tuning_key(protocol: Protocol) -> TuningKey:
    """Return what the settings of the baselines depend on: the content of the validation split, and the code."""
    split = protocol.validation
    digest = hashlib.sha256(protocol.games.ids.tobytes())
    for rows in (split.past, split.future):
        for field in fields(rows):
            digest.update(getattr(rows, field.name).tobytes())
    cutoff = "" if split.as_of is None else str(np.datetime64(split.as_of, "D"))
    return TuningKey.from_split(digest.hexdigest(), cutoff, len(split.future) / (len(split.past) + len(split.future)))


def other_lists(protocol: Protocol, ours: Fitted) -> Iterator[Record]:
    """Measure the lists of hidden gems and of new releases, and what fans of a tag get."""
    held_out = hold_out(protocol.test.past, protocol.test.future, protocol.games.ids)
    gems = ours.rank(DISCOVERY, held_out.history, LENGTHS[DISCOVERY])
    found = measure_lists(gems, held_out, ours.reference)
    shown = len(np.unique(gems[gems >= 0])) / len(protocol.games)
    yield at_least(f"{protocol.name}, discovery, {TAIL_RECALL}", found[TAIL_RECALL], 0.024)
    yield at_least(f"{protocol.name}, discovery, coverage of its {LENGTHS[DISCOVERY]} games", shown, 0.2)
    yield new_releases_beside_popular_ones(protocol, ours, held_out)
    tags, fans = fans_of_tags(protocol.games, ours.reference.reviews)
    for name, must in ((RELEVANCE, 0.11), (DISCOVERY, 0.32)):
        share = share_of_own_tag(ours.rank(name, fans, 10), tags)
        yield at_least(f"{protocol.name}, share of a fan's tag in {name}, mean over {len(tags)} tags", share, must)


def new_releases_beside_popular_ones(protocol: Protocol, ours: Fitted, held_out: HeldOut) -> Record:
    """Compare the list of new releases with the most popular of the same games, by recall@10 of held-out ones."""
    rows, relevant = held_out.only(ours.new)
    ranked = ours.rank(NEW_RELEASES, relevant.history, 10)
    popular = np.where(ours.new, ours.reference.popularity, -np.inf).astype(np.float32)
    peer = rank(StaticRanker(popular), relevant.history, 10)
    recall = Recall(10)
    figures = {
        name: measure_ranked(lists, relevant.relevant, (recall,))[recall.name]
        for name, lists in (("ours", ranked), ("popular", peer))
    }
    difference = intervals({"difference": figures["ours"] - figures["popular"]})["difference"]
    means = {name: float(values.mean()) for name, values in figures.items()}
    row = times_as_many(
        f"{protocol.name}, new releases, recall@10 of {len(rows)} users, ours − the most popular {difference}",
        means["ours"], means["popular"], "most popular new releases",
    )  # fmt: skip
    return {**row, "must": "not below by the interval", "met": difference.high >= 0}


def fans_of_tags(games: Games, reviews: Float64Array) -> tuple[list[BoolArray], Histories]:
    """Make users who have games of one tag only, at random from those with the most reviews.

    Args:
        games: The catalogue.
        reviews: float64 [N], reviews that recommend each game.

    Returns:
        The games of each tag, bool [N] each, in alphabetical order; and `FANS_PER_TAG` users per tag, in that order.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for position, attributes in enumerate(games.attributes):
        for genre in genres_of(attributes):
            members[genre].append(position)
    random = np.random.default_rng(SEED)
    tags, histories = [], []
    for tag in sorted(tag for tag, positions in members.items() if len(positions) >= FAN_GAMES):
        positions = np.array(members[tag])
        best = positions[np.argsort(-reviews[positions], kind="stable")[:FANS_FROM]]
        histories += [random.choice(best, FANS_HISTORY, replace=False).tolist() for _ in range(FANS_PER_TAG)]
        tags.append(np.isin(np.arange(len(games)), positions))
    return tags, Histories.from_games(*histories)


def share_of_own_tag(ranked: Int32Array, tags: list[BoolArray]) -> float:
    """Return the share of the fans' tag in their lists, int32 [tags × FANS_PER_TAG, k]; a mean over tags."""
    by_tag = ranked.reshape(len(tags), FANS_PER_TAG, -1)
    return float(np.mean([members[lists].mean() for members, lists in zip(tags, by_tag, strict=True)]))


def results(board: Board, rows: list[Row]) -> list[Record]:
    """Compute the board's figures for the record: ours beside the best other ranker's."""
    ours, others = rows[0], rows[1:]
    found: list[Record] = []
    for metric in board.metrics:
        peer = max(others, key=lambda row: row.figures[metric.name].mean)
        figure, best = ours.figures[metric.name].mean, peer.figures[metric.name].mean
        row = times_as_many(f"{board.name}, {metric.name}", figure, best, peer.ranker)
        must = MUST.get((board.name, metric.name))
        found.append({**row, "must": must, "met": must is None or round(figure, 4) >= must})
    if board.name in ABOVE:
        for other in others:
            gain = other.differences[NDCG_10]
            what = f"{board.name}, {NDCG_10}, ours − {other.ranker} {gain}"
            above = times_as_many(what, ours.figures[NDCG_10].mean, other.figures[NDCG_10].mean, other.ranker)
            found.append({**above, "must": "above by the interval", "met": gain.low > 0})
    return found + [
        bound(f"{board.name}, {name}", ours.beyond[name], must)
        for (where, name), (bound, must) in PERSONAL_MUST.items()
        if where == board.name
    ]


def times(board: Board, seconds: dict[str, float]) -> list[Record]:
    """Compute the rows of the board's times."""
    return [
        at_most(f"{board.name}, seconds of one {part}", took, MOST_SECONDS.get((board.name, part)))
        for part, took in seconds.items()
    ]


def markdown(board: Board, rows: list[Row], seconds: dict[str, float]) -> str:
    """Return the board's results as a section of Markdown."""
    titles = [_title(metric) for metric in board.metrics]
    differences = [f"ours − it, {title}" for title in titles]
    lines = [
        f"### {board.name}",
        "",
        f"| ranking | settings | {' | '.join(titles + differences)} |",
        f"|---|---|{'---|' * (len(titles) + len(differences))}",
    ]
    for row in rows:
        cells = [str(row.figures[metric.name]) for metric in board.metrics]
        cells += ["" if row.ranker == OURS else str(row.differences[metric.name]) for metric in board.metrics]
        lines.append(f"| {row.ranker} | {row.settings} | {' | '.join(cells)} |")
    lines += ["", f"| ranking | {' | '.join(TITLES.values())} |", f"|---|{'---|' * len(TITLES)}"]
    for row in rows:
        cells = [f"{row.beyond[name]:.4g}" if name in row.beyond else "" for name in TITLES]
        lines.append(f"| {row.ranker} | {' | '.join(cells)} |")
    lines += [
        "",
        f"The rows of {_listed([row.ranker for row in rows if row.ranker in SEEDED])} are means over {len(SEEDS)} "
        f"seeds, user by user, and their brackets are intervals of these means; the settings are those of seed "
        f"{SEEDS[0]}. Seconds: {', '.join(f'one {part} {took:.0f}' for part, took in seconds.items())}. A training "
        f"includes all that it tunes. An evaluation includes the baselines that the gate has: not the fits of "
        f"{_listed([name for name in SEEDED if name != OURS])}.",
    ]
    return "\n".join(lines) + "\n"


def gather(output: Path) -> list[Record]:
    """Join the files of all parts measured so far to `quality.json` and `quality.md`, and return the rows."""
    parts = [*(board.key for board in BOARDS), PUBLICATION]
    records, tables = ([output / f"quality-{part}.{kind}" for part in parts] for kind in ("json", "md"))
    rows = [row for file in records if file.exists() for row in json.loads(file.read_text())]
    write(output / "quality.json", rows)
    (output / "quality.md").write_text("\n".join(file.read_text() for file in tables if file.exists()))
    return rows


def _figures(board: Board, protocol: Protocol, held_out: HeldOut, ranked: Int32Array) -> dict[str, Float64Array]:
    """Return the accuracy of each user's list, float64 by metric.

    If the board counts every user, those whose held-out games no user had before come last, with 0.
    """
    others = len(np.unique(protocol.test.future.users)) - len(held_out) if board.every_user else 0
    measured = measure_ranked(ranked, held_out.relevant, board.metrics)
    return {metric: np.append(values, np.zeros(others)) for metric, values in measured.items()}


def _listed(names: list[str]) -> str:
    """Join names, the last one with "and"."""
    return " and ".join([", ".join(names[:-1])] * (len(names) > 1) + names[-1:])


def _title(metric: Metric) -> str:
    name, _, k = metric.name.partition("_at_")
    return f"{'NDCG' if name == 'ndcg' else name.capitalize()}@{k}"


def _means(of_seeds: list[dict[str, Float64Array]]) -> dict[str, Float64Array]:
    """Return each user's means over the seeds, float64 [B] by metric."""
    return {name: np.mean([figures[name] for figures in of_seeds], axis=0) for name in of_seeds[0]}


def _differences(ours: dict[str, Float64Array], others: dict[str, Float64Array]) -> dict[str, Float64Array]:
    return {name: ours[name] - others[name] for name in ours}


def main() -> None:
    """Run the command line: measure the chosen boards, and write each one's table and record as soon as it is done."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the public data sets")
    parser.add_argument("--board", action="append", default=[], help="measure only this board; may be repeated")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results (%(default)s)")
    options = parser.parse_args()
    try:
        boards = select_boards(options.data, options.board)
    except UserError as error:
        sys.exit(f"benchmark: {error}")
    options.output.mkdir(parents=True, exist_ok=True)
    data = options.data or Path()
    for board in boards:
        print(f"[benchmark] {board.name}", flush=True)
        protocol = board.load(data)
        measured = measure_board(board, protocol, options.output / "store")
        record = results(board, measured.rows) + times(board, measured.seconds)
        if protocol.released is not None:
            record += other_lists(protocol, measured.ours)
        table = markdown(board, measured.rows, measured.seconds) + ablation(board, protocol, measured.ours)
        print(table, flush=True)
        write(options.output / f"quality-{board.key}.json", record)
        (options.output / f"quality-{board.key}.md").write_text(table)
        gather(options.output)
    if not options.board:
        print("[benchmark] publication of personal lists", flush=True)
        record = [*published_reviews(data / "steam-ucsd"), *synthetic_shop()]
        write(options.output / f"quality-{PUBLICATION}.json", record)
    for line in gather(options.output):
        show(line)


if __name__ == "__main__":
    main()
