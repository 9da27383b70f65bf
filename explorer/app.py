"""The application, assembled from its parts."""

from __future__ import annotations

import asyncio
import gc
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.types import Scope
from threadpoolctl import threadpool_limits

from explorer import api, health, overview, pages
from explorer.errors import ProblemDetails, add_error_handlers
from explorer.health import Readiness, RequestMetrics
from explorer.live_model import LiveModel
from explorer.middleware import Guard
from explorer.overview import Operator
from explorer.repository import Repository
from explorer.settings import Settings
from explorer.templating import asset

FOLDER = Path(__file__).parent

GC_ALLOCATIONS = 20_000
"""Objects that a worker allocates between two searches for cycles; Python's default is 700."""


class Application(FastAPI):
    """The application. Its OpenAPI description has one schema for all errors."""

    def openapi(self) -> dict[str, Any]:
        """Return the API's OpenAPI description."""
        described = super().openapi()
        described["components"]["schemas"]["ProblemDetails"] = ProblemDetails.model_json_schema()
        return described


class Assets(StaticFiles):
    """Static files; at an address with the digest of its content a file never changes, so browsers keep it."""

    def file_response(
        self, full_path: str | os.PathLike[str], stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        """Return a file's response; see `StaticFiles`."""
        response = super().file_response(full_path, stat_result, scope, status_code)
        asked = f"{scope['path']}?{scope['query_string'].decode('latin-1')}"
        is_current = asked == asset(Path(full_path).name)
        response.headers["cache-control"] = "public, max-age=31536000, immutable" if is_current else "no-cache"
        return response


def create_routers(largest_limit: int) -> list[APIRouter]:
    """Return all routes, except static files and the API's description."""
    return [
        api.create_router(largest_limit),
        overview.rollback_router,
        health.router,
        api.api_docs_router,
        pages.create_router(largest_limit),
        overview.router,
    ]


def create_app(settings: Settings) -> FastAPI:
    """Return the application; its parts are in `app.state`, for `explorer.dependencies`."""
    repository = Repository(settings)
    live_model = LiveModel(settings, repository)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with _cache_folder(settings) as cache:
            await repository.open()
            following = asyncio.create_task(live_model.follow(Path(cache)))
            try:
                yield
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await repository.close()

    app = Application(
        title="Steam RecSys",
        description=api.DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # would redirect to the host that the request names
        strict_content_type=False,
        lifespan=lifespan,
    )
    for router in create_routers(settings.largest_limit):
        app.include_router(router)
    app.mount("/static", Assets(directory=FOLDER / "static"), name="static")
    app.state.settings = settings
    app.state.repository = repository
    app.state.live_model = live_model
    app.state.operator = Operator(settings)
    app.state.metrics = RequestMetrics()
    app.state.readiness = Readiness()
    add_error_handlers(app)
    app.add_middleware(Guard, settings=settings, metrics=app.state.metrics)
    return app


def _cache_folder(settings: Settings) -> AbstractContextManager[str | Path]:
    """Return the folder for the model's arrays: the one of the settings, or a new one that is removed at the end."""
    if settings.cache is not None:
        return nullcontext(settings.cache)
    return tempfile.TemporaryDirectory(prefix="steam-recsys-explorer-")


def create_worker_app() -> FastAPI:
    """Return a worker's application; BLAS has one thread, so that workers do not wait for each other."""
    threadpool_limits(1, "blas")
    app = create_app(Settings.load())
    # Requests leave hardly any cycles: rarer collections, which skip the program itself, take less of their time.
    gc.freeze()
    gc.set_threshold(GC_ALLOCATIONS)
    return app
