"""`python -m explorer`: serve the pages and the API. Settings are environment variables: see explorer/settings.py."""

import logging.config
import os
import sys
import tempfile

from components.shared.errors import UserError
from explorer.settings import Settings
from explorer.workers import LOGGING, listen, run


def main() -> None:
    """Serve until told to stop, by SIGTERM or Ctrl-C."""
    logging.config.dictConfig(LOGGING)
    try:
        settings = Settings.load()
        sockets = listen(settings.host, settings.port, settings.workers)
    except UserError as error:
        sys.exit(f"explorer: {error}")
    host, port = sockets[0].getsockname()[:2]
    print(f"explorer: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    with tempfile.TemporaryDirectory(prefix="steam-recsys-explorer-") as shared:
        if settings.cache is None:
            os.environ["EXPLORER_CACHE"] = shared  # for the workers, which read the settings themselves
        run(sockets, settings.trusted_proxies)


if __name__ == "__main__":
    main()
