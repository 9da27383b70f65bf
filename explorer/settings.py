"""The explorer's settings: environment variables, read once at the start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from steam_recsys.database.url import asyncpg_arguments, connection_parameters
from steam_recsys.errors import UserError

PREFIX = "EXPLORER_"


class Settings(BaseSettings):
    """Settings by the names of their variables, without EXPLORER_ and in small letters.

    Attributes:
        database_url: of the shop's database, by a role that may only read.
        store: the model store, a path or gs://bucket/store; without it nothing is recommended to posted histories.
        cache: where a folder is made for the model's arrays, which workers share, as long as the explorer runs; that of
            temporary files where it is not set.
        operator_token: what whoever rolls back must show; nobody can where it is not set.
        operator_database_url: of the same database, by the role that publishes; only for rolling back.
        publish_to: where versions are published, all of which a rollback switches.
        mongodb_url: of the MongoDB that is published to.
        host, port: where to listen; port 0 takes a free one.
        trusted_proxies: addresses, with commas between them, whose X-Forwarded-For says who asks; nobody's else.
        workers: processes that answer.
        pool_size: connections to the database, at most, of each of them.
        query_seconds: after which the database gives up on a query.
        largest_limit: of games, users or histories that one request may ask for.
        body_bytes: that a request may bring.
        requests_per_second: of one client address to one worker, on average; twice as many at once.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", env_ignore_empty=True)

    database_url: SecretStr
    store: str | None = None
    cache: Path | None = None
    operator_token: SecretStr | None = Field(default=None, min_length=16)
    operator_database_url: SecretStr | None = None
    publish_to: Literal["postgresql", "mongodb", "both"] = "postgresql"
    mongodb_url: SecretStr | None = None
    host: str = "127.0.0.1"
    port: int = Field(default=8600, ge=0, le=65535)
    trusted_proxies: str = ""
    workers: int = Field(default=2, ge=1)
    pool_size: int = Field(default=4, ge=1)
    query_seconds: float = Field(default=2.0, gt=0)
    largest_limit: int = Field(default=100, ge=1)
    body_bytes: int = Field(default=1 << 16, ge=1)
    requests_per_second: float = Field(default=100.0, gt=0)

    @field_validator("database_url")
    @classmethod
    def _is_a_url_for_asyncpg(cls, value: SecretStr) -> SecretStr:
        asyncpg_arguments(value.get_secret_value())
        return value

    @field_validator("operator_database_url")
    @classmethod
    def _is_a_postgresql_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            connection_parameters(value.get_secret_value())
        return value

    @classmethod
    def load(cls) -> Settings:
        """Read them.

        Raises:
            UserError: one is missing, unknown or wrong; the sentence does not show its value.
        """
        for variable in os.environ:
            if variable.startswith(PREFIX) and variable.removeprefix(PREFIX).lower() not in cls.model_fields:
                names = ", ".join(PREFIX + name.upper() for name in cls.model_fields)
                raise UserError(f"There is no setting {variable}: the settings are {names}.")
        try:
            return cls()  # type: ignore[call-arg]  # from the environment
        except ValidationError as error:
            first = error.errors()[0]
            name = PREFIX + str(first["loc"][0]).upper()
            raise UserError(f"{name} is not as it must be ({first['msg']}): set it in the environment.") from None
