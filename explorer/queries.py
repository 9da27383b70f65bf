"""The statements of `queries.sql`, by name."""

from pathlib import Path
from typing import Final


def _read() -> dict[str, str]:
    script = (Path(__file__).parent / "queries.sql").read_text()
    sections = (section.partition("\n") for section in script.split("-- query: ")[1:])
    return {name: statement.strip() for name, _, statement in sections}


QUERIES: Final = _read()
