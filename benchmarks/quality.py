"""`make benchmark-quality`: the model beside its baselines on public data, the default configuration in every row.

Nothing is tuned on a test split: what the model and the baselines tune, they tune on a part of the training rows.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.learning_curves import TutorialRanker
from benchmarks.personal import published_reviews, synthetic_shop
from benchmarks.public_data import STEAM_200K, UCSD, Protocol, protocols
from benchmarks.record import OUTPUT, at_least, at_most, show, times_as_many, write
from benchmarks.record import Row as Record
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
from steam_recsys.evaluation.baselines import tuned_baselines
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
from steam_recsys.evaluation.metrics import NDCG, Recall, measure_ranked
from steam_recsys.evaluation.popularity_matches import PopularityMatches
from steam_recsys.evaluation.rankers import ModelRanker, Ranker, StaticRanker, rank
from steam_recsys.evaluation.splits import HeldOut, hold_out
from steam_recsys.model.lists import LENGTHS, NEW_RELEASE_DAYS, ReviewCounts, game_lists, new_releases
from steam_recsys.model.retrieval import GameList
from steam_recsys.model.scorer import Scorer

METRICS = (NDCG(10), Recall(20))
RANKS = 20
OURS = "ours"
SEED = 0

FAN_GAMES, FANS_PER_TAG, FANS_HISTORY, FANS_FROM = 30, 20, 8, 60
"""Of the fans: games that a tag must have, users of each tag, games of each user, and the tag's games with the most
reviews that these are drawn from."""

MUST: dict[tuple[str, str], float | None] = {
    ("ML-100K, random 80/20", "ndcg_at_10"): 0.444,
    ("ML-100K, last item out", "ndcg_at_10"): 0.076,
    (UCSD, "ndcg_at_10"): 0.203,
    (STEAM_200K, "ndcg_at_10"): 0.4907,
}
"""Figures to reach: the best baseline's known figure, or, for None, its figure in the same run."""

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
    def fit(cls, protocol: Protocol) -> Fitted:
        """Train on the protocol's past with the default configuration."""
        games, past, as_of = protocol.games, protocol.test.past, protocol.test.as_of
        trainer = Trainer(SEED, get_workers())
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


def measure_protocol(protocol: Protocol, ours: Fitted) -> list[Row]:
    """Rank and measure everything on one protocol."""
    games, past, as_of = protocol.games, protocol.test.past, protocol.test.as_of
    held_out = hold_out(past, protocol.test.future, games.ids)
    rankers: dict[str, tuple[str, Ranker]] = {
        OURS: (ours.config.summary, ModelRanker(ours.scorer)),
        "TFRS tutorial": ("", TutorialRanker.fit(past, games.ids, SEED)),
    }
    for baseline in tuned_baselines(past, as_of, protocol.validation, games.ids):
        rankers[baseline.name] = baseline.settings, baseline.ranker
    matches = PopularityMatches.from_held_out(held_out, ours.reference.popularity)
    measured: dict[str, dict[str, Float64Array]] = {}
    beyond: dict[str, dict[str, float]] = {}
    for name, (_, ranker) in rankers.items():
        ranked = rank(ranker, held_out.history, RANKS)
        measured[name] = measure_ranked(ranked, held_out.relevant, METRICS)
        beyond[name] = measure_lists(ranked, held_out, ours.reference)
        beyond[name] |= matches.figures(matches.auc(ranker, held_out.history))
    return [
        Row(name, rankers[name][0], intervals(figures), intervals(_differences(measured[OURS], figures)), beyond[name])
        for name, figures in measured.items()
    ]


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


def results(protocol: str, rows: list[Row]) -> list[Record]:
    """Compute the protocol's figures for the record: ours beside the best other ranker's."""
    ours = next(row for row in rows if row.ranker == OURS)
    found: list[Record] = []
    for metric in METRICS:
        peer = max((row for row in rows if row.ranker != OURS), key=lambda row: row.figures[metric.name].mean)
        figure, best = ours.figures[metric.name].mean, peer.figures[metric.name].mean
        required = (protocol, metric.name) in MUST
        must = (MUST[protocol, metric.name] or best) if required else None
        found.append(
            {
                "what": f"{protocol}, {metric.name}",
                "ours": round(figure, 4),
                "peer": round(best, 4),
                "peer_name": peer.ranker,
                "ratio": round(figure / best, 4),
                "must": must and round(must, 4),
                "met": must is None or round(figure, 4) >= round(must, 4),
            }
        )
    return found + [
        bound(f"{protocol}, {name}", ours.beyond[name], must)
        for (where, name), (bound, must) in PERSONAL_MUST.items()
        if where == protocol
    ]


def markdown(protocol: str, rows: list[Row]) -> str:
    """Return the protocol's results as a Markdown table."""
    lines = [
        f"### {protocol}",
        "",
        "| ranking | settings | NDCG@10 | Recall@20 | ours − it, NDCG@10 | ours − it, Recall@20 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(row.figures[metric.name]) for metric in METRICS]
        cells += ["" if row.ranker == OURS else str(row.differences[metric.name]) for metric in METRICS]
        lines.append(f"| {row.ranker} | {row.settings} | {' | '.join(cells)} |")
    lines += ["", f"| ranking | {' | '.join(TITLES.values())} |", f"|---|{'---|' * len(TITLES)}"]
    for row in rows:
        cells = [f"{row.beyond[name]:.4g}" if name in row.beyond else "" for name in TITLES]
        lines.append(f"| {row.ranker} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _differences(ours: dict[str, Float64Array], others: dict[str, Float64Array]) -> dict[str, Float64Array]:
    return {name: ours[name] - others[name] for name in ours}


def main() -> None:
    """Run the command line: print the tables and write them and the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the public data sets")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results (%(default)s)")
    options = parser.parse_args()
    try:
        found = protocols(options.data)
    except UserError as error:
        sys.exit(f"benchmark: {error}")
    options.output.mkdir(parents=True, exist_ok=True)
    record: list[Record] = []
    tables = []
    for protocol in found:
        print(f"[benchmark] {protocol.name}", flush=True)
        fitted = Fitted.fit(protocol)
        rows = measure_protocol(protocol, fitted)
        record += results(protocol.name, rows)
        if protocol.released is not None:
            record += other_lists(protocol, fitted)
        tables.append(markdown(protocol.name, rows))
        print(tables[-1], flush=True)
        write(options.output / "quality.json", record)
        (options.output / "quality.md").write_text("\n".join(tables))
    print("[benchmark] publication of personal lists", flush=True)
    record += [*published_reviews(options.data / "steam-ucsd"), *synthetic_shop()]
    write(options.output / "quality.json", record)
    for line in record:
        show(line)


if __name__ == "__main__":
    main()
