"""What answers and pages contain: plain values, which orjson writes as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, Literal

from explorer.filters import Filters

Kind = Literal["personal", "popular", "similar", "catalogue"]


@dataclass(frozen=True)
class User:
    """A user of the shop, and the number of their reviews."""

    user_id: int
    username: str
    reviews: int


@dataclass(frozen=True)
class Review:
    """A game of a user's history; hours and day are None if unknown."""

    game_id: int
    name: str
    recommended: bool
    hours: float | None
    reviewed_on: date | None


@dataclass(frozen=True)
class Because:
    """A game that the user liked, because of which another one is recommended.

    Attributes:
        game_id, name: The game.
        shared: The genres that both games have, at most two, those of the fewest games first.
    """

    game_id: int
    name: str
    shared: list[str]


@dataclass(frozen=True)
class RankedGame:
    """A game of a list and why it is there; `because` is the id of the game that the reason names."""

    game_id: int
    kind: Kind = "catalogue"
    taste: float | None = None
    popularity: float | None = None
    match: int | None = None
    reason: str | None = None
    because: int | None = None


@dataclass(frozen=True)
class GameCard:
    """A game of a list, with all that a storefront shows of it.

    Attributes:
        rank: From 1.
        game_id, name: The game.
        kind: Why it is in the list: `personal`, from the user's own lists; `popular`, which fills up the list;
            `similar`, to another game; `catalogue`, found in the catalogue.
        taste: How well the game fits the user's taste; None unless it is personal.
        popularity: What the game's popularity adds to the order, the same for all users; None likewise.
        match: How well it fits compared with the user's best match, in percent: 100 × exp(taste - best taste).
        reason: The reason as text; None for games found in the catalogue.
        because: The game that the reason names; None if it names none.
        released_on: The day of release; None if unknown.
        genres: The game's genres, in alphabetical order.
        positive_share: Share of its reviews that recommend it, from 0 to 1; None if unknown.
        reviews: Number of its reviews, as the catalogue says, else of those in the shop's database; None if unknown.
        link: Its page in the shop; None if the catalogue has none.
    """

    rank: int
    game_id: int
    name: str
    kind: Kind
    taste: float | None
    popularity: float | None
    match: int | None
    reason: str | None
    because: Because | None
    released_on: date | None
    genres: list[str]
    positive_share: float | None
    reviews: int | None
    link: str | None


@dataclass(frozen=True)
class Publication:
    """A kept version of the recommendations; see the table `recsys.publications`.

    How personal it is, `overlap`, `coverage` and `popular_ten`, is None if unknown. `control_share` is the share of the
    users who get popular games instead.
    """

    version: str
    model_version: str
    snapshot_id: str
    users: int
    rows: int
    as_of: date
    published_at: datetime | None
    made_current_at: datetime | None
    current: bool
    overlap: float | None
    coverage: float | None
    popular_ten: float | None
    control_share: float = 0.0


@dataclass(frozen=True)
class Recommendations:
    """A user's recommendations and their publication; None and no games before the first publication.

    `next` is the cursor of the games that follow, None after the last ones.
    """

    user_id: int
    filters: Filters
    version: str | None
    games: list[GameCard]
    next: str | None


@dataclass(frozen=True)
class LiveRecommendations:
    """What a publication's model recommends to a posted history; `next` as in `Recommendations`."""

    version: str
    model_version: str
    filters: Filters
    games: list[GameCard]
    next: str | None


@dataclass(frozen=True)
class Shelf:
    """A row of games on a storefront's page, under a title."""

    title: str
    games: list[GameCard]


@dataclass(frozen=True)
class Shelves:
    """A storefront's page for a user, and its publication; None and no shelves before the first publication."""

    user_id: int
    version: str | None
    shelves: list[Shelf]


@dataclass(frozen=True)
class Persona:
    """A fan of a genre, made from the catalogue: the games that such a user likes."""

    genre: str
    games: list[GameCard]

    @property
    def game_ids(self) -> list[int]:
        """The games' ids."""
        return [game.game_id for game in self.games]


