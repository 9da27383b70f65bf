"""How the demo runs a pipeline."""

import pytest

from components.shared.errors import UserError
from demo.place import Place
from demo.run import run_pipeline
from pipelines.target import Target
from tests.raw_files import review, write_raw


def test_a_parameter_of_the_environment_counts_where_the_demo_has_none_of_its_own(
    tmp_path, database, connection, monkeypatch
):
    raw = write_raw(tmp_path / "raw", [review("Portal", "ann"), review("", "bob")])
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__STORE", str(tmp_path / "elsewhere"))
    ours = {"raw": raw, "store": tmp_path / "store"}
    with pytest.raises(UserError, match=r"1 of 2 rows that cannot be read.*_PARAMETERS__MAX_REJECTED_SHARE=0\.05"):
        run_pipeline(Place(tmp_path / "local"), Target.load("local"), "ingestion", ours)
    monkeypatch.setenv("STEAM_RECSYS_PARAMETERS__MAX_REJECTED_SHARE", "0.5")
    run_pipeline(Place(tmp_path / "local"), Target.load("local"), "ingestion", ours)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM steam.reviews")
        assert cursor.fetchone() == (1,)
    assert not (tmp_path / "elsewhere").exists()
