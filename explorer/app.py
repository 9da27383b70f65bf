"""The application: its parts put together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from explorer import api, health, operate, pages
from explorer.live import Live
from explorer.problems import Problem
from explorer.security import Guard
from explorer.settings import Settings
from explorer.shop import Shop

FOLDER = Path(__file__).parent


def create_app(settings: Settings) -> FastAPI:
    """The application, with `shop`, `live` and `settings` in its state."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await app.state.shop.open()
        try:
            yield
        finally:
            await app.state.shop.close()

    app = FastAPI(
        title="Steam RecSys", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", lifespan=lifespan
    )
    app.state.settings = settings
    app.state.shop = Shop(settings)
    app.state.live = Live(settings, app.state.shop)
    for router in (api.router, health.router, operate.router, pages.router):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"), name="static")
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_exception)
    app.add_middleware(Guard)
    return app


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _shown(request, error)


async def _http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    sentence = {404: "There is no such page.", 405: "This page is not asked in this way."}.get(
        error.status_code, f"{error.detail}."
    )
    return _shown(request, Problem(error.status_code, sentence, dict(error.headers or {})))


def _shown(request: Request, problem: Problem) -> Response:
    if request.url.path.startswith(("/api/", "/healthz", "/readyz", "/metrics")):
        return api.problem_response(problem)
    response = pages.error_page(request, problem.status, problem.sentence)
    response.headers.update(problem.headers)
    return response
