"""Report pages from Jinja2 templates: one self-contained file per page, which escapes every text and loads nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from steam_recsys.rules import MARKS, format_number


def render(template: str, **context: Any) -> str:
    """Render a template of `templates/`; charts are inserted as they are, all other values are escaped."""
    return ENVIRONMENT.get_template(template).render(context)


def write_page(path: str | Path, page: str) -> None:
    """Write a page, and create its folder if it is missing."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(page, encoding="utf-8")


def _figure(value: object) -> object:
    """Format a number; return anything else as it is."""
    return format_number(value) if isinstance(value, int | float) else value


ENVIRONMENT = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters["figure"] = _figure
ENVIRONMENT.globals["marks"] = MARKS
