"""The version of the code that made something."""

import hashlib
from functools import cache
from pathlib import Path


@cache
def code_version() -> str:
    """Twelve hexadecimal digits that name the content of the `components` package, in a checkout and in an image."""
    root = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.suffix in {".py", ".sql"}):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
