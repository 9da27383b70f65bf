"""What an evaluation is about: who ranks, and what may be known and is asked for. All that is read, is read here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from components.evaluate.baselines import tuned_baselines
from components.evaluate.comparison import CHALLENGER, CHAMPION
from components.evaluate.holdout import Future, HeldOut
from components.evaluate.protocols import snapshot_by_time
from components.evaluate.ranking import ModelRanking, Ranker
from components.predict.recommender import Recommender
from components.shared.errors import UserError
from components.shared.games import COLUMNS, Games
from components.shared.interactions import Interactions, cutoff_day, day_of, load_interactions, split_by_time
from components.shared.model_store import DESCRIPTION, current_champion, evaluated_part, stored_model
from components.shared.popularity import popularity_as_of
from components.shared.snapshot import Snapshot


@dataclass(frozen=True)
class Contest:
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
    challenger: ModelRanking
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
    def of(cls, snapshot: str | Path, model: str | Path, store: str) -> Contest:
        """Read the snapshot, the challenger and the champion, and make the baselines.

        Popularity, the models' and the baselines', is as of the cutoff. Of the champion that model is taken which was
        evaluated, before it was fitted to everything; where its cutoff is the later one, that is the cutoff for all, so
        that nothing is asked that one of them has seen. A challenger that is the champion itself, which a training that
        is repeated makes again, has no champion for a rival.

        Raises:
            UserError: the folders hold no snapshot or no model, or no user can be asked.
        """
        opened, challenger = Snapshot.open(snapshot), Recommender.load(model)
        described = json.loads((Path(model) / DESCRIPTION).read_text())
        pointer, champion, champions_cutoff = _champion(store)
        cutoff = max(described["cutoff"], champions_cutoff)
        day = day_of(date.fromisoformat(cutoff))
        past = load_interactions(opened, before=day)
        after = split_by_time(load_interactions(opened), day)[1]
        table = opened.table("games", ["name", *COLUMNS]).sort_by("game_id")
        games = Games.of(table)
        future = Future.of(past, after, games.ids)
        if not len(future.returning):
            raise UserError(
                f"No user of the snapshot {snapshot} has a review before {cutoff} and one of another known game from "
                f"then on, so nothing can be evaluated: ingest more reviews."
            )
        recent = popularity_as_of(past, games.ids, day)
        ranking = ModelRanking(challenger.for_catalogue(games, recent))
        rankers: dict[str, Ranker] = {CHALLENGER: ranking}
        validation = snapshot_by_time(opened, past, cutoff_day(past, described["held_out_share"]))
        baselines = tuned_baselines(past, day, validation, games.ids)
        rankers |= {baseline.name: baseline.ranker for baseline in baselines}
        if champion and pointer != challenger.version:
            rankers[CHAMPION] = ModelRanking(champion.for_catalogue(games, recent))
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


def _champion(store: str) -> tuple[str | None, Recommender | None, str]:
    """The champion's version, the model of it that was evaluated, and its cutoff, an ISO date; `""` for none."""
    pointer = current_champion(store)
    if not pointer:
        return None, None, ""
    with stored_model(store, pointer.version) as folder:
        described = json.loads((folder / DESCRIPTION).read_text())
        return pointer.version, Recommender.load(evaluated_part(folder)), described["cutoff"]
