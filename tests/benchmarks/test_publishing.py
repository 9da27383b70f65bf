"""The benchmark of publishing, with few users."""

import pytest

from benchmarks import publishing


@pytest.mark.slow
def test_every_figure_has_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "SECONDS", 1)
    monkeypatch.setattr(publishing, "SWITCHES", 2)
    monkeypatch.setattr(publishing, "GAMES", 500)
    monkeypatch.setattr(publishing, "SHARD_USERS", 300)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    rows = list(publishing.rows(users=1000))
    assert [row["peer_name"] for row in rows[:3]] == [
        "raw COPY of files in binary format and their index",
        "execute_values upserts of 20,000 users",
        "copying a version within the database",
    ]
    assert [row["must"] for row in rows] == [1.3, 10.0, None, *[None, 5.0] * len(publishing.CALLS), 100.0]
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in rows)
