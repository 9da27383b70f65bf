"""The replay with hourly refreshes: its figures, and a small shop."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import hourly
from benchmarks.hourly import Judged, Published, summarised
from components.evaluate.gate import Thresholds
from tests.components.predict.artifacts import promote_model, write_model
from tests.raw_files import game, review, write_raw


def test_a_user_is_judged_by_the_list_without_reviewed_games() -> None:
    published = Published({1: [10, 11, 12]}, [20, 21])
    assert published.ndcg(1, reviewed={10}, taken={11}) == 1
    assert published.ndcg(1, reviewed=set(), taken={11}) == pytest.approx(0.6309, abs=1e-4)
    assert published.ndcg(1, reviewed=set(), taken={20}) == 0


def test_a_user_without_a_list_is_judged_by_the_popular_games() -> None:
    assert Published({1: [10]}, [20, 21]).ndcg(2, reviewed={20}, taken={21}) == 1


def test_only_the_first_ten_games_count() -> None:
    assert Published({1: list(range(11))}, []).ndcg(1, reviewed=set(), taken={10}) == 0


def test_each_user_counts_once_in_each_group() -> None:
    judged = [Judged(1, "first", 0.0, 1.0), Judged(1, "again", 0.5, 0.5), Judged(2, "again, new", 0.25, 0.75)]
    groups = {group.name: group for group in summarised(judged)}
    everyone = groups["all"]
    assert (everyone.users, everyone.nightly.mean, everyone.refreshed.mean) == (2, 0.25, 0.75)
    assert groups["after a review on the same day, by users without"].difference.mean == 0.5
    assert groups["after a review on the same day, by users with reviews before that day"].difference.mean == 0
    assert everyone.row().startswith("| all | 2 | 0.2500 (")


def test_a_day_of_a_small_shop_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def promoted(snapshot: Path, store: str, folder: Path, thresholds: Thresholds) -> bool:
        """Instead of a training: any model will do."""
        vectors = np.random.default_rng(0).standard_normal((12, 8)).tolist()
        promote_model(store, write_model(folder / "model", vectors))
        return True

    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setattr(hourly, "train_and_promote", promoted)
    games = [f"Game {number}" for number in range(12)]
    reviews = [review(name, f"user {user}", "January 1, 2025") for user in range(30) for name in games[user % 9 :][:3]]
    # On the last day a new user and another one review several games.
    reviews += [review(name, user, "January 2, 2025") for user in ("new user", "user 0") for name in games]
    days = list(hourly.replay(Path(write_raw(tmp_path / "raw", reviews, map(game, games))), 1))
    judged = [each for day in days for each in day]
    assert len(days) == 1
    assert {each.group for each in judged} == {"first", "again", "again, new"}
    assert any(each.nightly != each.refreshed for each in judged)
    assert summarised(judged)[0].users == 2


@pytest.mark.parametrize(
    ("arguments", "reason"), [([], "add DATA=folder"), (["--data", "raw", "--days", "0"], "--days must be at least 1")]
)
def test_a_replay_without_data_or_days_is_refused(
    arguments: list[str], reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["hourly", *arguments])
    with pytest.raises(SystemExit) as refused:
        hourly.main()
    assert reason in f"{refused.value}{capsys.readouterr().err}"


def test_days_on_which_nobody_recommends_a_game_give_no_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["hourly", "--data", "raw", "--days", "2", "--output", str(tmp_path)])
    monkeypatch.setattr(hourly, "replay", lambda *_: iter([[], []]))
    with pytest.raises(SystemExit, match="No user recommends a game in the last 2 days of raw"):
        hourly.main()
