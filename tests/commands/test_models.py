from pathlib import Path

import pytest

from commands.__main__ import main
from steam_recsys.storage.model_store import champion
from tests.components.evaluate.test_promotion import promote_all


def test_models_are_listed_with_the_champion_and_their_metrics(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    promote_all(store, tmp_path, "one", "two")
    (Path(store) / "models" / "one" / "evaluation.json").unlink()
    capsys.readouterr()
    main(["models", "list", "--store", store])
    head, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert head == ["version", "added", "ndcg@10", "coverage@10", "jaccard@10", "popular_ten"]
    assert [(row[0], row[1], row[-4:]) for row in rows] == [
        ("*", "two", ["0.3000", "0.5000", "0.5000", "0.5000"]),
        ("one", rows[1][1], ["-", "-", "-", "-"]),
    ]
    assert champion(store).version == "two"


def test_a_store_without_models_lists_none(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["models", "list", "--store", store])
    assert capsys.readouterr().out.split() == ["version", "added"]
