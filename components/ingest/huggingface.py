"""The raw files from Hugging Face."""

from __future__ import annotations

from pathlib import Path

from components.ingest.raw_files import RAW_FILES
from steam_recsys.errors import UserError
from steam_recsys.logging import log

PREFIX = "hf://"
STEAM_REVIEWS = "hf://HangenYuu/Steam_Games_Review/raw"
"""The public copy of the Kaggle set Steam Games Reviews and Rankings."""


def is_huggingface(raw: str) -> bool:
    """Whether a raw location names a data set on Hugging Face rather than a folder."""
    return raw.startswith(PREFIX)


def download(raw: str) -> Path:
    """Download `hf://OWNER/NAME/FOLDER` into Hugging Face's cache, where it is not there yet; the local folder.

    Raises:
        UserError: the location has another form, or the data set cannot be fetched.
    """
    # Not needed for a folder on disk, and slow to import.
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    owner, name, folder = _split(raw)
    log("ingest", f"fetching {owner}/{name} from Hugging Face")
    try:
        root = snapshot_download(
            f"{owner}/{name}", repo_type="dataset", allow_patterns=[f"{folder}/{file.name}" for file in RAW_FILES]
        )
    except (OSError, HfHubHTTPError, LocalEntryNotFoundError):
        raise UserError(
            f"{owner}/{name} cannot be fetched from Hugging Face: check the network, or download it elsewhere and "
            f"give its folder."
        ) from None
    return Path(root) / folder


def _split(raw: str) -> tuple[str, str, str]:
    parts = raw.removeprefix(PREFIX).strip("/").split("/", 2)
    if len(parts) != 3:
        raise UserError(f"{raw} is no data set: write it as hf://OWNER/NAME/FOLDER.")
    return parts[0], parts[1], parts[2]
