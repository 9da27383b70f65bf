from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from commands.__main__ import main
from tests.components.reverse_etl.predicted import marked, publish_version
from tests.components.reverse_etl.test_publication import kept


def test_versions_are_listed_and_rolled_back(
    shop: Connection, database: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(1, 4):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    capsys.readouterr()
    main(["publications", "rollback", "--version", "v1", "--database", database])
    assert capsys.readouterr().out == "v1 is current.\n"
    main(["publications", "list"])
    lines = capsys.readouterr().out.splitlines()
    titles = "version model snapshot users rows overlap coverage popular ten as of published in"
    assert lines[0].split() == titles.split()
    # Two users with the same two of four games, neither of which is popular.
    assert [line.split()[:9] for line in lines[3:]] == [["*", "v1", "m1", "s1", "2", "4", "100.0%", "50.0%", "0.0%"]]
    assert [each.version for each in kept(database)] == ["v3", "v2", "v1"]


@pytest.mark.parametrize("action", ["rollback", "list"])
@pytest.mark.usefixtures("database")
def test_before_the_first_publication_there_is_one_sentence(action: str) -> None:
    with pytest.raises(SystemExit, match="no schema recsys: run the inference pipeline first"):
        main(["publications", action])
