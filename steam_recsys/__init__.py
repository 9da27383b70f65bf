"""The library that the stages, the explorer and notebooks share."""

import hashlib
from functools import cache
from pathlib import Path

PACKAGES = ("components", "steam_recsys")


@cache
def code_version() -> str:
    """Return twelve hexadecimal digits that name the source of `PACKAGES`.

    An image has only some of the stages, so its digest differs from a checkout's.
    """
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted(path for path in (root / package).rglob("*") if path.suffix in {".py", ".sql"}):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
