"""The benchmark of publishing, small: what it measures and what it says of it."""

import pytest

from benchmarks import publishing


def test_every_figure_stands_beside_its_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "SECONDS", 1)
    monkeypatch.setattr(publishing, "SWITCHES", 2)
    monkeypatch.setattr(publishing, "GAMES", 500)
    monkeypatch.setattr(publishing, "SHARD_USERS", 300)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    rows = publishing.rows_of(users=1000, per_user=10)
    assert [row["peer_name"] for row in rows[:2]] == [
        "raw COPY of a file in binary format and its index",
        "execute_values upserts of 20,000 users",
    ]
    assert [row["must"] for row in rows] == [1.3, 10.0, None, 5.0, None, 5.0, None, 5.0, 100.0]
    assert all(set(row) == {"what", "ours", "peer", "peer_name", "ratio", "must", "met"} for row in rows)
    assert all(row["ours"] > 0 and row["peer"] > 0 for row in rows)


def test_a_figure_is_met_or_not_by_what_must_be_reached() -> None:
    assert publishing.compared("x", 1.3, 1.0, "peer", must=1.3)["met"]
    assert not publishing.compared("x", 1.31, 1.0, "peer", must=1.3)["met"]
    assert publishing.compared("x", 10.0, 1.0, "peer", must=10.0, larger=True)["met"]
    assert not publishing.compared("x", 9.9, 1.0, "peer", must=10.0, larger=True)["met"]
    assert publishing.limited("x", 4.9, 1.0, "peer", must=5.0)["met"]
    assert not publishing.limited("x", 5.0, 1.0, "peer", must=5.0)["met"]
