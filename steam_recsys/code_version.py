"""The version of the code that made something."""

import hashlib
from functools import cache
from pathlib import Path

PACKAGES = ("components", "steam_recsys")


@cache
def code_version() -> str:
    """Return twelve hexadecimal digits that name the content of `PACKAGES`, equal in a checkout and in an image."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted(path for path in (root / package).rglob("*") if path.suffix in {".py", ".sql"}):
            digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
