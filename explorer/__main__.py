"""`python -m explorer`: serve the pages and the API. Settings are environment variables: see explorer/settings.py."""

import logging.config
import os
import sys
import tempfile
from pathlib import Path

from explorer.settings import Settings
from explorer.workers import LOGGING, listen, run
from steam_recsys.errors import UserError


def main() -> None:
    """Serve until told to stop, by SIGTERM or Ctrl-C."""
    logging.config.dictConfig(LOGGING)
    try:
        settings = Settings.load()
        own = _own_folder(settings.cache)
        sockets = listen(settings.host, settings.port, settings.workers)
    except UserError as error:
        sys.exit(f"explorer: {error}")
    host, port = sockets[0].getsockname()[:2]
    with own as shared:
        print(f"explorer: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        os.environ["EXPLORER_CACHE"] = shared  # for the workers, which read the settings themselves
        run(sockets, settings.trusted_proxies)


def _own_folder(parent: Path | None) -> tempfile.TemporaryDirectory[str]:
    """A folder that nobody else uses, and that nothing of an earlier version or of an earlier start is in."""
    try:
        return tempfile.TemporaryDirectory(prefix="steam-recsys-explorer-", dir=parent)
    except OSError as error:
        raise UserError(
            f"No folder can be made in {parent or tempfile.gettempdir()} ({error.strerror}): set EXPLORER_CACHE."
        ) from None


if __name__ == "__main__":
    main()
