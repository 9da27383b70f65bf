"""System requirements, as the shop's pages list them: what can be parsed becomes figures, the rest stays text."""

from __future__ import annotations

import re
from dataclasses import dataclass

from components.ingest.fields import FieldError, parse_list, parse_name

MAX_GB = 1e6
"""More is a slip of the pen: the text keeps it."""

_SIZE = re.compile(r"(\d+(?:[.,]\d+)?)\s*(TB|GB|MB|KB)", re.IGNORECASE)
_IN_GB = {"tb": 1024.0, "gb": 1.0, "mb": 1 / 1024, "kb": 1 / 1024**2}


@dataclass(frozen=True)
class Requirements:
    """One level (minimum or recommended) of a game's system requirements; sizes in GB.

    `requirements` is the whole text, a line each, what could not be parsed included.
    """

    os: str | None
    processor: str | None
    ram_gb: float | None
    storage_gb: float | None
    graphics: str | None
    directx: str | None
    requirements: str


def parse_requirements(text: str) -> Requirements | None:
    """Read a list such as `['OS: Windows 10', 'Memory: 8 GB RAM', …]`; None where it says nothing.

    A text that is not a list stays text: none of it is lost.
    """
    try:
        lines = parse_list(text, "requirements")
    except FieldError:
        lines = [parse_name(text)]
    if not lines:
        return None
    said: dict[str, str] = {}
    for line in lines:
        label, colon, value = line.partition(":")
        if colon and value.strip():
            said.setdefault(label.strip(" *").lower(), value.strip())
    return Requirements(
        os=said.get("os"),
        processor=said.get("processor"),
        ram_gb=_gigabytes(said.get("memory")),
        storage_gb=_gigabytes(said.get("storage") or said.get("hard drive") or said.get("hard disk space")),
        graphics=said.get("graphics"),
        directx=said.get("directx"),
        requirements="\n".join(lines),
    )


def _gigabytes(text: str | None) -> float | None:
    match = _SIZE.search(text or "")
    if not match:
        return None
    gigabytes = float(match[1].replace(",", ".")) * _IN_GB[match[2].lower()]
    return round(gigabytes, 3) if gigabytes <= MAX_GB else None
