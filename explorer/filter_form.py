"""Filters as pages show them: in addresses, as a form, and as links that remove one of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from explorer.filters import Filters
from explorer.templating import exact

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
class ActiveFilter:
    """A filter as text, and the address of the same page without it."""

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
    """

    path: str
    filters: Filters
    genres: list[str]
    further: Parameters
    largest_limit: int
    orders = ORDERS
    systems = SYSTEMS

    @property
    def genre(self) -> str:
        """The chosen genre as the list of genres writes it; empty for any."""
        chosen = self.filters.genre or ""
        return next((name for name in self.genres if name.lower() == chosen.lower()), chosen)

    @property
    def active(self) -> list[ActiveFilter]:
        """The filters that exclude games."""
        return [ActiveFilter(text, self._address(without)) for text, without in _active(self.filters)]

    @property
    def hidden(self) -> dict[str, str]:
        """What the form sends besides its fields."""
        limit = filter_parameters(self.filters).get("limit")
        parameters = {**self.further, "limit": limit}
        return {name: str(value) for name, value in parameters.items() if value not in (None, "")}

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
    def unfiltered(self) -> str:
        """The address of the page in the same order, with all games."""
        return self._address(Filters(rank_by=self.filters.rank_by, limit=self.filters.limit))

    def _address(self, filters: Filters) -> str:
        return page_address(self.path, {**self.further, **filter_parameters(filters)})


def page_address(path: str, parameters: Parameters) -> str:
    """Return a page's address."""
    given = {
        name: exact(value) if isinstance(value, float) else str(value)
        for name, value in parameters.items()
        if value not in (None, "")
    }
    return f"{path}?{urlencode(given, safe=',')}" if given else path


def filter_parameters(filters: Filters) -> dict[str, object]:
    """Return the filters that differ from their defaults, for an address."""
    defaults = Filters().applied()
    return {name: value for name, value in filters.applied().items() if value != defaults[name]}


def _active(filters: Filters) -> Iterator[tuple[str, Filters]]:
    """Yield each filter as text, and the filters without it.

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
            shown = exact(value) if isinstance(value, float) else SYSTEMS[value] if name == "os" else value
            yield text.format(shown), _changed(filters, **{name: None})


def _changed(filters: Filters, **changes: object) -> Filters:
    return filters.model_copy(update=changes)
