"""What requests may contain: filters, searches, posted histories and ids; and filters as pages show them.

Unknown and misspelt names are refused. Pages show filters in addresses, as a form, and as links that remove one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import quote, urlencode

from fastapi import Path, Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StrictBool,
    StringConstraints,
    Tag,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from explorer.model_cache import System
from explorer.templating import exact
from steam_recsys.model.history_weights import MAX_HOURS

RankBy = Literal["relevance", "discovery", "new_releases", "sales", "revenue", "reviews", "newest"]

LONGEST_HISTORY = 1000
MOST_GENRES = 20
LARGEST_GB = 1e6
LARGEST_YEAR = 9999

ORDER_LABELS = {
    "relevance": "Relevance",
    "discovery": "Hidden gems",
    "new_releases": "New releases",
    "sales": "Sales",
    "revenue": "Revenue",
    "reviews": "Reviews",
    "newest": "Newest",
}
SYSTEM_LABELS = {"windows": "Windows", "mac": "macOS", "linux": "Linux"}

_INTEGER = re.compile(r"-?[0-9]+")

MOST_IDS = 100
_IDS = re.compile(rf"-?[0-9]{{1,10}}(,-?[0-9]{{1,10}}){{0,{MOST_IDS - 1}}}")

Parameters = Mapping[str, object]
"""Parameters of an address by name; None, the empty text and empty lists are left out of it."""


def _check_integer(value: object) -> object:
    """Refuse what Pydantic would convert: `true`, `"1.0"`, `" 1"`, `"+1"` and `"1_0"`."""
    if isinstance(value, bool) or (isinstance(value, str) and not _INTEGER.fullmatch(value)):
        raise PydanticCustomError("int_parsing", "Input should be a valid integer")
    return value


def _check_number(value: object) -> object:
    """Refuse `true` and `false`, which Pydantic would convert."""
    if isinstance(value, bool):
        raise PydanticCustomError("float_parsing", "Input should be a valid number")
    return value


def _check_ids(text: str) -> str:
    if text and not _IDS.fullmatch(text):
        raise PydanticCustomError("ids", f"Input should be at most {MOST_IDS} ids with commas between them")
    return text


def parse_ids(text: str) -> list[int]:
    """Return the ids of games in a checked text, each once; numbers that cannot be ids are left out.

    Example:
        >>> parse_ids("620,440,620")
        [620, 440]
    """
    ids = dict.fromkeys(int(each) for each in text.split(",") if each)
    return [each for each in ids if -(2**31) <= each < 2**31]


def _leave_out_blank(values: object) -> object:
    """Leave out the empty texts that forms send."""
    if not isinstance(values, list):
        return values
    return [value for value in values if not (isinstance(value, str) and not value.strip())]


class _NullInAnswers:
    """Mark a filter as null in answers only; a request leaves it out instead."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        described = handler(schema)
        if handler.mode == "validation":
            described |= described.pop("anyOf")[0]
        return described


# Bounds come before the checks: Pydantic would not document bounds of a value that is checked first.
WHOLE: Final = BeforeValidator(_check_integer)
Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\x00]*$")]
Year = Annotated[int, Field(ge=0, le=LARGEST_YEAR), WHOLE]
Gigabytes = Annotated[float, Field(ge=0, le=LARGEST_GB, allow_inf_nan=False), BeforeValidator(_check_number)]
Popularity = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_check_number)]
Genres = Annotated[list[Text], Field(max_length=MOST_GENRES), BeforeValidator(_leave_out_blank)]
Hours = Annotated[float, Field(ge=0, le=MAX_HOURS, allow_inf_nan=False), BeforeValidator(_check_number)]
Limit = Annotated[int, Field(ge=1), WHOLE]
GameId = Annotated[
    int,
    Field(ge=-(2**31), le=2**31 - 1, description="The game's id.", json_schema_extra={"format": "int32"}),
    WHOLE,
]
UserId = Annotated[
    int,
    Field(ge=-(2**63), le=2**63 - 1, description="The user's id.", json_schema_extra={"format": "int64"}),
    WHOLE,
]
GameIds = Annotated[
    str,
    Field(json_schema_extra={"pattern": f"^({_IDS.pattern})?$"}),
    AfterValidator(_check_ids),
]
"""Ids in an address, with commas between them; see `parse_ids`."""

