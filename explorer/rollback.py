"""Rolling back to a kept publication, with the operator's token.

The token comes with each request, in a header or a form field and never in a cookie, so another site's page cannot send
it. In addition, requests that a browser marks as coming from another site are refused.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from explorer.api import json_response
from explorer.dependencies import SettingsDep
from explorer.errors import error_responses
from explorer.filters import RollbackTarget
from explorer.middleware import RateLimiter, client_of
from explorer.schemas import CurrentVersion
from explorer.settings import Settings
from steam_recsys.errors import UserError

LOG = logging.getLogger("explorer")

router = APIRouter(tags=["rollback"])


class Operator:
    """Checks that a request comes from the operator."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.rates = RateLimiter(per_second=0.1, burst=5)

    @property
    def is_configured(self) -> bool:
        """Whether rolling back is possible."""
        return self._settings.operator_token is not None and self._settings.operator_database_url is not None

    def authorise(self, request: Request, token: str) -> None:
        """Raise `HTTPException` unless the request has the token and comes from this site."""
        expected = self._settings.operator_token
        if not self.is_configured or expected is None:
            raise HTTPException(404, "Rolling back is not configured: see EXPLORER_OPERATOR_TOKEN in docs/explorer.md.")
        origin = request.headers.get("origin")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin.partition("://")[2] != request.headers.get("host")
        ):
            raise HTTPException(403, "This request comes from another site: roll back on the explorer's own page.")
        if not self.rates.allows(client_of(request.scope), time.monotonic()):
            raise HTTPException(429, "Too many tokens were tried. Try again in one minute.", {"Retry-After": "60"})
        if not hmac.compare_digest(token.encode(), expected.get_secret_value().encode()):
            LOG.warning("A rollback was requested with a wrong token.")
            raise HTTPException(403, "This is not the operator's token: use the value of EXPLORER_OPERATOR_TOKEN.")


async def get_operator(request: Request) -> Operator:
    """Return the application's check of the operator."""
    operator: Operator = request.app.state.operator
    return operator


OperatorDep = Annotated[Operator, Depends(get_operator)]
BearerDep = Annotated[
    HTTPAuthorizationCredentials | None, Depends(HTTPBearer(scheme_name="operator", auto_error=False))
]


async def authorise(request: Request, operator: OperatorDep, credentials: BearerDep) -> None:
    """Raise `HTTPException` unless the request has the operator's token as a bearer token."""
    operator.authorise(request, credentials.credentials if credentials else "")


@router.post(
    "/api/rollback",
    summary="Roll back to a publication",
    response_model=CurrentVersion,
    response_description="The publication that is current now",
    responses=error_responses(400, 403, 404, 408, 409, 413, 422, 429),
    dependencies=[Depends(authorise)],
)
async def rollback(request: Request, settings: SettingsDep, target: RollbackTarget | None = None) -> Response:
    """Make a kept publication current again: the named one, or the one before the current one."""
    version = await _roll_back(settings, target.version if target else None)
    return json_response(request, CurrentVersion(version))


@router.post("/rollback", include_in_schema=False)
async def rollback_form(request: Request, settings: SettingsDep, operator: OperatorDep) -> Response:
    """Do the same for a page's form with the fields `token` and `version`, then show the overview."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    operator.authorise(request, fields.get("token", [""])[0])
    await _roll_back(settings, fields.get("version", [""])[0] or None)
    return RedirectResponse("/overview", status_code=303)


async def _roll_back(settings: Settings, version: str | None) -> str:
    # Imported here because only a rollback needs what publishes.
    from steam_recsys.publications.destinations import DestinationConfig
    from steam_recsys.publications.rollback import rollback

    destinations = DestinationConfig(
        "env:EXPLORER_OPERATOR_DATABASE_URL", settings.publish_to, "env:EXPLORER_MONGODB_URL"
    )
    try:
        current = await asyncio.to_thread(rollback, destinations, version)
    except UserError as error:
        raise HTTPException(409, str(error)) from None
    LOG.warning("The operator made publication %s current.", current)
    return current
