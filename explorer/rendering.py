"""How pages are made: the templates, and the way in which they write numbers, times and names."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import Response
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

FOLDER = Path(__file__).parent
UNKNOWN = "–"


def render(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """A page; every value in it is escaped."""
    headers = {"cache-control": "private, no-cache"}
    return _TEMPLATES.TemplateResponse(request, template, context, status_code=status, headers=headers)


def thousands(number: float | None) -> str:
    """A whole number, with commas."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def percent(share: float) -> str:
    """A share from 0 to 1; what is there is never shown as nothing."""
    text = f"{100 * share:.1f}"
    return "< 0.1 %" if share > 0 and text == "0.0" else f"{text} %"


def decimals(number: float | None, digits: int = 4) -> str:
    """A number with so many decimals."""
    return UNKNOWN if number is None else f"{number:.{digits}f}".replace("-", "−")


def day(value: date | None) -> str:
    """A day, as 5 Mar 2024."""
    return UNKNOWN if value is None else f"{value.day} {value:%b} {value.year}"


def moment(value: datetime | None) -> str:
    """A time to the minute, in UTC."""
    return UNKNOWN if value is None else f"{day(value.astimezone(UTC))}, {value.astimezone(UTC):%H:%M} UTC"


def duration(seconds: float | None) -> str:
    """Seconds, or where there are many, minutes or hours and minutes."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plain(number: float) -> str:
    """A number without needless decimals: 4, 0.5."""
    return f"{number:,.1f}".removesuffix(".0")


def exact(number: float) -> str:
    """A number of GB as addresses and forms have it, so that nothing is lost on the way: 4, 0.25."""
    return repr(number).removesuffix(".0")


def visible(name: str) -> str:
    """A name, or where there is nothing in it to be seen, that."""
    return name if any(letter.isprintable() and not letter.isspace() for letter in name) else "(no visible name)"


def code(text: str) -> Markup:
    """A text of our own, with code where it has backticks."""
    parts = text.split("`")
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts))


@cache
def asset(name: str) -> str:
    """The address of a static file, which changes with its content, so that no browser shows an old one."""
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
    filters = (thousands, percent, decimals, day, moment, duration, plain, exact, visible, code)
    environment.filters.update({filter.__name__: filter for filter in filters})
    environment.globals["asset"] = asset
    return environment


_TEMPLATES = Jinja2Templates(env=_environment())
