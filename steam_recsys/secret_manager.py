"""Secrets of Google Cloud's Secret Manager."""

from __future__ import annotations

import re

from steam_recsys.errors import UserError
from steam_recsys.google_cloud import service_client

ENDPOINT_VARIABLE = "SECRET_MANAGER_ENDPOINT"
"""The environment variable that names another server than Google's, as a private endpoint's, or a test's."""

_NAME = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")


def read_secret(name: str) -> str:
    """The value of `projects/P/secrets/S/versions/V`.

    Raises:
        UserError: the name has another form, the secret is not there, or this account may not read it.
    """
    # Slow to import, and needed on Google Cloud only.
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.secretmanager import SecretManagerServiceClient
    from requests.exceptions import ConnectionError as Unreachable

    if not _NAME.fullmatch(name):
        raise UserError(f"sm://{name} names no secret: write it as sm://projects/P/secrets/S/versions/V.")
    try:
        client = service_client(SecretManagerServiceClient, ENDPOINT_VARIABLE)
        payload: bytes = client.access_secret_version(name=name, timeout=30).payload.data
    except NotFound:
        raise UserError(f"The secret sm://{name} does not exist: create it or correct its name.") from None
    except Forbidden:
        raise UserError(f"This account may not read sm://{name}: grant it Secret Manager Secret Accessor.") from None
    except (GoogleAuthError, GoogleAPICallError, RetryError, Unreachable) as error:
        raise UserError(f"The secret sm://{name} cannot be read now ({type(error).__name__}): try again.") from None
    return payload.decode().strip()
