"""Folders in a bucket of Google Cloud Storage; the interface is in `steam_recsys/storage/folder.py`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
from requests.exceptions import RequestException

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import BUCKET_SCHEME, FileInfo, no_space_error
from steam_recsys.storage.remote_folder import RemoteFolder

ATTEMPT_SECONDS = 60.0
"""How long an attempt of a request waits for the server to take or send anything."""

RETRY_SECONDS = 300.0
"""How long a request is tried again: several attempts, also if each of them hangs."""

_NO_BUCKET = "bucket does not exist"
"""What the message of the service says if not only an object, but its bucket is missing."""


class BucketFolder(RemoteFolder[storage.Blob]):
    """A folder of a bucket of Google Cloud Storage."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, BUCKET_SCHEME)
        self._attempts: dict[str, Any] = {
            "retry": DEFAULT_RETRY.with_timeout(RETRY_SECONDS), "timeout": ATTEMPT_SECONDS
        }  # fmt: skip
        with self._user_errors():
            self._bucket: storage.Bucket = storage.Client().bucket(self._bucket_name)

    def read(self, name: str) -> bytes | None:
        """See `Folder.read`."""
        with self._user_errors():
            try:
                content: bytes = self._blob(name).download_as_bytes(**self._attempts)
            except NotFound as error:
                if _NO_BUCKET in str(error):
                    raise
                return None
            return content

    def write(self, name: str, content: bytes) -> None:
        """See `Folder.write`."""
        with self._user_errors():
            self._blob(name).upload_from_string(content, **self._attempts)

    def compare_and_swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """See `Folder.compare_and_swap`. The bucket compares generations, so no other writer can interfere."""
        blob = self._blob(name)
        with self._user_errors():
            try:
                found = blob.download_as_bytes(**self._attempts)
                generation = blob.generation
            except NotFound:
                found, generation = None, 0
            if found != expected:
                return False
            try:
                blob.upload_from_string(content, if_generation_match=generation, **self._attempts)
            except PreconditionFailed:
                return self.read(name) == content  # an earlier attempt of this request may have succeeded
            return True

    def put(self, source: Path, name: str) -> None:
        """See `Folder.put`."""
        with self._user_errors():
            self._blob(name).upload_from_filename(str(source), **self._attempts)

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        with self._user_errors():
            for blob in self._objects(name).values():
                try:
                    blob.delete(**self._attempts)
                except NotFound:
                    continue  # an earlier attempt of this request succeeded

    def _blob(self, name: str) -> storage.Blob:
        return self._bucket.blob(self._key(name))

    def _list(self, prefix: str) -> Iterator[tuple[str, storage.Blob]]:
        for blob in self._bucket.client.list_blobs(self._bucket, prefix=prefix, **self._attempts):
            yield blob.name, blob

    def _info(self, listed: storage.Blob) -> FileInfo:
        return FileInfo(listed.size, listed.updated)

    def _download(self, listed: storage.Blob, target: Path) -> None:
        listed.download_to_filename(str(target), **self._attempts)

    def _read_range(self, name: str, start: int, end: int) -> bytes:
        content: bytes = self._blob(name).download_as_bytes(start=start, end=end - 1, **self._attempts)
        return content

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
        except (RetryError, RequestException, GoogleAPICallError) as error:
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
