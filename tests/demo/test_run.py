"""How the demo runs its pipelines."""

import pytest

from demo.raw_files import write_synthetic
from demo.run import run_demo, run_pipeline
from demo.synthetic import Size
from demo.workspace import Workspace
from pipelines.catalogue import compile_pipelines
from pipelines.target import Target
from steam_recsys.errors import UserError
from tests.raw_files import review, write_raw


def test_the_environment_sets_limits_of_a_demo_but_never_leads_it_elsewhere(
    tmp_path, database, connection, monkeypatch
):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann"), review("", "bob")])
    place, ours = Workspace(tmp_path / "local"), {"raw": raw, "store": tmp_path / "store"}
    compile_pipelines(Target.load("local"), place.build / "local")
    for name in ("STORE", "DATABASE", "ALERTS"):
        monkeypatch.setenv(f"STEAM_RECSYS_PARAMETERS__{name}", "env:OF_OTHERS")
    with pytest.raises(UserError, match=r"1 of 2 rows that cannot be read.*_PARAMETERS__MAX_REJECTED_SHARE=0\.05"):
        run_pipeline(place, Target.load("local"), "ingestion", ours)
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__MAX_REJECTED_SHARE", "0.5")
    run_pipeline(place, Target.load("local"), "ingestion", ours)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM steam.reviews")
        assert cursor.fetchone() == (1,)


def test_where_the_first_model_does_not_pass_the_gate_a_demo_ends_with_the_rule_and_the_page(
    tmp_path, database, monkeypatch
):
    write_synthetic(tmp_path / "raw", Size(2_000, 600, 40), seed=1)
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__COVERAGE_FLOOR", "100")
    place = Workspace(tmp_path / "local")
    with pytest.raises(UserError, match=r"did not pass the gate.*The share of the catalogue.*BASELINE_ERRORS=6"):
        run_demo(place, tmp_path / "raw")
    assert "The share of the catalogue" in (place.root / "evaluation.html").read_text()
    assert not list((place.root / "artifacts").glob("inference-*"))
