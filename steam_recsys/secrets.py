"""Secrets by reference: an environment variable, or a secret of Google Cloud's Secret Manager."""

from __future__ import annotations

import os
import re
from typing import Any

from steam_recsys.errors import UserError

SECRET_MANAGER_SCHEME = "sm://"

ENDPOINT_VARIABLE = "SECRET_MANAGER_ENDPOINT"
"""The environment variable for another server than Google's, such as a private endpoint."""

_NAME = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")


def resolve_secret(reference: str) -> str:
    """Return the secret that a reference names.

    Parameters name secrets and never hold them: the value exists only inside the step.

    Args:
        reference: `env:NAME` or `sm://projects/P/secrets/S/versions/V`.

    Raises:
        UserError: The reference has another form, or its secret does not exist or cannot be read.

    Example:
        >>> resolve_secret("env:DATABASE_URL")
        'postgresql://steam@localhost/steam'
    """
    if reference.startswith(SECRET_MANAGER_SCHEME):
        return _read_secret(reference.removeprefix(SECRET_MANAGER_SCHEME))
    scheme, _, name = reference.partition(":")
    if scheme != "env" or not name:
        raise UserError(
            "A database or a webhook is named as env:NAME, after the environment variable that holds its URL, or as "
            "sm://projects/P/secrets/S/versions/V, after a secret of Secret Manager."
        )
    value = os.environ.get(name)
    if not value:
        raise UserError(
            f"The environment variable {name} is not set: set it to the URL, postgresql://… or mongodb://… of a "
            f"database, https://… of a webhook."
        )
    return value


def google_client(client: type[Any], variable: str, endpoint: str | None = None) -> Any:
    """Return a client of a Google Cloud service.

    Args:
        client: Class of the client.
        variable: Environment variable that names another server, such as a private endpoint.
        endpoint: Host of the service, if it differs from region to region.
    """
    from google.auth.credentials import AnonymousCredentials

    server = os.environ.get(variable)
    if server is None:
        return client(client_options={"api_endpoint": endpoint} if endpoint else None)
    options: dict[str, Any] = {"client_options": {"api_endpoint": server}, "transport": "rest"}
    if server.startswith("http://"):  # credentials never cross the network unencrypted
        options["credentials"] = AnonymousCredentials()
    return client(**options)


def _read_secret(name: str) -> str:
    # Slow to import, and needed on Google Cloud only.
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.secretmanager import SecretManagerServiceClient
    from requests.exceptions import ConnectionError as Unreachable

    if not _NAME.fullmatch(name):
        raise UserError(f"sm://{name} is not a secret: write it as sm://projects/P/secrets/S/versions/V.")
    try:
        service = google_client(SecretManagerServiceClient, ENDPOINT_VARIABLE)
        payload: bytes = service.access_secret_version(name=name, timeout=30).payload.data
    except NotFound:
        raise UserError(f"The secret sm://{name} does not exist: create it or correct its name.") from None
    except Forbidden:
        raise UserError(f"This account may not read sm://{name}: grant it Secret Manager Secret Accessor.") from None
    except (GoogleAuthError, GoogleAPICallError, RetryError, Unreachable) as error:
        raise UserError(f"The secret sm://{name} cannot be read now ({type(error).__name__}): try again.") from None
    return payload.decode().strip()
