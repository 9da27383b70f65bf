import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from components.evaluate.gate import decide
from components.evaluate.promotion import promote, roll_back
from components.evaluate.results import Evaluation
from components.evaluate.thresholds import Thresholds
from steam_recsys.errors import UserError
from steam_recsys.evaluation.comparison import Comparison
from steam_recsys.storage.model_store import EVALUATION, champion, current_champion, stored_model
from tests.components.evaluate.test_evaluation import day, write_model


def evaluation(*, version: str = "new", promoted: bool = True, compared_with: str | None = None) -> Evaluation:
    figures = {"challenger": {"ndcg_at_10": np.array([0.3 if promoted else 0.1])}}
    overall = Comparison.from_figures({**figures, "popularity": {"ndcg_at_10": np.array([0.2])}})
    coverage = {"challenger": 0.5, "popularity": 0.5}
    return Evaluation(
        version=version,
        champion=compared_with,
        snapshot_id="snapshot",
        cutoff="2020-01-11",
        left_out=0,
        overall=overall,
        catalogue={name: {"coverage_at_20": share} for name, share in coverage.items()},
        slices=(),
        settings={},
        thresholds=Thresholds(),
        verdict=decide(overall, coverage, {}, Thresholds()),
    )


def test_a_model_that_failed_the_gate_is_not_promoted(tmp_path: Path, store: str) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10))
    evaluation(promoted=False).write(tmp_path / "evaluation.json")
    with pytest.raises(UserError, match="did not pass the gate and stays out of"):
        promote(store, model, tmp_path / "evaluation.json")
    assert current_champion(store) is None


def test_a_promotion_can_be_repeated(tmp_path: Path, store: str) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10))
    evaluation().write(tmp_path / "evaluation.json")
    assert [promote(store, model, tmp_path / "evaluation.json") for _ in range(2)] == ["new", "new"]
    assert champion(store).version == "new"


def test_who_was_champion_before_is_said_and_a_model_that_was_it_already_follows_nobody(
    tmp_path: Path, store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = []
    models = {name: write_model(tmp_path / name, cutoff=day(10), version=name) for name in ("one", "new")}
    for version, before in (("one", None), ("new", "one"), ("new", "new")):
        evaluation(version=version, compared_with=before).write(tmp_path / "evaluation.json")
        promote(store, models[version], tmp_path / "evaluation.json")
        said.append(capsys.readouterr().out.splitlines()[-1])
    assert said == [
        "[promote] champion one, before it none",
        "[promote] champion new, before it one",
        "[promote] champion new, as it was already",
    ]


def test_a_champion_keeps_its_evaluation(tmp_path: Path, store: str) -> None:
    evaluation().write(tmp_path / "evaluation.json")
    promote(store, write_model(tmp_path / "model", cutoff=day(10)), tmp_path / "evaluation.json")
    with stored_model(store, "new") as folder:
        assert Evaluation.read(folder / EVALUATION) == evaluation()


def test_an_evaluation_of_another_model_does_not_promote(tmp_path: Path, store: str) -> None:
    model = write_model(tmp_path / "model", cutoff=day(10))
    evaluation(version="other").write(tmp_path / "evaluation.json")
    with pytest.raises(UserError, match="is about model other, not new"):
        promote(store, model, tmp_path / "evaluation.json")


def test_of_two_models_compared_with_the_same_champion_the_second_loses(tmp_path: Path, store: str) -> None:
    for version in ("first", "second"):
        write_model(tmp_path / version, cutoff=day(10), version=version)
        evaluation(version=version).write(tmp_path / f"{version}.json")
    promote(store, tmp_path / "first", tmp_path / "first.json")
    with pytest.raises(UserError, match="another run promoted at the same time"):
        promote(store, tmp_path / "second", tmp_path / "second.json")
    assert champion(store).version == "first"


def promote_all(store: str, root: Path, *versions: str) -> None:
    """Promote models, each having beaten the one before."""
    before = None
    for version in versions:
        write_model(root / version, cutoff=day(10), version=version)
        evaluation(version=version, compared_with=before).write(root / f"{version}.json")
        promote(store, root / version, root / f"{version}.json")
        before = version


def command(*arguments: str) -> tuple[int, str]:
    run = [sys.executable, "-m", "commands", "models", *arguments]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_rollback_goes_one_champion_back_each_time_until_there_is_none(tmp_path: Path, any_store: str) -> None:
    promote_all(any_store, tmp_path, "one", "two", "three")
    assert roll_back(any_store) == "two"
    assert (champion(any_store).version, champion(any_store).previous) == ("two", "three")
    assert champion(any_store).metrics["ndcg_at_10"] == 0.3
    assert roll_back(any_store) == "one"
    with pytest.raises(UserError, match=r"There is no champion before one in .*: name a model with --version"):
        roll_back(any_store)
    assert roll_back(any_store, "three") == "three"


def test_after_a_rollback_and_a_promotion_the_way_back_is_to_the_model_rolled_back_to(
    tmp_path: Path, store: str
) -> None:
    promote_all(store, tmp_path, "one", "two")
    roll_back(store)
    write_model(tmp_path / "three", cutoff=day(10), version="three")
    evaluation(version="three", compared_with="one").write(tmp_path / "three.json")
    promote(store, tmp_path / "three", tmp_path / "three.json")
    assert roll_back(store) == "one"


def test_a_rollback_of_a_champion_that_has_gone_already_changes_nothing(tmp_path: Path, store: str) -> None:
    promote_all(store, tmp_path, "one", "two", "three")
    assert command("rollback", "--store", store, "--expected", "three") == (0, "two is the champion.\n")
    sentence = f"recsys: The champion of the model store {store} is two, not three: it stays.\n"
    assert command("rollback", "--store", store, "--expected", "three") == (1, sentence)
    assert champion(store).version == "two"


def test_several_rollbacks_at_once_go_back_by_one(tmp_path: Path, store: str) -> None:
    promote_all(store, tmp_path, "one", "two", "three", "four")
    with ThreadPoolExecutor(4) as pool:
        tries = [pool.submit(roll_back, store, expected="four") for _ in range(4)]
    refused = [each.exception() for each in tries if each.exception()]
    assert all(re.search(r"is three, not four: it stays\.", str(error)) for error in refused)
    assert len(refused) < 4
    assert champion(store).version == "three"


def test_what_there_is_no_way_back_to_is_said_in_one_sentence(tmp_path: Path, store: str) -> None:
    assert command("champion", "--store", store)[1].startswith(f"recsys: The model store {store} has no ch")
    promote_all(store, tmp_path, "one")
    with pytest.raises(UserError, match=r"There is no champion before one in .*: name a model with --version"):
        roll_back(store)
    code, said = command("rollback", "--store", store, "--version", "other")
    assert (code, said) == (1, f"recsys: The model store {store} has no model other: promote it again.\n")


def test_the_command_shows_the_champion_and_goes_back(tmp_path: Path, store: str) -> None:
    promote_all(store, tmp_path, "one", "two")
    assert command("rollback", "--store", store) == (0, "one is the champion.\n")
    code, said = command("champion", "--store", store)
    assert code == 0
    assert said.startswith("one is the champion since ")
    assert said.endswith("before it two was.\n")