Cursor = Annotated[
    str,
    StringConstraints(pattern="^[A-Za-z0-9_-]{0,6000}$"),
    Field(description="Where to go on: `next` of the answer before this one."),
]
GamePath = Annotated[GameId, Path(examples=[620])]
UserPath = Annotated[UserId, Path(examples=[1])]


class RequestModel(BaseModel):
    """A query string or a JSON object without unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    list_parameters: ClassVar[tuple[str, ...]] = ("include", "exclude")
    """Parameters of an address that may be given several times."""

    @classmethod
    async def from_query(cls, request: Request) -> Self:
        """Read a query string; endpoints depend on this.

        FastAPI's `Query()` examines the type of each field again at each request: for a list of recommendations this
        takes a quarter of the explorer's time.

        Raises:
            RequestValidationError: A parameter is invalid or, unless the model ignores such, unknown or given twice.
        """
        given = request.query_params
        if cls.model_config["extra"] == "forbid":
            names = [name for name, _ in given.multi_items() if name not in cls.list_parameters]
            if len(names) > len(set(names)):
                error = {"type": "repeated_parameter", "loc": ("query",), "msg": "A parameter is given twice"}
                raise RequestValidationError([error])
        try:
            return cls.model_validate(
                {name: given.getlist(name) if name in cls.list_parameters else given[name] for name in given}
            )
        except ValidationError as error:
            raise RequestValidationError(
                [{**each, "loc": ("query", *each["loc"])} for each in error.errors(include_url=False)]
            ) from None

    @classmethod
    def describe_query(cls) -> dict[str, Any]:
        """Return the parameters for OpenAPI, as `openapi_extra` of an endpoint that depends on `from_query`."""
        return {
            "parameters": [
                {"name": name, "in": "query", "required": False, "schema": schema, "description": schema["description"]}
                for name, schema in cls.model_json_schema().get("properties", {}).items()
            ]
        }


class QueryModel(RequestModel):
    """Parameters of which one without a value, as forms send it, counts as left out."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_empty(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        return {
            name: value
            for name, value in values.items()
            if value is not None and not (isinstance(value, str) and not value.strip())
        }


class Filters(QueryModel):
    """Which recommendations to show, and in which order.

    The published recommendations take the arguments of `recsys.recommended_games`; if `popularity`, `include` or
    `exclude` is given, the model answers at once.
    """

    rank_by: RankBy = Field(default="relevance", description="The order.", examples=["newest"])
    genre: Annotated[Text | None, _NullInAnswers()] = Field(
        default=None, description="Only games of this genre; case does not matter.", examples=["Action"]
    )
    released_from: Annotated[Year | None, _NullInAnswers()] = Field(
        default=None, description="Not known to be older than this year.", examples=[2005]
    )
    released_to: Annotated[Year | None, _NullInAnswers()] = Field(
        default=None, description="Not known to be newer than this year.", examples=[2025]
    )
    max_ram_gb: Annotated[Gigabytes | None, _NullInAnswers()] = Field(
        default=None, description="Not known to need more memory.", examples=[8.0]
    )
    max_storage_gb: Annotated[Gigabytes | None, _NullInAnswers()] = Field(
        default=None, description="Not known to need more storage.", examples=[16.0]
    )
    os: Annotated[System | None, _NullInAnswers()] = Field(
        default=None, description="Not known to run on other systems only.", examples=["linux"]
    )
    popularity: Annotated[Popularity | None, _NullInAnswers()] = Field(
        default=None,
        description="How much popularity counts: 0 is the user's taste alone, 1 the balance of the published lists.",
    )
    include: Genres = Field(default_factory=list, description="Only games of at least one of these genres.")
    exclude: Genres = Field(default_factory=list, description="No games of these genres.")
    limit: Limit = Field(default=10, description="Most rows to return.", examples=[2])

    @property
    def live(self) -> bool:
        """Whether only the model can answer: published lists have neither a dial nor genres to leave out."""
        return self.popularity is not None or bool(self.include or self.exclude)

    def applied(self) -> dict[str, Any]:
        """Return the filters by name, as answers repeat them."""
        given = {name: getattr(self, name) for name in Filters.model_fields}
        return given | {"popularity": 1.0 if self.popularity is None else self.popularity}


