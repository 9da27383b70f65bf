"""What the explorer shows, and what it is asked for: plain values, between what is read and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

RankBy = Literal["relevance", "sales", "revenue", "reviews", "newest"]
System = Literal["windows", "mac", "linux"]

BECAUSE = "because you played "
"""How a reason begins that names a game of the history."""


@dataclass(frozen=True)
class Filters:
    """Which recommendations to show, and in which order; the arguments of `recsys.recommended_games`.

    Attributes:
        rank_by: how a user's games are ordered.
        genre: only games of it; None and the empty text for all.
        released_from, released_to: years; a game without a day of release passes.
        max_ram_gb, max_storage_gb: what the machine has; a game of unknown requirements passes.
        os: what the machine runs; a game of unknown systems passes.
        limit: how many games.
    """

    rank_by: RankBy = "relevance"
    genre: str | None = None
    released_from: int | None = None
    released_to: int | None = None
    max_ram_gb: float | None = None
    max_storage_gb: float | None = None
    os: System | None = None
    limit: int = 10


@dataclass(frozen=True)
class User:
    """A user of the shop, and how many reviews there are of theirs."""

    user_id: int
    username: str
    reviews: int


@dataclass(frozen=True)
class Reviewed:
    """A game of a user's history; hours and day are None where they are not known."""

    game_id: int
    name: str
    recommended: bool
    hours_played: float | None
    reviewed_on: date | None


@dataclass(frozen=True)
class Recommended:
    """A row of `recsys.recommended_games`: rank from 1, the game, its score, and the reason in words."""

    rank: int
    game_id: int
    game: str
    score: float
    reason: str


@dataclass(frozen=True)
class Publication:
    """A version of the recommendations that is kept; see the table `recsys.publications`."""

    version: str
    model_version: str
    snapshot_id: str
    users: int
    rows: int
    as_of: date
    published_at: datetime | None
    made_current_at: datetime | None
    current: bool


@dataclass(frozen=True)
class Answer:
    """What is recommended to a user, and of which publication it is; None and no games before the first one."""

    user_id: int
    filters: Filters
    version: str | None
    games: list[Recommended]


@dataclass(frozen=True)
class LiveAnswer:
    """What the model of a publication recommends to a history."""

    version: str
    model_version: str
    filters: Filters
    games: list[Recommended]


@dataclass(frozen=True)
class NamedGame:
    """A game by its name."""

    game_id: int
    name: str


@dataclass(frozen=True)
class Requirement:
    """What a game asks of a machine; `level` is minimum or recommended, None is what is not known."""

    level: str
    os: str | None
    processor: str | None
    graphics: str | None
    directx: str | None
    ram_gb: float | None
    storage_gb: float | None


@dataclass(frozen=True)
class Game:
    """What the shop knows of a game; `reviews` is how many its catalogue counts, None where it does not say."""

    game_id: int
    name: str
    short_description: str | None
    released_on: date | None
    delisted_on: date | None
    genres: list[str]
    developers: list[str]
    publishers: list[str]
    rating: str | None
    reviews: int | None
    positive_share: float | None
    requirements: list[Requirement]
    link: str | None


@dataclass(frozen=True)
class Similar:
    """A game like another one; the score is the cosine of their vectors, at most 1."""

    game_id: int
    game: str
    score: float


@dataclass(frozen=True)
class SimilarGames:
    """Games like a game, the likest first, as the model of a publication places them."""

    version: str
    model_version: str
    game_id: int
    games: list[Similar]


@dataclass(frozen=True)
class Audience:
    """Who has a game among their recommendations, estimated from a sample of the users.

    Attributes:
        users: about how many of them.
        share: of all users with recommendations, from 0 to 1.
        mean_rank: its mean place in their lists, from 1; None where nobody of the sample has it.
        sampled_users: how many users were looked at.
    """

    users: int
    share: float
    mean_rank: float | None
    sampled_users: int


@dataclass(frozen=True)
class Coverage:
    """How much of the catalogue is recommended to a sample of the users.

    Attributes:
        share: of the games on sale that are in a list, from 0 to 1.
        sampled_users: how many users' lists were looked at, each with all of its games.
    """

    share: float
    sampled_users: int


@dataclass(frozen=True)
class Counts:
    """Rows of the shop's tables; users and reviews are estimated by PostgreSQL where there are more than a million."""

    users: int
    reviews: int
    games: int
    games_on_sale: int


@dataclass(frozen=True)
class Run:
    """A run of a pipeline; see the table `recsys.pipeline_runs`."""

    run_id: str
    pipeline: str
    state: str
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    stages: list[dict[str, Any]]


@dataclass(frozen=True)
class Monitored:
    """What an inference run measured and decided; see the table `recsys.monitoring`.

    Attributes:
        as_of: the day after the newest review.
        model_version: the champion that was looked at, None where there was none.
        figures: by name, None where there was nothing to measure.
    """

    measured_at: datetime
    as_of: date
    run_id: str
    model_version: str | None
    retrain: bool
    reasons: list[str]
    figures: dict[str, float | None]

    @property
    def drift_is_known(self) -> bool:
        """Whether there were reviews since the training to compare: of none, every index is 0."""
        return self.figures.get("reviews_since_training") != 0


@dataclass(frozen=True)
class Overview:
    """The state of the whole, newest first in each list.

    Attributes:
        publications: that are kept.
        current: the one that is shown, None before the first.
        training: the run that evaluated its model last, None where none is remembered.
        runs: the last ones.
        users, games, reviews: see `Counts`.
        coverage: None before the first publication.
        monitoring: the last measurements.
    """

    publications: list[Publication]
    current: Publication | None
    training: Run | None
    runs: list[Run]
    users: int
    games: int
    reviews: int
    coverage: Coverage | None
    monitoring: list[Monitored]
