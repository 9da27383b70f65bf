"""Damage to stored files, for tests that nothing is read from them."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from google.api_core.exceptions import Forbidden
from google.cloud.storage import Blob

from steam_recsys.storage.folder import open_folder


def files_below(root: Path) -> list[str]:
    """The names of all files of a folder."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def damaged_contents(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Ways in which a file may be damaged, and the content after each: flipped bits, a changed digit, a lost end."""
    if not content:
        yield "something", b"x"
        return
    for at in sorted({0, len(content) // 3, len(content) // 2, len(content) - 1}):
        yield f"bit of byte {at}", content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
    if digits := list(re.finditer(rb"\d", content)):
        at = digits[len(digits) // 2].start()
        yield f"digit {at}", content[:at] + (b"1" if content[at : at + 1] != b"1" else b"2") + content[at + 1 :]
    yield "half", content[: len(content) // 2]
    yield "nothing", b""


def fail_removals(monkeypatch: pytest.MonkeyPatch, uri: str, removals: int, killed: bool) -> None:
    """Let each removal of a file in a folder or a bucket fail, after some that succeed."""
    owner: object
    if uri.startswith("gs://"):
        owner, name, refused = Blob, "delete", Forbidden("no")
    elif uri.startswith("s3://"):
        answer = {"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}
        owner, name, refused = type(open_folder(uri)._client), "delete_object", ClientError(answer, "DeleteObject")
    else:
        owner, name, refused = os, "unlink", PermissionError(13, "no")
    error = KeyboardInterrupt() if killed else refused
    remove, removed = getattr(owner, name), 0

    def remove_or_fail(*arguments, **options):
        nonlocal removed
        if removed >= removals:
            raise error
        removed += 1
        return remove(*arguments, **options)

    monkeypatch.setattr(owner, name, remove_or_fail)
