"""Folders that live on disk or in a bucket of Google Cloud Storage, and are used alike.

A file appears whole or not at all, and can be swapped for another only if it is still the one that was read: that is
all that the store's pointers, journals and shards ask for.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from components.shared.errors import UserError

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

BUCKET = "gs://"
RETRY_SECONDS = 60.0


class Folder(Protocol):
    """A folder of files; names are relative to it, with slashes."""

    uri: str

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of what was there."""

    def swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """Write a file if its content is the expected one, None for no file; whether it was."""

    def put(self, source: Path, name: str) -> None:
        """Copy a file of this machine into the folder."""

    def fetched(self, name: str) -> AbstractContextManager[Path]:
        """A file, or a folder with all that is in it, as a path on this machine; it is only there to be read.

        Where there is no such file or folder, the path does not exist.
        """

    def names(self, name: str) -> list[str]:
        """All files in a folder and the folders below it, in order."""

    def remove(self, name: str) -> None:
        """Remove a folder and all that is in it; `""` is this folder itself."""


def open_folder(uri: str | Path) -> Folder:
    """The folder that a path or a URI such as `gs://bucket/store` names; it need not exist yet.

    Raises:
        UserError: the URI is of another kind.
    """
    text = str(uri)
    if text.startswith(BUCKET):
        return BucketFolder(text.rstrip("/"))
    if "://" in text:
        raise UserError(f"{text} is neither a path nor a gs:// URI: name a folder or a bucket's folder.")
    return DiskFolder(text)


class DiskFolder:
    """A folder on disk."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._root = Path(uri)

    def read(self, name: str) -> bytes | None:
        """See `Folder.read`."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """See `Folder.write`."""
        with self._incoming(name) as path:
            path.write_bytes(content)

    def swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """See `Folder.swap`. One writer at a time; the lock goes with the process that holds it, however that ends."""
        lock = self._root / f"{name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self.read(name) != expected:
                return False
            self.write(name, content)
            return True

    def put(self, source: Path, name: str) -> None:
        """See `Folder.put`."""
        with self._incoming(name) as path:
            shutil.copyfile(source, path)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """See `Folder.fetched`: it is there already."""
        yield self._root / name

    def names(self, name: str) -> list[str]:
        """See `Folder.names`."""
        files = (path for path in (self._root / name).rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self._root)) for path in files)

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        shutil.rmtree(self._root / name, ignore_errors=True)

    @contextmanager
    def _incoming(self, name: str) -> Iterator[Path]:
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with open(descriptor, "wb"):
                yield Path(temporary)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


class BucketFolder:
    """A folder of a bucket. Every request is tried again after errors that pass, as all of them can be repeated."""

    def __init__(self, uri: str) -> None:
        # Slow to import, and not needed for a folder on disk.
        from google.cloud import storage
        from google.cloud.storage.retry import DEFAULT_RETRY

        self.uri = uri
        self._retry = DEFAULT_RETRY.with_timeout(RETRY_SECONDS)
        bucket, _, self._prefix = uri.removeprefix(BUCKET).partition("/")
        with self._in_sentences():
            self._bucket: Bucket = storage.Client().bucket(bucket)

    def read(self, name: str) -> bytes | None:
        """See `Folder.read`."""
        from google.api_core.exceptions import NotFound

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
        from google.api_core.exceptions import NotFound, PreconditionFailed

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
                    blob.download_to_filename(str(target), retry=self._retry)
            yield path

    def names(self, name: str) -> list[str]:
        """See `Folder.names`."""
        with self._in_sentences():
            own = len(self._prefix) + 1 if self._prefix else 0
            return sorted(blob.name[own:] for blob in self._blobs(name))

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        from google.api_core.exceptions import NotFound

        with self._in_sentences():
            for blob in self._blobs(name):
                try:
                    blob.delete(retry=self._retry)
                except NotFound:
                    continue  # a first try of this very request went through

    def _blob(self, name: str) -> Blob:
        return self._bucket.blob("/".join(part for part in (self._prefix, name) if part))

    def _blobs(self, name: str) -> list[Blob]:
        whole = self._blob(name).name
        listed = self._bucket.client.list_blobs(self._bucket, prefix=whole, retry=self._retry)
        return [blob for blob in listed if not whole or blob.name == whole or blob.name.startswith(f"{whole}/")]

    @contextmanager
    def _in_sentences(self) -> Iterator[None]:
        from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError, Unauthorized
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import ConnectionError as Unreachable

        try:
            yield
        except NotFound:
            raise UserError(f"The bucket of {self.uri} does not exist: create it or correct the URI.") from None
        except GoogleAuthError as error:
            raise UserError(
                f"There are no credentials for {self.uri} ({error}): run gcloud auth application-default login, or run "
                f"as a service account."
            ) from None
        except (RetryError, Unreachable, GoogleAPICallError) as error:
            if _full(error):
                reason = f"There is no room left for {self.uri}: make some, then run again."
            elif isinstance(error, Forbidden | Unauthorized):
                reason = f"{self.uri} may not be used by this account: grant it Storage Object User."
            else:
                reason = f"{self.uri} cannot be reached ({type(error).__name__}): try again later."
            raise UserError(reason) from None


def _full(error: Exception) -> bool:
    """Whether a bucket refuses to hold more: it has no room, or a quota is used up."""
    response = getattr(error, "response", None)
    return response is not None and (response.status_code == 507 or "quotaExceeded" in response.text)
