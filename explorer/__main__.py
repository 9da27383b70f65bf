"""`python -m explorer`: serve the pages and the API, with settings from the environment (explorer/settings.py)."""

import sys

import uvicorn

from components.shared.errors import UserError
from explorer.app import create_app
from explorer.settings import Settings


def application() -> object:
    """The application of this process's settings."""
    return create_app(Settings.load())


def main() -> None:
    """Serve until told to stop."""
    try:
        settings = Settings.load()
    except UserError as error:
        sys.exit(f"explorer: {error}")
    uvicorn.run(
        "explorer.__main__:application",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        access_log=False,
        server_header=False,
        log_level="warning",
    )


if __name__ == "__main__":
    main()