@dataclass(frozen=True)
class Comparison:
    """Three lists for a history: the model's, the popular games, and games that are played together with its games."""

    model: list[GameCard]
    popular: list[GameCard]
    together: list[GameCard]


@dataclass(frozen=True)
class MinimumRequirements:
    """What is known of the machine that a game needs; None, and no systems, if it is unknown."""

    ram_gb: float | None
    storage_gb: float | None
    systems: list[str]


@dataclass(frozen=True)
class Requirement:
    """What a game needs of a machine; `level` is minimum or recommended, None is unknown."""

    level: str
    os: str | None
    processor: str | None
    graphics: str | None
    directx: str | None
    ram_gb: float | None
    storage_gb: float | None


@dataclass(frozen=True)
class Game:
    """What the shop knows of a game; reviews as in `GameCard`."""

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
class SimilarGame(GameCard):
    """A game like another one; `similarity` is the cosine of their vectors in percent, at most 100."""

    similarity: int


@dataclass(frozen=True)
class SimilarGames:
    """Games like a game, the most similar first, according to a publication's model."""

    version: str
    model_version: str
    game_id: int
    games: list[SimilarGame]


@dataclass(frozen=True)
class Reach:
    """How many users have a game among their recommendations, estimated from a sample.

    Attributes:
        users: Approximate number of these users.
        share: Their share of all users with recommendations, from 0 to 1.
        mean_rank: Mean rank of the game in their lists, from 1; None if no sampled user has it.
        sampled_users: Number of users in the sample.
    """

    users: int
    share: float
    mean_rank: float | None
    sampled_users: int


@dataclass(frozen=True)
class UserList:
    """Users that a search found; `next` is the cursor of those that follow, None after the last ones."""

    users: list[User]
    next: str | None


@dataclass(frozen=True)
class GameList:
    """Games of the catalogue; `next` is the cursor of those that follow, None after the last ones."""

    games: list[GameCard]
    next: str | None


@dataclass(frozen=True)
class UserHistory:
    """The games that a user has reviewed, each once with the latest review, the newest first; `next` as elsewhere."""

    user_id: int
    history: list[Review]
    next: str | None


@dataclass(frozen=True)
class Genre:
    """A genre, and how many games had it at the last publication; None if games are only ranked in it."""

    name: str
    games: int | None


@dataclass(frozen=True)
class GenreList:
    """All genres, in alphabetical order."""

    genres: list[Genre]


@dataclass(frozen=True)
class GameDetails:
    """A game's facts, and how many users have it recommended: null if they cannot be counted now."""

    game: Game
    reach: Reach | None


@dataclass(frozen=True)
class CurrentVersion:
    """The publication that is current after a rollback."""

    version: str


@dataclass(frozen=True)
class TableCounts:
    """Rows of the shop's tables; above a million, users and reviews are PostgreSQL's estimates."""

    users: int
    reviews: int
    games: int


@dataclass(frozen=True)
class PipelineRun:
    """A run of a pipeline; see the table `recsys.pipeline_runs`."""

    run_id: str
    pipeline: str
    state: str
    error: str | None
    started_at: datetime | None
    finished_at: datetime | None
    stages: list[dict[str, Any]]


@dataclass(frozen=True)
class PublishingRun:
    """A run that published a version: when it ended, how long it took, and what it published; None if unknown."""

    finished_at: datetime
    seconds: float | None
    version: str | None
    users: int | None
    overlap: float | None
    coverage: float | None

    @classmethod
    def from_facts(cls, finished_at: datetime, seconds: float | None, facts: dict[str, Any]) -> PublishingRun:
        """Build it from the facts that the stage recorded, which another version of the project may have named."""
        return cls(finished_at, seconds, *map(facts.get, ("version", "users", "overlap", "coverage")))


