import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from components.predict.stale_predictions import remove_stale_predictions
from steam_recsys.storage.folder import DiskFolder


def test_what_nobody_wrote_to_for_two_days_goes_but_for_the_version_that_is_asked_for(tmp_path: Path) -> None:
    store = DiskFolder(str(tmp_path))
    names = [f"predictions/{version}/{file}" for version in ("old", "young", "mine") for file in ("plan.json", "a/b")]
    for name in (*names, "models/old"):
        store.write(name, b"x")
    long_ago = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    for name in (*names, "models/old"):
        if name != "predictions/young/a/b":
            os.utime(tmp_path / name, (long_ago, long_ago))
    for _ in range(2):
        remove_stale_predictions(str(tmp_path), "mine")
        kept = [name for name in names if "/old/" not in name]
        assert store.names("") == sorted([*kept, "models/old"])


def test_a_store_without_predictions_stays_as_it_is(tmp_path: Path) -> None:
    remove_stale_predictions(str(tmp_path / "store"), "mine")
    assert not (tmp_path / "store").exists()
