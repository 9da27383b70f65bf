"""The benchmark of the explorer, on a small shop: its rows and its text."""

import shutil

import pytest

from benchmarks import explorer, pages, publishing


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk asks")
def test_all_requests_are_made_and_none_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explorer, "SECONDS", 1)
    monkeypatch.setattr(publishing, "GAMES", 500)
    monkeypatch.setattr(publishing, "SHARD_USERS", 300)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setattr(pages, "REPETITIONS", 2)
    rows = list(explorer.rows(users=1000, games=600, page_games=500))
    measured_in_browser = [*[200.0] * 8, *[50.0] * 2] if pages.chromium() else []
    assert [row["must"] for row in rows] == [
        1000.0, None, 50.0, 0, None, None, None, 0, 0, None, None, None, 25.0, 0, None, None, 25.0, 0,
        *measured_in_browser,
    ]  # fmt: skip
    failed = [row for row in rows if "failed" in row["what"]]
    assert [row["ours"] for row in failed] == [0] * 5
    assert all(row["ours"] > 0 for row in rows if row not in failed)
