"""What endpoints depend on: the application's settings, repository and model."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from explorer.live_model import LiveModel
from explorer.repository import Repository
from explorer.settings import Settings

# All are coroutines: FastAPI would call plain functions in a thread.


async def get_settings(request: Request) -> Settings:
    """Return the application's settings."""
    settings: Settings = request.app.state.settings
    return settings


async def get_repository(request: Request) -> Repository:
    """Return the repository of the shop's database."""
    repository: Repository = request.app.state.repository
    return repository


async def get_live_model(request: Request) -> LiveModel:
    """Return the model that answers posted histories."""
    live_model: LiveModel = request.app.state.live_model
    return live_model


SettingsDep = Annotated[Settings, Depends(get_settings)]
RepositoryDep = Annotated[Repository, Depends(get_repository)]
LiveModelDep = Annotated[LiveModel, Depends(get_live_model)]