class Search(QueryModel):
    """A search for users or games."""

    q: Text = Field(default="", description="What to look for.")
    limit: Limit = Field(default=10, description="Most rows to return.")


class NoParameters(QueryModel):
    """The query string of a page of the API that takes no parameters."""


class HistoryGame(RequestModel):
    """A game of a posted history."""

    game_id: GameId
    recommended: StrictBool = Field(default=True, description="Whether the user recommends the game.")
    hours: Hours | None = Field(default=None, description="How long the user has played it; null if unknown.")


def _history_tag(value: object) -> str:
    return "game" if isinstance(value, dict | HistoryGame) else "id"


class GameHistory(RequestModel):
    """A user's history as a client sends it."""

    history: list[
        Annotated[Annotated[GameId, Tag("id")] | Annotated[HistoryGame, Tag("game")], Discriminator(_history_tag)]
    ] = Field(
        max_length=LONGEST_HISTORY,
        description="The user's games, newest last: ids, or objects with a verdict and hours. Unknown ids are ignored; "
        "an empty history gets the games that are popular now.",
        examples=[[440, {"game_id": 620, "recommended": True, "hours": 12.5}]],
    )

    def games(self) -> list[HistoryGame]:
        """Return the history as objects."""
        return [HistoryGame(game_id=game) if isinstance(game, int) else game for game in self.history]


class PostedHistory(GameHistory, Filters):
    """A history, and filters for its recommendations."""

    exclude_ids: list[GameId] = Field(
        default_factory=list,
        max_length=MOST_IDS,
        description="Games to leave out, for example those in the cart.",
    )
    cursor: Cursor = ""


class RollbackTarget(RequestModel):
    """The publication to roll back to."""

    version: Annotated[str, StringConstraints(max_length=200, pattern="^[ -~]*$")] | None = Field(
        default=None, description="A kept publication; by default the one before the current one."
    )


@dataclass(frozen=True)
class ActiveFilter:
    """A filter: its name and value, its text, and the address of the same page without it."""

    key: str
    text: str
    without: str


