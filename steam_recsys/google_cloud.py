"""Clients of Google Cloud's services, which can be pointed at another server."""

from __future__ import annotations

import os
from typing import Any


def service_client(client: type[Any], variable: str, endpoint: str | None = None) -> Any:
    """A client of a service, at its own address.

    Args:
        client: the client's class.
        variable: the environment variable that names another server, as a private endpoint's.
        endpoint: the host of the service, where it differs from region to region.
    """
    from google.auth.credentials import AnonymousCredentials

    other = os.environ.get(variable)
    if other is None:
        return client(client_options={"api_endpoint": endpoint} if endpoint else None)
    options: dict[str, Any] = {"client_options": {"api_endpoint": other}, "transport": "rest"}
    if other.startswith("http://"):  # no credentials go over the network in the clear
        options["credentials"] = AnonymousCredentials()
    return client(**options)