@dataclass(frozen=True)
class Measurement:
    """What an inference run measured and decided; see the table `recsys.monitoring`.

    Attributes:
        as_of: The day after the newest review.
        model_version: The measured champion, None if there was none.
        figures: Figures by name, None if there was nothing to measure.
        feedback: Click-through and conversion, overall and by list, and the comparison with the control group.
    """

    measured_at: datetime
    as_of: date
    run_id: str
    model_version: str | None
    retrain: bool
    reasons: list[str]
    figures: dict[str, float | None]
    feedback: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Overview:
    """The state of publications, model and pipelines, newest first in each list.

    Attributes:
        publications: Kept publications.
        current: The current publication, None before the first one.
        previous: The version to roll back to unless another one is chosen, None if there is no earlier one.
        training: The last run that evaluated its model, None if no such run is recorded.
        runs: The last runs.
        last_runs: The last run of each pipeline and final state.
        published: The runs that published.
        users, games, reviews: See `TableCounts`.
        monitoring: The last measurements.
    """

    publications: list[Publication]
    current: Publication | None
    previous: str | None
    training: PipelineRun | None
    runs: list[PipelineRun]
    users: int
    games: int
    reviews: int
    last_runs: list[PipelineRun]
    published: list[PublishingRun]
    monitoring: list[Measurement]


_NEXT = "ctoCAAAAAAAAkAEAAAAAAAA"
_VERSION, _MODEL = "20151231-d5763516", "20151231-89ae0662"
_FILTERS = Filters(
    rank_by="newest", genre="Action", released_from=2005, released_to=2025, max_ram_gb=8.0, max_storage_gb=16.0,
    os="linux", limit=2,
)  # fmt: skip
_LIVE_FILTERS = _FILTERS.model_copy(update={"popularity": 0.5, "include": ["Action", "Puzzle"], "exclude": ["Sports"]})
_GAMES: list[dict[str, Any]] = [
    {"rank": 1, "game_id": 730, "name": "Counter-Strike: Global Offensive", "kind": "personal", "taste": 1.5,
     "popularity": -2.25, "match": 78, "reason": "because you liked Team Fortress 2 (Action, Free to Play)",
     "because": {"game_id": 440, "name": "Team Fortress 2", "shared": ["Action", "Free to Play"]},
     "released_on": "2012-08-21", "genres": ["Action", "Free to Play"], "positive_share": 0.87, "reviews": 7642084,
     "link": "https://store.steampowered.com/app/730"},
    {"rank": 2, "game_id": 400, "name": "Portal", "kind": "personal", "taste": 1.75, "popularity": -3.25, "match": 100,
     "reason": "because you liked Portal 2 (Action, Puzzle)",
     "because": {"game_id": 620, "name": "Portal 2", "shared": ["Action", "Puzzle"]},
     "released_on": "2007-10-10", "genres": ["Action", "Puzzle"], "positive_share": 0.98, "reviews": 132816,
     "link": "https://store.steampowered.com/app/400"},
]  # fmt: skip

HISTORY_EXAMPLE: Final[dict[str, Any]] = {
    "history": [440, {"game_id": 620, "recommended": True, "hours": 12.5}],
    **_LIVE_FILTERS.applied(),
}
RECOMMENDATIONS_EXAMPLE: Final[dict[str, Any]] = {
    "user_id": 1, "filters": _FILTERS.applied(), "version": _VERSION, "games": _GAMES, "next": _NEXT,
}  # fmt: skip
LIVE_EXAMPLE: Final[dict[str, Any]] = {
    "version": _VERSION, "model_version": _MODEL, "filters": _LIVE_FILTERS.applied(), "games": _GAMES,
    "next": _NEXT,
}  # fmt: skip
SHELVES_EXAMPLE: Final[dict[str, Any]] = {
    "user_id": 1, "version": _VERSION, "shelves": [{"title": "For you", "games": [_GAMES[1] | {"rank": 1}]}],
}  # fmt: skip
"""A posted history, and the answers to a user's id, to the history and for shelves, for the API's documentation."""
