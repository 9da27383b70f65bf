"""The explorer's settings: environment variables, read once at startup."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from steam_recsys.database.urls import asyncpg_arguments, connection_parameters
from steam_recsys.errors import UserError
from steam_recsys.secrets import register_secret

PREFIX = "EXPLORER_"

_COVER_URL = re.compile(
    r"https?://[a-z0-9.-]+(:[0-9]+)?/[!#$%&*+./0-9=?@A-Z_a-z~-]*\{game_id\}[!#$%&*+./0-9=?@A-Z_a-z~-]*"
)


class Settings(BaseSettings):
    """Settings, named like their variables in lower case without EXPLORER_.

    Attributes:
        database_url: URL of the shop's database, for a role that may only read.
        store: Model store, a path, gs://bucket/store or s3://bucket/store; without it posted histories get no answer.
        cache: Parent of the folder for the model's arrays, which the workers share while the explorer runs; by default
            the folder for temporary files.
        operator_token: Token that a rollback requires; without it rolling back is impossible.
        operator_database_url: URL of the same database, for the role that publishes; only for rolling back.
        publish_to: Destinations of versions; a rollback switches all of them.
        mongodb_url: URL of the MongoDB that is published to.
        host, port: Address to listen on; port 0 takes a free one.
        trusted_proxies: Comma-separated addresses of proxies whose X-Forwarded-For names the client.
        workers: Number of processes that answer.
        pool_size: Most database connections per worker.
        query_seconds: Time after which the database cancels a query.
        largest_limit: Most games, users or reviews in one answer.
        body_bytes: Largest body of a request.
        cover_url: Address of a game's picture at the shop, with `{game_id}` for its id; without it tiles are drawn.
        requests_per_second: Mean rate of one client address per worker; twice as many are allowed at once.
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
    cover_url: str | None = None
    requests_per_second: float = Field(default=100.0, gt=0)

    @field_validator("database_url", "operator_token", "operator_database_url", "mongodb_url", mode="before")
    @classmethod
    def _strip(cls, value: Any) -> Any:
        """Remove white space, such as the line break at the end of a file that became a Kubernetes secret."""
        return value.strip() if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _check_url(cls, value: SecretStr) -> SecretStr:
        asyncpg_arguments(value.get_secret_value())
        return value

    @field_validator("operator_database_url")
    @classmethod
    def _check_operator_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            connection_parameters(value.get_secret_value())
        return value

    @field_validator("cover_url")
    @classmethod
    def _check_cover_url(cls, value: str | None) -> str | None:
        if value is not None and not _COVER_URL.fullmatch(value):
            raise PydanticCustomError("cover_url", "it must be like https://shop.example/covers/{game_id}.jpg")
        return value

    @model_validator(mode="after")
    def _check_rollback(self) -> Self:
        """Refuse settings with which rolling back would fail, or be silently impossible."""
        if self.operator_token is not None and self.operator_database_url is None:
            raise PydanticCustomError(
                "no_operator_url",
                "EXPLORER_OPERATOR_TOKEN is set without EXPLORER_OPERATOR_DATABASE_URL: set both or neither.",
            )
        if self.publish_to != "postgresql" and self.mongodb_url is None:
            raise PydanticCustomError(
                "no_mongodb_url",
                "EXPLORER_PUBLISH_TO is {publish_to} without EXPLORER_MONGODB_URL: set the URL too.",
                {"publish_to": self.publish_to},
            )
        return self

    @property
    def cover_origin(self) -> str | None:
        """The only other site that pages load pictures from; None without covers."""
        return None if self.cover_url is None else "/".join(self.cover_url.split("/")[:3])

    @classmethod
    def load(cls) -> Settings:
        """Read the settings; secrets among them are masked from now on.

        Raises:
            UserError: A setting is missing, unknown or invalid; the message does not show its value.
        """
        for variable in os.environ:
            if variable.startswith(PREFIX) and variable.removeprefix(PREFIX).lower() not in cls.model_fields:
                names = ", ".join(PREFIX + name.upper() for name in cls.model_fields)
                raise UserError(f"Unknown setting {variable}: the settings are {names}.")
        try:
            settings = cls()  # type: ignore[call-arg]  # from the environment
        except ValidationError as error:
            raise settings_error(PREFIX, error) from None
        for value in (getattr(settings, name) for name in cls.model_fields):
            if isinstance(value, SecretStr):
                register_secret(value.get_secret_value())
        return settings


def settings_error(prefix: str, error: ValidationError) -> UserError:
    """Return the first error of settings as one sentence without their values.

    Args:
        prefix: Prefix of the settings' variables.
        error: The errors.
    """
    first = error.errors()[0]
    reason = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:  # of several settings: a sentence that names them
        return UserError(reason)
    name = prefix + str(first["loc"][0]).upper()
    if first["type"] == "missing":
        return UserError(f"{name} is not set: set it in the environment.")
    return UserError(f"{name} is invalid ({reason}): set it in the environment.")
