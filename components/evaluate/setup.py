"""What an evaluation is about: who ranks, and what may be known and is asked for. All that is read, is read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.interactions import Interactions, cutoff_day, day_of, load_interactions, split_by_time
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baselines import tuned_baselines
from steam_recsys.evaluation.comparison import CHALLENGER, CHAMPION
from steam_recsys.evaluation.holdout import Future, HeldOut
from steam_recsys.evaluation.rankers import ModelRanker, Ranker
from steam_recsys.evaluation.splits import snapshot_by_time
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import DESCRIPTION, current_champion, evaluated_part, stored_model


@dataclass(frozen=True)
class EvaluationSetup:
    """A challenger, its rivals, and a snapshot's reviews before and after a cutoff.

    Attributes:
        version: the challenger's.
        champion: the champion's version, None for none.
        snapshot_id: the snapshot's.
        cutoff: the ISO date on which the held-out period begins.
        past: everything that may be known.
        future: what comes after it, with at least one user to be asked for.
        games: the catalogue.
        names: the games', in the same order.
        challenger: its ranking.
        rankers: all rankings by name, the challenger's first and the champion's last, if it is another model.
        settings: the baselines', by their names.
        described: the content of the challenger's `model.json`.
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
    described: Mapping[str, Any]

    @property
    def held_out(self) -> HeldOut:
        """What is asked for: users with a history, and games that were known."""
        return self.future.returning

    @property
    def day(self) -> int:
        """The cutoff in days since 1970-01-01."""
        return day_of(date.fromisoformat(self.cutoff))

    @classmethod
    def load(cls, snapshot: str | Path, model: str | Path, store: str) -> EvaluationSetup:
        """Read the snapshot, the challenger and the champion, and make the baselines.

        Popularity, the models' and the baselines', is as of the cutoff. Of the champion that model is taken which was
        evaluated, before it was fitted to everything; where its cutoff is the later one, that is the cutoff for all, so
        that nothing is asked that one of them has seen. A challenger that is the champion itself, which a training that
        is repeated makes again, has no champion for a rival.

        Raises:
            UserError: the folders hold no snapshot or no model, or no user can be asked.
        """
        opened, challenger = Snapshot.open(snapshot), TwoTowerArrays.load(model)
        described = json.loads((Path(model) / DESCRIPTION).read_text())
        pointer, champion, champions_cutoff = _champion(store)
        cutoff = max(described["cutoff"], champions_cutoff)
        day = day_of(date.fromisoformat(cutoff))
        past = load_interactions(opened, before=day)
        after = split_by_time(load_interactions(opened), day)[1]
        table = opened.table("games", ["name", *GAME_COLUMNS]).sort_by("game_id")
        games = Games.from_table(table)
        future = Future.from_interactions(past, after, games.ids)
        if not len(future.returning):
            raise UserError(
                f"No user of the snapshot {snapshot} has a review before {cutoff} and one of another known game from "
                f"then on, so nothing can be evaluated: ingest more reviews."
            )
        recent = popularity_as_of(past, games.ids, day)
        ranking = ModelRanker(challenger.for_catalogue(games, recent))
        rankers: dict[str, Ranker] = {CHALLENGER: ranking}
        validation = snapshot_by_time(opened, past, cutoff_day(past, described["held_out_share"]))
        baselines = tuned_baselines(past, day, validation, games.ids)
        rankers |= {baseline.name: baseline.ranker for baseline in baselines}
        if champion and pointer != challenger.version:
            rankers[CHAMPION] = ModelRanker(champion.for_catalogue(games, recent))
        return cls(
            version=challenger.version,
            champion=pointer,
            snapshot_id=opened.manifest.snapshot_id,
            cutoff=cutoff,
            past=past,
            future=future,
            games=games,
            names=table["name"].to_pylist(),
            challenger=ranking,
            rankers=rankers,
            settings={baseline.name: baseline.settings for baseline in baselines},
            described=described,
        )


def _champion(store: str) -> tuple[str | None, TwoTowerArrays | None, str]:
    """The champion's version, the model of it that was evaluated, and its cutoff, an ISO date; `""` for none."""
    pointer = current_champion(store)
    if not pointer:
        return None, None, ""
    with stored_model(store, pointer.version) as folder:
        described = json.loads((folder / DESCRIPTION).read_text())
        return pointer.version, TwoTowerArrays.load(evaluated_part(folder)), described["cutoff"]
