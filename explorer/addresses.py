"""Filters as pages show them: in their addresses, in their forms, and in words that take one of them away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import urlencode

from explorer.rendering import exact
from explorer.views import Filters

ORDERS = {
    "relevance": "Relevance",
    "sales": "Sales",
    "revenue": "Revenue",
    "reviews": "Reviews",
    "newest": "Newest",
}
SYSTEMS = {"windows": "Windows", "mac": "macOS", "linux": "Linux"}

Parameters = Mapping[str, object]
"""Parameters of an address by name; None and the empty text are left out of it."""


@dataclass(frozen=True)
class Chosen:
    """A filter in words, and the address of the same page without it."""

    text: str
    without: str


@dataclass(frozen=True)
class FilterForm:
    """The form of the filters of a page.

    Attributes:
        path: of the page.
        filters: as they are.
        genres: to choose from.
        kept: the page's further parameters.
        largest_limit: of games on one page.
    """

    path: str
    filters: Filters
    genres: list[str]
    kept: Parameters
    largest_limit: int
    orders = ORDERS
    systems = SYSTEMS

    @property
    def genre(self) -> str:
        """The genre that is chosen, as the list of genres writes it; empty for any."""
        asked = self.filters.genre or ""
        return next((name for name in self.genres if name.lower() == asked.lower()), asked)

    @property
    def chosen(self) -> list[Chosen]:
        """What keeps games out."""
        return [Chosen(text, self._address(without)) for text, without in _words(self.filters)]

    @property
    def hidden(self) -> dict[str, str]:
        """What the form sends besides its fields."""
        limit = parameters_of(self.filters).get("limit")
        return {name: str(value) for name, value in {**self.kept, "limit": limit}.items() if value not in (None, "")}

    @property
    def more(self) -> str | None:
        """The address of more games; None where no page shows more."""
        limit = min(self.largest_limit, max(2 * self.filters.limit, 20))
        return self._address(replace(self.filters, limit=limit)) if limit > self.filters.limit else None

    @property
    def address(self) -> str:
        """The address of the page as it is."""
        return self._address(self.filters)

    @property
    def unfiltered(self) -> str:
        """The address of the page in the same order, with all games."""
        return self._address(Filters(rank_by=self.filters.rank_by, limit=self.filters.limit))

    def _address(self, filters: Filters) -> str:
        return address(self.path, {**self.kept, **parameters_of(filters)})


def address(path: str, parameters: Parameters) -> str:
    """A page's address."""
    given = {name: _text(value) for name, value in parameters.items() if value not in (None, "")}
    return f"{path}?{urlencode(given, safe=',')}" if given else path


def parameters_of(filters: Filters) -> dict[str, object]:
    """What an address has to say of filters: what is not as usual."""
    usual = Filters()
    values = {field.name: getattr(filters, field.name) for field in fields(filters)}
    return {name: value for name, value in values.items() if value != getattr(usual, name)}


def _words(filters: Filters) -> Iterator[tuple[str, Filters]]:
    """Each filter by its value alone, as what is not known of a game passes, and the filters without it."""
    if filters.genre:
        yield filters.genre, replace(filters, genre=None)
    if filters.released_from is not None:
        yield f"from {filters.released_from}", replace(filters, released_from=None)
    if filters.released_to is not None:
        yield f"until {filters.released_to}", replace(filters, released_to=None)
    if filters.max_ram_gb is not None:
        yield f"{exact(filters.max_ram_gb)} GB of RAM", replace(filters, max_ram_gb=None)
    if filters.max_storage_gb is not None:
        yield f"{exact(filters.max_storage_gb)} GB of storage", replace(filters, max_storage_gb=None)
    if filters.os is not None:
        yield SYSTEMS[filters.os], replace(filters, os=None)


def _text(value: object) -> str:
    return exact(value) if isinstance(value, float) else str(value)
