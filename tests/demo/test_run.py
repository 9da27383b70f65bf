"""The demo's runs."""

import os
from dataclasses import fields
from datetime import date

import pytest

from components.ingest.ingestion import ingest
from components.monitor.decision import Thresholds
from demo.nights import OneNightError, find_first_night, write_first_night
from demo.run import _first_night, run_demo, run_pipeline, second_night_parameters
from demo.synthetic import Size, write_synthetic
from demo.workspace import Workspace
from pipelines.compilation import compile_pipelines
from pipelines.target import Target
from steam_recsys.errors import UserError
from tests.raw_files import review, write_raw


def test_the_environment_sets_thresholds_of_a_demo_but_not_its_data(tmp_path, database, connection, monkeypatch):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann"), review("", "bob")])
    workspace, ours = Workspace(tmp_path / "local"), {"raw": raw, "store": tmp_path / "store"}
    compile_pipelines(Target.load("local"), workspace.build / "local")
    for name in ("STORE", "DATABASE", "ALERTS"):
        monkeypatch.setenv(f"STEAM_RECSYS_PARAMETERS__{name}", "env:ANOTHER_SHOP")
    with pytest.raises(UserError, match=r"1 of 2 rows that cannot be read.*_PARAMETERS__MAX_REJECTED_SHARE=0\.05"):
        run_pipeline(workspace, Target.load("local"), "ingestion", ours)
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__MAX_REJECTED_SHARE", "0.5")
    run_pipeline(workspace, Target.load("local"), "ingestion", ours)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM steam.reviews")
        assert cursor.fetchone() == (1,)


def test_a_database_that_has_the_newest_reviews_gets_one_night(tmp_path, database):
    old = [review("Portal", name, "November 5, 2011") for name in ("ann", "ben")]
    raw = write_raw(tmp_path / "raw", [*old, review("Portal", "cat", "December 24, 2011")])
    first, url = find_first_night(raw), os.environ["DATABASE_URL"]
    assert first.until == date(2011, 11, 26)
    assert _first_night(url, raw, "", 0) == first
    write_first_night(first, raw, tmp_path / "first")
    ingest(str(tmp_path / "first"), database)
    assert _first_night(url, raw, "", 0) == first
    ingest(raw, database)
    with pytest.raises(OneNightError, match=r"^the database has these reviews$"):
        _first_night(url, raw, "", 0)


def test_the_model_of_the_first_night_is_young_enough_for_the_second_after_days_without_reviews(tmp_path):
    old = [review("Portal", name, "November 5, 2011") for name in ("ann", "ben")]
    first = find_first_night(write_raw(tmp_path / "raw", [*old, review("Portal", "cat", "December 24, 2011")]))
    parameters = second_night_parameters(first)
    assert parameters["age_ceiling"] == (date(2011, 12, 24) - date(2011, 11, 5)).days > 28
    assert set(parameters) <= {field.name for field in fields(Thresholds)}


def test_data_is_checked_before_anything_starts(tmp_path, monkeypatch):
    workspace, file = Workspace(tmp_path / "local"), tmp_path / "mine.csv"
    file.write_text("app,user_id,voted\n")
    with pytest.raises(UserError, match=r"mine.csv lacks the column .*: its header is app,user_id,voted.* --columns"):
        run_demo(workspace, file)
    columns = "game_name=app,username=user,recommendation=voted,review=,hours_played=,helpful=,funny=,date="
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__COLUMNS", columns)
    with pytest.raises(UserError, match=r"mine.csv lacks the column user: .* --columns username=user_id\."):
        run_demo(workspace, file)
    (tmp_path / "mine.zip").write_bytes(b"PK\3\4")
    with pytest.raises(UserError, match=r"mine.zip is a damaged archive"):
        run_demo(workspace, tmp_path / "mine.zip")
    assert not workspace.root.exists()


@pytest.mark.slow
def test_a_demo_whose_first_model_fails_the_gate_names_the_rule_and_the_page(tmp_path, database, monkeypatch):
    write_synthetic(tmp_path / "raw", Size(2_000, 600, 40), seed=1)
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__COVERAGE_FLOOR", "100")
    workspace = Workspace(tmp_path / "local")
    with pytest.raises(UserError, match=r"did not pass the gate.*Share of the catalogue.*ACCURACY_MARGIN=0.2"):
        run_demo(workspace, tmp_path / "raw")
    assert "Share of the catalogue" in (workspace.root / "evaluation.html").read_text()
    assert not list((workspace.root / "artifacts").glob("inference-*"))
