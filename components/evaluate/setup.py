"""The setup of an evaluation: everything that is read, once, before anything is ranked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.interactions import Interactions, cutoff_day, day_of, load_sample, split_by_time
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import ArtifactError, UserError, other_version_error
from steam_recsys.evaluation.baseline_settings import TuningKey, stored_or_tuned
from steam_recsys.evaluation.baselines import Parameters, fit_baselines, tune_baselines
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION
from steam_recsys.evaluation.rankers import ModelRanker, Ranker
from steam_recsys.evaluation.splits import Future, HeldOut, snapshot_by_time
from steam_recsys.logging import log_warning
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import current_champion, evaluated_part, read_description, stored_model


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

        Popularity is as of the cutoff, in the models and in the baselines. Both models take part as they were before
        they were fitted to all reviews. The later cutoff of the two models is used for all, so that neither has seen a
        held-out review. If the challenger is the champion, because its training was repeated, there is no champion to
        compare with; nor if it cannot be read, since nothing can be predicted with it either. The store keeps the
        settings of the baselines, which are tuned once per snapshot and split.

        Raises:
            UserError: A folder holds no snapshot or no model, or there is no user to rank for.
        """
        opened, challenger = Snapshot.open(snapshot), TwoTowerArrays.load(evaluated_part(Path(model)))
        description = read_description(model)
        champion_version, champion, champion_cutoff = _champion(store)
        cutoff = max(description["cutoff"], champion_cutoff)
        day = day_of(date.fromisoformat(cutoff))
        past = load_sample(opened, before=day)
        after = split_by_time(load_sample(opened), day)[1]
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
        held_out_share, snapshot_id = description["held_out_share"], opened.manifest.snapshot_id

        def tuned() -> dict[str, Parameters]:
            return tune_baselines(snapshot_by_time(opened, past, cutoff_day(past, held_out_share)), games.ids)

        chosen = stored_or_tuned(store, TuningKey.from_split(snapshot_id, cutoff, held_out_share), tuned)
        baselines = fit_baselines(past, day, games.ids, chosen)
        rankers: dict[str, Ranker] = {CHALLENGER: ranker}
        rankers |= {baseline.name: baseline.ranker for baseline in baselines}
        if champion and champion_version != challenger.version:
            rankers[CHAMPION] = ModelRanker(champion.for_catalogue(games, popularity))
        return cls(
            version=challenger.version,
            champion=champion_version,
            snapshot_id=snapshot_id,
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
    """Return the champion's version, its model as it was evaluated, and its cutoff, an ISO date; `""` for none.

    The model is None if there is no champion or it cannot be read.
    """
    pointer = current_champion(store)
    if not pointer:
        return None, None, ""
    try:
        with stored_model(store, pointer.version) as folder:
            cutoff: str = read_description(folder)["cutoff"]
            return pointer.version, TwoTowerArrays.load(evaluated_part(folder)), cutoff
    except ArtifactError as error:
        unreadable = error
    except KeyError as error:
        unreadable = other_version_error(f"The champion {pointer.version} in {store} is", error)
    log_warning("evaluate", f"the model is not compared with the champion: {unreadable}")
    return pointer.version, None, ""
