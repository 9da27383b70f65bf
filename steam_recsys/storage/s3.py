"""Folders in a bucket of an S3-compatible store; the interface is in `steam_recsys/storage/folder.py`.

The client reads its settings where other clients of S3 do, such as the environment variables AWS_ACCESS_KEY_ID,
AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_S3 and AWS_REGION. It sends only what servers other than Amazon's also
understand: one object per deletion, and no checksums that they do not require.
"""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    IncompleteReadError,
    NoCredentialsError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnection

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import S3_SCHEME, FileInfo, no_space_error
from steam_recsys.storage.remote_folder import RemoteFolder

ATTEMPT_SECONDS = 60.0
"""How long an attempt of a request waits for the server to take or send anything."""

ATTEMPTS = 8
"""How often a request is sent until it succeeds; the pauses between them grow to a minute."""

CONDITIONS_CHECK = ".conditional-writes"
"""The empty file in a folder by which its server's conditional writes are checked."""

_NO_CREDENTIALS = (
    NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, ProfileNotFound, TokenRetrievalError
)  # fmt: skip
_WRONG_CREDENTIALS = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"}
_FULL = {"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
_BROKEN_ANSWER = (IncompleteReadError, ReadTimeoutError, ResponseStreamingError)
_NO_OBJECT_HAS_IT = f'"{"0" * 32}"'


class S3Folder(RemoteFolder[dict[str, Any]]):
    """A folder of a bucket of an S3-compatible store."""

    def __init__(self, uri: str) -> None:
        super().__init__(uri, S3_SCHEME)
        with self._user_errors():
            self._client = _client(frozenset((key, os.environ[key]) for key in os.environ if key.startswith("AWS_")))

    def read(self, name: str) -> bytes | None:
        """See `Folder.read`."""
        with self._user_errors():
            return self._find(name)[0]

    def write(self, name: str, content: bytes) -> None:
        """See `Folder.write`."""
        with self._user_errors():
            self._client.put_object(Bucket=self._bucket_name, Key=self._key(name), Body=content)

    def compare_and_swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """See `Folder.compare_and_swap`. The server compares ETags, so no other writer can interfere.

        Raises:
            UserError: The server does not compare them.
        """
        tried = False
        with self._user_errors():
            for _ in range(ATTEMPTS):
                found, etag = self._find(name)
                if found != expected:
                    return tried and found == content  # an earlier attempt of a request may have succeeded
                self._check_conditions()
                if self._put_if(name, content, **({"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag})):
                    return True
                tried = True
        raise UserError(f"{self.uri}/{name} is being written by others all the time: try again later.")

    def put(self, source: Path, name: str) -> None:
        """See `Folder.put`."""
        with self._user_errors(), source.open("rb") as file:
            self._client.upload_fileobj(file, self._bucket_name, self._key(name))

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        with self._user_errors():
            for key in self._objects(name):
                self._client.delete_object(Bucket=self._bucket_name, Key=key)

    def _list(self, prefix: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket_name, Prefix=prefix):
            for listed in page.get("Contents", []):
                yield listed["Key"], listed

    def _info(self, listed: dict[str, Any]) -> FileInfo:
        return FileInfo(listed["Size"], listed["LastModified"])

    def _download(self, listed: dict[str, Any], target: Path) -> None:
        with target.open("wb") as file:
            self._get(listed["Key"], file)

    def _read_range(self, name: str, start: int, end: int) -> bytes:
        content = io.BytesIO()
        self._get(self._key(name), content, Range=f"bytes={start}-{end - 1}")
        return content.getvalue()

    def _find(self, name: str) -> tuple[bytes | None, str | None]:
        """Return a file's content and its ETag; None for both if the file does not exist."""
        content = io.BytesIO()
        try:
            etag = self._get(self._key(name), content)
        except ClientError as error:
            if _code(error) == "NoSuchKey":
                return None, None
            raise
        return content.getvalue(), etag

    def _get(self, key: str, file: IO[bytes], **options: str) -> str:
        """Copy an object into a local file, from its start again if an answer breaks off, and return its ETag."""
        for left in reversed(range(ATTEMPTS)):
            file.seek(0)
            file.truncate()
            answer = self._client.get_object(Bucket=self._bucket_name, Key=key, **options)
            try:
                shutil.copyfileobj(answer["Body"], file)
                break
            except _BROKEN_ANSWER:
                if not left:
                    raise
        etag: str = answer["ETag"]
        return etag

    def _put_if(self, name: str, content: bytes, **condition: str) -> bool:
        """Write a file on a condition, and return whether the condition held."""
        try:
            self._client.put_object(Bucket=self._bucket_name, Key=self._key(name), Body=content, **condition)
        except ClientError as error:
            if _status(error) == 501 or _code(error) in ("NotImplemented", "InvalidArgument"):
                raise self._no_conditions() from None
            if _status(error) in (409, 412) or _code(error) == "NoSuchKey":  # changed, or removed, in the meantime
                return False
            raise
        return True

    def _check_conditions(self) -> None:
        """Check that the server refuses a write whose condition does not hold.

        Some servers ignore conditions: there the last of several writers would win, and none of them would notice.
        """
        created = self._put_if(CONDITIONS_CHECK, b"", IfNoneMatch="*")
        created_again = created and self._put_if(CONDITIONS_CHECK, b"", IfNoneMatch="*")
        if created_again or self._put_if(CONDITIONS_CHECK, b"", IfMatch=_NO_OBJECT_HAS_IT):
            raise self._no_conditions()

    def _no_conditions(self) -> UserError:
        return UserError(
            f"The server of {self.uri} has no conditional writes, so one promotion could silently undo another: use a "
            f"server that has them (If-Match and If-None-Match of PutObject), such as Amazon S3, MinIO, Ceph, or "
            f"SeaweedFS from 3.97 on."
        )

    @contextmanager
    def _user_errors(self, missing: str = "") -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise _answer_error(self.uri, error, missing) from None
        except _NO_CREDENTIALS:
            raise UserError(
                f"There are no credentials for {self.uri}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and "
                f"AWS_ENDPOINT_URL_S3 for a server other than Amazon's."
            ) from None
        except (NoConnection, HTTPClientError, IncompleteReadError) as error:
            if "Invalid header value" in str(error):  # it contains the key
                raise _wrong_credentials(self.uri, "a line break in the key") from None
            raise _unreachable(self.uri, type(error).__name__) from None
        except BotoCoreError as error:
            raise UserError(
                f"{self.uri} cannot be used ({type(error).__name__}): correct the bucket's name or the "
                f"environment's AWS settings."
            ) from None
        except ValueError as error:
            if "Invalid endpoint" not in str(error):
                raise
            raise UserError(
                "AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is not a URL: write it as https://HOST or http://HOST:PORT."
            ) from None


@lru_cache(maxsize=1)
def _client(settings: frozenset[tuple[str, str]]) -> Any:
    """Return a client for the settings in the environment. It may be shared by threads, and is slow to create.

    botocore does not read AWS_REGION, though the other clients of S3 do.
    """
    # The mode "standard" has one budget for the retries of all requests, which a short outage uses up if many meet it.
    retries = {"mode": "legacy", "total_max_attempts": ATTEMPTS}
    config = Config(
        connect_timeout=ATTEMPT_SECONDS,
        read_timeout=ATTEMPT_SECONDS,
        retries=retries,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return Session(region_name=dict(settings).get("AWS_REGION")).client("s3", config=config)


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _answer_error(uri: str, error: ClientError, missing: str) -> UserError:
    """Return the error for a server's answer."""
    code, status = _code(error), _status(error)
    if code == "NoSuchKey" and missing:
        return UserError(missing)
    if code == "NoSuchBucket":
        return UserError(f"The bucket of {uri} does not exist: create it or correct the URI.")
    if status == 507 or code in _FULL:
        return no_space_error(uri)
    if code in _WRONG_CREDENTIALS:
        return _wrong_credentials(uri, code)
    if status in (401, 403):
        return UserError(
            f"{uri} may not be used with these credentials: let them list the bucket, and read, write and delete its "
            f"objects."
        )
    return _unreachable(uri, f"HTTP {status}" if code in ("", str(status)) else f"HTTP {status}, {code}")


def _wrong_credentials(uri: str, reason: str) -> UserError:
    return UserError(
        f"{uri} does not accept the credentials ({reason}): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which "
        f"must not end with a line break."
    )


def _unreachable(uri: str, reason: str) -> UserError:
    return UserError(f"{uri} cannot be reached ({reason}): check AWS_ENDPOINT_URL_S3, or try again later.")
