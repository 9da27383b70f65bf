"""Folders in a bucket of Google Cloud Storage; see `steam_recsys/storage/folder.py`."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from google.api_core.exceptions import (
    Forbidden,
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RetryError,
    Unauthorized,
)
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import ConnectionError as Unreachable

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import BUCKET, FileInfo, no_room

RETRY_SECONDS = 60.0


class BucketFolder:
    """A folder of a bucket. Every request is tried again after errors that pass, as all of them can be repeated."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._retry = DEFAULT_RETRY.with_timeout(RETRY_SECONDS)
        bucket, _, self._prefix = uri.removeprefix(BUCKET).partition("/")
        with self._in_sentences():
            self._bucket: storage.Bucket = storage.Client().bucket(bucket)

    def read(self, name: str) -> bytes | None:
        """See `Folder.read`."""
        with self._in_sentences():
            try:
                content: bytes = self._blob(name).download_as_bytes(retry=self._retry)
            except NotFound:
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        """See `Folder.write`."""
        with self._in_sentences():
            self._blob(name).upload_from_string(content, retry=self._retry)

    def swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """See `Folder.swap`. The bucket itself compares generations, so that no writer comes in between."""
        blob = self._blob(name)
        with self._in_sentences():
            try:
                found = blob.download_as_bytes(retry=self._retry)
                generation = blob.generation
            except NotFound:
                found, generation = None, 0
            if found != expected:
                return False
            try:
                blob.upload_from_string(content, if_generation_match=generation, retry=self._retry)
            except PreconditionFailed:
                return self.read(name) == content  # a first try of this very request may have gone through
            return True

    def put(self, source: Path, name: str) -> None:
        """See `Folder.put`."""
        with self._in_sentences():
            self._blob(name).upload_from_filename(str(source), retry=self._retry)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """See `Folder.fetched`: downloaded, and removed from this machine afterwards."""
        with tempfile.TemporaryDirectory(prefix="steam-recsys-") as scratch:
            path = Path(scratch) / (Path(name).name or "folder")
            with self._in_sentences():
                for blob in self._blobs(name):
                    target = path / blob.name.removeprefix(self._blob(name).name).strip("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with self._in_sentences(missing=f"{self.uri}/{name} changed while it was read: run again."):
                        blob.download_to_filename(str(target), retry=self._retry)
            yield path

    def source(self, name: str, size: int) -> str | io.RawIOBase:
        """See `Folder.source`: each read is a request for a range of bytes."""
        return _Ranges(self, name, size)

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """The bytes of a file from `start` to before `end`.

        Raises:
            UserError: there is no such file.
        """
        with self._in_sentences(missing=f"{self.uri}/{name} is missing: make it again."):
            content: bytes = self._blob(name).download_as_bytes(start=start, end=end - 1, retry=self._retry)
            return content

    def names(self, name: str) -> list[str]:
        """See `Folder.names`."""
        return sorted(self.listed(name))

    def listed(self, name: str) -> dict[str, FileInfo]:
        """See `Folder.listed`."""
        own = len(self._prefix) + 1 if self._prefix else 0
        with self._in_sentences():
            return {blob.name[own:]: FileInfo(blob.size, blob.updated) for blob in self._blobs(name)}

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        with self._in_sentences():
            for blob in self._blobs(name):
                try:
                    blob.delete(retry=self._retry)
                except NotFound:
                    continue  # a first try of this very request went through

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob("/".join(part for part in (self._prefix, name) if part))

    def _blobs(self, name: str) -> list[storage.Blob]:
        whole = self._blob(name).name
        listed = self._bucket.client.list_blobs(self._bucket, prefix=whole, retry=self._retry)
        return [blob for blob in listed if not whole or blob.name == whole or blob.name.startswith(f"{whole}/")]

    @contextmanager
    def _in_sentences(self, missing: str = "") -> Iterator[None]:
        try:
            yield
        except NotFound:
            raise UserError(
                missing or f"The bucket of {self.uri} does not exist: create it or correct the URI."
            ) from None
        except GoogleAuthError as error:
            raise UserError(
                f"There are no credentials for {self.uri} ({error}): run gcloud auth application-default login, or run "
                f"as a service account."
            ) from None
        except (RetryError, Unreachable, GoogleAPICallError) as error:
            if _full(error):
                raise no_room(self.uri) from None
            if isinstance(error, Forbidden | Unauthorized):
                raise UserError(f"{self.uri} may not be used by this account: grant it Storage Object User.") from None
            raise UserError(f"{self.uri} cannot be reached ({_reason(error)}): try again later.") from None


def _full(error: Exception) -> bool:
    """Whether a bucket refuses to hold more: it has no room, or a quota is used up."""
    response = getattr(error, "response", None)
    return response is not None and (response.status_code == 507 or "quotaExceeded" in response.text)


def _reason(error: Exception) -> str:
    """The status of the last answer, or what came in place of one."""
    last = error.cause if isinstance(error, RetryError) else error
    response = getattr(last, "response", None)
    return type(last).__name__ if response is None else f"HTTP {response.status_code}"


class _Ranges(io.RawIOBase):
    """A file of a bucket as what Arrow reads from."""

    def __init__(self, folder: BucketFolder, name: str, size: int) -> None:
        self._folder, self._name, self._size = folder, name, size
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go to a place; no request is made."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """The place."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes from the place on, all that follow where it is negative."""
        end = self._size if size < 0 else min(self._position + size, self._size)
        if end <= self._position:
            return b""
        content = self._folder.read_range(self._name, self._position, end)
        self._position += len(content)
        return content
