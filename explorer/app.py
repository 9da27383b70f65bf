"""The application: its parts put together."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from threadpoolctl import threadpool_limits

from explorer import api, description, health, operate, overview, pages, reference, try_it
from explorer.counters import Counters
from explorer.live import Live
from explorer.problems import Problem
from explorer.refused import error_page
from explorer.security import Guard
from explorer.settings import Settings
from explorer.shop import Shop

FOLDER = Path(__file__).parent
SPOKEN_TO_BY_PROGRAMS = ("/api/", "/healthz", "/readyz", "/metrics")


ROUTERS = (api.router, health.router, operate.router, reference.router, pages.router, try_it.router, overview.router)


def routes() -> list[APIRoute]:
    """What the application answers to, but for static files and the API's description."""
    return [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]


def from_environment() -> FastAPI:
    """The application of a worker: its answers have one thread each, so that workers do not wait for each other."""
    threadpool_limits(1, "blas")
    return create_app(Settings.load())


def create_app(settings: Settings) -> FastAPI:
    """The application, with `settings`, `shop`, `live`, `token_rates`, `counters` and `ready_until` in its state."""
    own = tempfile.TemporaryDirectory(prefix="steam-recsys-explorer-")
    cache = settings.cache or Path(own.name)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await app.state.shop.open()
        following = asyncio.create_task(app.state.live.follow())
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            await app.state.shop.close()
            own.cleanup()

    app = FastAPI(
        title="Steam RecSys",
        description=api.DESCRIPTION,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # to an absolute address, of a host that whoever asks may choose
        lifespan=lifespan,
    )
    for router in ROUTERS:
        app.include_router(router)
    app.openapi_schema = description.limited(app.openapi(), settings.largest_limit)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.state.settings = settings
    app.state.shop = Shop(settings)
    app.state.live = Live(settings, app.state.shop, cache)
    app.state.token_rates = operate.token_rates()
    app.state.counters = Counters(cache, [route.path for route in routes()])
    app.state.ready_until = -math.inf
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_middleware(Guard, settings=settings, counters=app.state.counters, show=shown)
    return app


def shown(request: Request, problem: Problem) -> Response:
    """What went wrong, as JSON to a program, as a page to people."""
    if request.url.path.startswith(SPOKEN_TO_BY_PROGRAMS):
        return api.problem_response(problem)
    response = error_page(request, problem.status, problem.sentence)
    response.headers.update(problem.headers)
    return response


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return shown(request, error)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentences = {404: "There is no such page.", 405: "This address is not asked in this way."}
    sentence = sentences.get(error.status_code, f"{error.detail}.")
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # see `Guard`
    return shown(request, Problem(error.status_code, sentence, headers))