@dataclass(frozen=True)
class FilterForm:
    """A page's form for filters.

    Attributes:
        path: The page's path.
        filters: The filters that are set.
        genres: Genres to choose from.
        further: The page's further parameters.
        largest_limit: Most games on one page.
        known: Whether games with unknown facts are hidden.
        several: Whether several genres can be chosen, of which a game must have one.
    """

    path: str
    filters: Filters
    genres: list[str]
    further: Parameters
    largest_limit: int
    known: bool = False
    several: bool = False
    orders = ORDER_LABELS
    systems = SYSTEM_LABELS

    @property
    def genre(self) -> str:
        """The chosen genre as the list of genres writes it; empty for any."""
        chosen = self.filters.genre or ""
        return next((name for name in self.genres if name.lower() == chosen.lower()), chosen)

    @property
    def active(self) -> list[ActiveFilter]:
        """The filters that exclude games."""
        active = [ActiveFilter(key, text, self._address(without)) for key, text, without in _active(self.filters)]
        if self.known:
            active.append(ActiveFilter("known", "hide games with unknown facts", self._address(self.filters, False)))
        return active

    @property
    def folded(self) -> bool:
        """Whether the filters of the folded part of the form are all at their defaults."""
        further = ("released_from", "released_to", "max_ram_gb", "max_storage_gb", "os")
        return not self.known and all(getattr(self.filters, name) is None for name in further)

    @property
    def hidden(self) -> list[tuple[str, str]]:
        """Names and values that the form sends besides its fields."""
        names = ["include", "exclude", "limit", *(["genre"] if self.several else [])]
        given = filter_parameters(self.filters)
        return parameter_pairs({**self.further, **{name: given.get(name) for name in names}})

    @property
    def more(self) -> str | None:
        """The address of more games; None if no page shows more."""
        limit = min(self.largest_limit, max(2 * self.filters.limit, 20))
        return self._address(_changed(self.filters, limit=limit)) if limit > self.filters.limit else None

    @property
    def address(self) -> str:
        """The address of the page as it is."""
        return self._address(self.filters)

    @property
    def compare(self) -> str:
        """The address of the comparison with these filters."""
        return replace(self, path=f"{self.path}/compare").address

    @property
    def unfiltered(self) -> str:
        """The address of the page in the same order, with all games."""
        return self._address(Filters(rank_by=self.filters.rank_by, limit=self.filters.limit), False)

    def _address(self, filters: Filters, known: bool | None = None) -> str:
        kept = self.known if known is None else known
        return page_address(self.path, {**self.further, **filter_parameters(filters), "known": "1" if kept else None})


def page_address(path: str, parameters: Parameters) -> str:
    """Return a page's address."""
    given = parameter_pairs(parameters)
    return f"{path}?{urlencode(given, safe=',:')}" if given else path


def parameter_pairs(parameters: Parameters) -> list[tuple[str, str]]:
    """Return names and values as text, one pair per element of a list.

    Example:
        >>> parameter_pairs({"include": ["Indie", "RPG"], "max_ram_gb": 8.0, "os": None})
        [('include', 'Indie'), ('include', 'RPG'), ('max_ram_gb', '8')]
    """
    return [
        (name, exact(each) if isinstance(each, float) else str(each))
        for name, value in parameters.items()
        for each in (value if isinstance(value, list) else [value])
        if each not in (None, "")
    ]


def filter_parameters(filters: Filters) -> dict[str, object]:
    """Return the filters that differ from their defaults, for an address."""
    defaults = Filters().applied()
    return {name: value for name, value in filters.applied().items() if value != defaults[name]}


def dial_text(popularity: float) -> str:
    """Describe the dial as text: 0 is the user's taste alone, 1 the balance of the published lists.

    Example:
        >>> dial_text(0.2)
        'mostly niche'
    """
    if popularity == 0:
        return "niche only"
    return "mostly niche" if popularity < 0.4 else "niche and popular" if popularity <= 0.6 else "mostly popular"


def _active(filters: Filters) -> Iterator[tuple[str, str, Filters]]:
    """Yield each filter's key, which is the same whatever else is set, its text, and the filters without it.

    The text names the value alone: games whose value is unknown pass, too.
    """
    texts = {
        "genre": "{}",
        "released_from": "from {}",
        "released_to": "until {}",
        "max_ram_gb": "{} GB of RAM",
        "max_storage_gb": "{} GB of storage",
        "os": "{}",
    }
    for name, text in texts.items():
        value = getattr(filters, name)
        if value is not None:
            shown = exact(value) if isinstance(value, float) else SYSTEM_LABELS[value] if name == "os" else value
            yield name, text.format(shown), _changed(filters, **{name: None})
    for name, text in (("include", "{}"), ("exclude", "no {}")):
        genres = getattr(filters, name)
        for genre in dict.fromkeys(genres):
            others = [other for other in genres if other != genre]
            yield f"{name}-{quote(genre)}", text.format(genre), _changed(filters, **{name: others})
    if filters.popularity is not None and filters.popularity != 1:
        yield "popularity", dial_text(filters.popularity), _changed(filters, popularity=None)


def _changed(filters: Filters, **changes: object) -> Filters:
    return filters.model_copy(update=changes)
