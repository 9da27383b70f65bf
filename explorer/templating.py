"""The templates, and the filters with which they format numbers, times and names."""

from __future__ import annotations

import hashlib
import textwrap
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from explorer.tastes import telling

FOLDER = Path(__file__).parent
UNKNOWN = "–"

TONES = 10
"""Number of colours of tiles in the style sheet."""

TILE_LINES, TILE_CHARACTERS = 3, 17
"""Most lines of a name on a tile, and most characters of a line."""


TILES = 4096
"""Drawn tiles that are kept, as the same games are on many pages."""


@dataclass(frozen=True)
class Tile:
    """A drawing in place of a game's cover: a colour from its first genre, and circles and lines of text from its name.

    Attributes:
        tone: The colour's number, below `TONES`.
        lines: The name, in a few short lines.
        circles: Three circles as the path of an SVG picture of 184 by 86.
    """

    tone: int
    lines: tuple[str, ...]
    circles: str


def render(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """Render a page; every value in it is escaped."""
    headers = {"cache-control": "private, no-cache"}
    return _TEMPLATES.TemplateResponse(request, template, context, status_code=status, headers=headers)


def thousands(number: float | None) -> str:
    """Format a whole number with commas: 1,234."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def percent(share: float) -> str:
    """Format a share from 0 to 1; a positive share never shows as zero."""
    text = f"{100 * share:.1f}"
    return "< 0.1 %" if share > 0 and text == "0.0" else f"{text} %"


def decimals(number: float | None, digits: int = 4) -> str:
    """Format a number with a fixed number of decimals."""
    return UNKNOWN if number is None else f"{number:.{digits}f}".replace("-", "−")


def day(value: date | None) -> str:
    """Format a day: 5 Mar 2024."""
    return UNKNOWN if value is None else f"{value.day} {value:%b} {value.year}"


def moment(value: datetime | None) -> str:
    """Format a time to the minute, in UTC."""
    return UNKNOWN if value is None else f"{day(value.astimezone(UTC))}, {value.astimezone(UTC):%H:%M} UTC"


def duration(seconds: float | None) -> str:
    """Format a duration in seconds, minutes, or hours and minutes."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(number: float) -> str:
    """Format a number without needless decimals: 4, 0.5."""
    return f"{number:,.1f}".removesuffix(".0")


def exact(number: float) -> str:
    """Format a number of GB for addresses and forms, without loss: 4, 0.25."""
    return repr(number).removesuffix(".0")


def visible(name: str) -> str:
    """Return a name, or a placeholder if no character of it is visible."""
    return name if any(letter.isprintable() and not letter.isspace() for letter in name) else "(no visible name)"


@lru_cache(maxsize=TILES)
def tile(name: str, genre: str) -> Tile:
    """Draw a game that has no cover; the same name and genre always give the same drawing."""
    bits = zlib.crc32(name.encode(errors="replace"))
    centres = [(bits >> shift & 255) * 184 // 255 for shift in (0, 8, 16)]
    radii = [18 + (bits >> 24) % 16 + 12 * number for number in range(3)]
    return Tile(
        tone=zlib.crc32(genre.encode(errors="replace")) % TONES,
        lines=tuple(textwrap.wrap(visible(name), TILE_CHARACTERS, max_lines=TILE_LINES, placeholder=" …")),
        circles="".join(_circle(x, x * 7 % 86, radius) for x, radius in zip(centres, radii, strict=True)),
    )


def _circle(x: int, y: int, radius: int) -> str:
    return f"M{x - radius} {y}a{radius} {radius} 0 1 0 {2 * radius} 0a{radius} {radius} 0 1 0-{2 * radius} 0"


@lru_cache(maxsize=8)
def _options(values: tuple[str, ...]) -> Markup:
    return Markup("").join(map(_option, values))


def _option(value: str) -> Markup:
    """Return an option, without a value if its text is the value: browsers reduce white space in a text."""
    if value == " ".join(value.split()):
        return Markup("<option>{}</option>").format(value)
    return Markup('<option value="{0}">{0}</option>').format(value)


def options(values: Sequence[str]) -> Markup:
    """Return the options of a list to choose from; they are made once, as a shop may have hundreds of genres."""
    return _options(tuple(values))


def code(text: str) -> Markup:
    """Mark the parts of a trusted text that are in backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else part for index, part in enumerate(parts)
    )


@cache
def asset(name: str) -> str:
    """Return a static file's address, which changes with its content, so that browsers load the new one."""
    digest = hashlib.blake2b((FOLDER / "static" / name).read_bytes(), digest_size=6).hexdigest()
    return f"/static/{name}?{digest}"


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (thousands, percent, decimals, day, moment, duration, plain, exact, visible, tile, telling, options, code)
    environment.filters.update({filter.__name__: filter for filter in filters})
    environment.globals["asset"] = asset
    return environment


def _covers(request: Request) -> dict[str, Any]:
    """Return what templates know of the settings: the address of a game's cover, with `{game_id}` in it."""
    return {"cover_url": request.app.state.settings.cover_url}


_TEMPLATES = Jinja2Templates(env=_environment(), context_processors=[_covers])
