"""How the demo runs a pipeline."""

import pytest

from components.shared.errors import UserError
from demo.place import Place
from demo.run import run_pipeline
from pipelines.catalogue import compile_pipelines
from pipelines.target import Target
from tests.raw_files import review, write_raw


def test_the_environment_sets_limits_of_a_demo_but_never_leads_it_elsewhere(
    tmp_path, database, connection, monkeypatch
):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann"), review("", "bob")])
    place, ours = Place(tmp_path / "local"), {"raw": raw, "store": tmp_path / "store"}
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
