"""What only an operator may do: go back to a publication that is kept, with the operator's token.

The token comes with each request, in a header or a form's field, never in a cookie: a page of somebody else's cannot
send it. A browser says where a request comes from besides; from elsewhere it is refused.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from typing import Any
from urllib.parse import parse_qs

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.security import HTTPBearer

from explorer import description
from explorer.api import answered
from explorer.problems import Problem
from explorer.security import Rates, client_of
from explorer.settings import Settings
from steam_recsys.errors import UserError

LOG = logging.getLogger("explorer")

router = APIRouter(tags=["operate"])


def token_rates() -> Rates:
    """How often a client may try a token."""
    return Rates(per_second=0.1, burst=5)


@router.post(
    "/api/rollback",
    summary="Go back to a publication",
    dependencies=[Depends(HTTPBearer(scheme_name="operator", auto_error=False))],
    **description.rollback(),
)
async def rollback(request: Request) -> Response:
    """Make a kept publication current again: the one named, or the one before the current."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    _authorise(request, token if scheme.lower() == "bearer" else "")
    version = _version_of(await request.body())
    return answered(request, {"version": await _roll_back(request.app.state.settings, version)})


@router.post("/rollback", include_in_schema=False)
async def rollback_form(request: Request) -> Response:
    """The same from a page's form, with the fields `token` and `version`; the overview is shown next."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    _authorise(request, fields.get("token", [""])[0])
    await _roll_back(request.app.state.settings, fields.get("version", [""])[0] or None)
    return RedirectResponse("/overview", status_code=303)


def can_roll_back(settings: Settings) -> bool:
    """Whether anybody can roll back here at all."""
    return settings.operator_token is not None and settings.operator_database_url is not None


def _authorise(request: Request, token: str) -> None:
    settings: Settings = request.app.state.settings
    if not can_roll_back(settings) or settings.operator_token is None:
        raise Problem(404, "Nobody can roll back here: see EXPLORER_OPERATOR_TOKEN in docs/explorer.md.")
    origin = request.headers.get("origin")
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
        origin is not None and origin.partition("://")[2] != request.headers.get("host")
    ):
        raise Problem(403, "This request comes from another site: roll back from the explorer's own page.")
    if not request.app.state.token_rates.allows(client_of(request.scope), time.monotonic()):
        raise Problem(429, "Too many tokens were tried: wait a minute, then try again.", {"Retry-After": "60"})
    if not hmac.compare_digest(token.encode(), settings.operator_token.get_secret_value().encode()):
        LOG.warning("a rollback was asked for with a wrong token")
        raise Problem(403, "This is not the operator's token: look it up where the explorer is configured.")


async def _roll_back(settings: Settings, version: str | None) -> str:
    from steam_recsys.publications.destinations import DestinationConfig
    from steam_recsys.publications.rollback import rollback  # what publishes is not needed by whoever only reads

    places = DestinationConfig("env:EXPLORER_OPERATOR_DATABASE_URL", settings.publish_to, "env:EXPLORER_MONGODB_URL")
    try:
        current = await asyncio.to_thread(rollback, places, version)
    except UserError as error:
        raise Problem(409, str(error)) from None
    LOG.warning("an operator made publication %s current", current)
    return current


def _version_of(body: bytes) -> str | None:
    content: Any = {}
    if body:
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError:
            content = None
    version = content.get("version") if isinstance(content, dict) else 0
    if version is not None and not (isinstance(version, str) and version.isprintable()):
        raise Problem(400, 'The body must be empty or a JSON object, as {"version": "20260101-0a1b2c3d"}.')
    return version
