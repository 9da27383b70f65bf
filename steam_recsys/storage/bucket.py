"""Folders in a bucket of Google Cloud Storage; the interface is in `steam_recsys/storage/folder.py`."""

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
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.exceptions import ConnectionError as Unreachable

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import BUCKET_SCHEME, FileInfo, no_space_error

RETRY_SECONDS = 60.0


class BucketFolder:
    """A folder of a bucket. Requests are retried after transient errors: all of them are idempotent."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._retry = DEFAULT_RETRY.with_timeout(RETRY_SECONDS)
        bucket, _, self._prefix = uri.removeprefix(BUCKET_SCHEME).partition("/")
        with self._user_errors():
            self._bucket: storage.Bucket = storage.Client().bucket(bucket)

    def read(self, name: str) -> bytes | None:
        """See `Folder.read`."""
        with self._user_errors():
            try:
                content: bytes = self._blob(name).download_as_bytes(retry=self._retry)
            except NotFound:
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        """See `Folder.write`."""
        with self._user_errors():
            self._blob(name).upload_from_string(content, retry=self._retry)

    def compare_and_swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """See `Folder.compare_and_swap`. The bucket compares generations, so no other writer can interfere."""
        blob = self._blob(name)
        with self._user_errors():
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
                return self.read(name) == content  # an earlier attempt of this request may have succeeded
            return True

    def put(self, source: Path, name: str) -> None:
        """See `Folder.put`."""
        with self._user_errors():
            self._blob(name).upload_from_filename(str(source), retry=self._retry)

    @contextmanager
    def local_path(self, name: str) -> Iterator[Path]:
        """See `Folder.local_path`. The files are downloaded, and deleted afterwards; errors name the bucket's files."""
        with tempfile.TemporaryDirectory(prefix="steam-recsys-") as scratch:
            path = Path(scratch) / (Path(name).name or "folder")
            with self._user_errors():
                for blob in self._blobs(name):
                    target = path / blob.name.removeprefix(self._blob(name).name).strip("/")
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with self._user_errors(missing=f"{self.uri}/{name} changed while it was read: run again."):
                        blob.download_to_filename(str(target), retry=self._retry)
            try:
                yield path
            except UserError as error:
                error.args = (str(error).replace(str(path), f"{self.uri}/{name}".rstrip("/")),)
                raise

    def arrow_source(self, name: str, size: int) -> str | io.RawIOBase:
        """See `Folder.arrow_source`. Each read requests a range of bytes."""
        return _BlobReader(self, name, size)

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` (inclusive) to `end` (exclusive).

        Raises:
            UserError: The file does not exist.
        """
        with self._user_errors(missing=f"{self.uri}/{name} is missing: create it again."):
            content: bytes = self._blob(name).download_as_bytes(start=start, end=end - 1, retry=self._retry)
            return content

    def names(self, name: str) -> list[str]:
        """See `Folder.names`."""
        return sorted(self.list_files(name))

    def list_files(self, name: str) -> dict[str, FileInfo]:
        """See `Folder.list_files`."""
        own = len(self._prefix) + 1 if self._prefix else 0
        with self._user_errors():
            return {blob.name[own:]: FileInfo(blob.size, blob.updated) for blob in self._blobs(name)}

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        with self._user_errors():
            for blob in self._blobs(name):
                try:
                    blob.delete(retry=self._retry)
                except NotFound:
                    continue  # an earlier attempt of this request succeeded

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob("/".join(part for part in (self._prefix, name) if part))

    def _blobs(self, name: str) -> list[storage.Blob]:
        path = self._blob(name).name
        listed = self._bucket.client.list_blobs(self._bucket, prefix=path, retry=self._retry)
        return [blob for blob in listed if not path or blob.name == path or blob.name.startswith(f"{path}/")]

    @contextmanager
    def _user_errors(self, missing: str = "") -> Iterator[None]:
        try:
            yield
        except NotFound:
            raise UserError(
                missing or f"The bucket of {self.uri} does not exist: create it or correct the URI."
            ) from None
        except DataCorruption:
            raise UserError(f"{self.uri} sent a file that differs from its checksum: run again.") from None
        except GoogleAuthError as error:
            raise UserError(
                f"There are no credentials for {self.uri} ({error}): run gcloud auth application-default login, or run "
                f"as a service account."
            ) from None
        except (RetryError, Unreachable, GoogleAPICallError) as error:
            if _is_full(error):
                raise no_space_error(self.uri) from None
            if isinstance(error, Forbidden | Unauthorized):
                raise UserError(f"{self.uri} may not be used by this account: grant it Storage Object User.") from None
            raise UserError(f"{self.uri} cannot be reached ({_reason(error)}): try again later.") from None


def _is_full(error: Exception) -> bool:
    """Return whether a bucket has no space left or a quota is used up."""
    response = getattr(error, "response", None)
    return response is not None and (response.status_code == 507 or "quotaExceeded" in response.text)


def _reason(error: Exception) -> str:
    """Return the status of the last response, or the name of the error if there was none."""
    last = error.cause if isinstance(error, RetryError) else error
    response = getattr(last, "response", None)
    return type(last).__name__ if response is None else f"HTTP {response.status_code}"


class _BlobReader(io.RawIOBase):
    """A seekable file in a bucket, for Arrow to read."""

    def __init__(self, folder: BucketFolder, name: str, size: int) -> None:
        self._folder, self._name, self._size = folder, name, size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position; this sends no request."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes from the position, or all that follow if `size` is negative."""
        end = self._size if size < 0 else min(self._position + size, self._size)
        if end <= self._position:
            return b""
        content = self._folder.read_range(self._name, self._position, end)
        self._position += len(content)
        return content
