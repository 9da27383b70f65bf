"""`python -m explorer`: serve the pages and the API. Settings are environment variables: see explorer/settings.py."""

import logging.config
import os
import sys
import tempfile
from pathlib import Path

from explorer.server import LOGGING, listen, serve
from explorer.settings import Settings
from steam_recsys.errors import UserError
from steam_recsys.logging import mask_output
from steam_recsys.secrets import mask


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    logging.config.dictConfig(LOGGING)
    mask_output()
    try:
        settings = Settings.load()
        cache = _own_folder(settings.cache)
        listener = listen(settings.host, settings.port)
    except UserError as error:
        sys.exit(f"explorer: {mask(str(error))}")
    host, port = listener.getsockname()[:2]
    with cache as folder:
        print(f"explorer: http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
        # Workers read both from the environment.
        for variable, name in (("EXPLORER_CACHE", "model"), ("PROMETHEUS_MULTIPROC_DIR", "metrics")):
            (Path(folder) / name).mkdir()
            os.environ[variable] = str(Path(folder) / name)
        serve(listener, settings.workers, settings.trusted_proxies)


def _own_folder(parent: Path | None) -> tempfile.TemporaryDirectory[str]:
    """Return a new folder, without files of an earlier start or version."""
    try:
        return tempfile.TemporaryDirectory(prefix="steam-recsys-explorer-", dir=parent)
    except OSError as error:
        raise UserError(
            f"Cannot create a folder in {parent or 'the folder for temporary files'} ({error.strerror}): "
            "set EXPLORER_CACHE."
        ) from None


if __name__ == "__main__":
    main()
