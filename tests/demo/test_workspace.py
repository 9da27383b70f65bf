"""The demo's folder: which database and which store are whose, and what it refuses."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from demo.postgres import programs
from demo.workspace import Workspace
from steam_recsys.errors import UserError

ROOT = Path(__file__).parents[2]


def test_each_database_of_the_users_own_has_a_store_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hush@db:5432/Shop-1?sslmode=require")
    place = Workspace(tmp_path / "local")
    url = place.database_url(None)
    assert not (tmp_path / "local" / "database-url").exists()
    place.remember(url)
    assert url == "postgresql://ann:hush@db:5432/Shop-1?sslmode=require"
    assert stat.S_IMODE((tmp_path / "local" / "database-url").stat().st_mode) == 0o600
    stores = [
        place.store(other)
        for other in (
            url,
            "host=db port=5432 dbname=Shop-1 user=ben password=hush",
            "postgresql://ann@db:5433/Shop-1",
            "postgresql://ann@db2:5432/Shop-1",
            "postgresql://ann@db:5432/Shop-2",
        )
    ]
    assert len(set(stores)) == 4
    assert stores[0] == stores[1]
    assert "hush" not in str(stores)
    assert (tmp_path / "local" / "store-path").read_text() == f"{stores[0]}\n"


def test_folders_of_one_name_have_databases_of_their_own_on_the_embedded_server(tmp_path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    place = Workspace(tmp_path / "local")
    try:
        first, second = (place.database_url(tmp_path / parent / "Shop") for parent in "ab")
        assert first != second
        assert place.store(first).name == first.rpartition("/")[2]
        monkeypatch.setenv("DATABASE_URL", first)  # as after `export DATABASE_URL=$(cat local/database-url)`
        assert place.database_url(tmp_path / "b" / "Shop") == second
        assert not place.shows(tmp_path / "b" / "Shop")
        place.remember(second)
        assert place.known_database_url() == second
        assert [place.shows(tmp_path / parent / "Shop") for parent in "ab"] == [False, True]
    finally:
        place.postgres.stop()
    reopened = place.known_database_url()
    try:
        assert place.store(reopened) == place.store(second)
        assert [place.known_database_url(tmp_path / parent / "Shop").rpartition("/")[2] for parent in "ab"] == [
            url.rpartition("/")[2] for url in (first, second)
        ]
    finally:
        place.postgres.stop()


def test_a_url_that_is_none_is_refused_without_showing_or_keeping_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "mysql://ann:hush@db/shop")
    with pytest.raises(UserError, match="DATABASE_URL is not a PostgreSQL URL") as refused:
        Workspace(tmp_path).database_url(None)
    assert "hush" not in str(refused.value)
    assert not (tmp_path / "database-url").exists()


def test_a_database_of_the_users_own_knows_which_folder_was_loaded_last(tmp_path):
    place, url = Workspace(tmp_path / "local"), "postgresql://ann@db:5432/shop"
    assert place.load(url, tmp_path / "a") is None
    assert place.load(url, tmp_path / "b" / ".." / "a") is None
    assert place.load("postgresql://ann@db:5432/other", tmp_path / "b") is None
    assert place.load(url, tmp_path / "b") == tmp_path / "a"
    assert place.load(url, tmp_path / "b") is None


@pytest.mark.parametrize("demo_before", [False, True])
def test_to_look_at_a_folder_that_had_no_demo_is_refused_and_makes_nothing(demo_before, tmp_path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    place = Workspace(tmp_path / "local")
    try:
        if demo_before:
            place.database_url(None)
        for _ in range(2):
            with pytest.raises(UserError, match="There is no demo of nowhere to look at: run make demo DATA=nowhere"):
                place.known_database_url(Path("nowhere"))
        assert place.root.exists() == demo_before
    finally:
        place.postgres.stop()


def test_the_newest_pages_are_kept_where_a_browser_opens_them(tmp_path):
    place = Workspace(tmp_path / "local")
    for day, task in enumerate(("training-1/evaluate", "inference-2/retrain/evaluate", "inference-2/monitor")):
        report = place.root / "artifacts" / task / "report"
        report.parent.mkdir(parents=True)
        report.write_text(task)
        os.utime(report, (day, day))
    pages = place.keep_pages()
    assert pages == [place.root / "evaluation.html", place.root / "monitoring.html"]
    assert [page.read_text() for page in pages] == ["inference-2/retrain/evaluate", "inference-2/monitor"]


def test_a_second_demo_is_told_who_is_at_work_and_a_killed_one_leaves_the_place_free(tmp_path):
    take = "import sys; from pathlib import Path; from demo.workspace import Workspace\n"
    take += "with Workspace(Path(sys.argv[1])).taken(): "
    command = [sys.executable, "-c", f"{take}print(flush=True), sys.stdin.read()", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        sentence = (
            rf"^The demo of process {first.pid}, since [0-9:]{{8}}, is at work in {tmp_path}: wait for its end\.$"
        )
        with pytest.raises(UserError, match=sentence), Workspace(tmp_path).taken():
            pass
        first.kill()
    with (
        Workspace(tmp_path).taken(),
        pytest.raises(UserError, match=rf"process {os.getpid()}"),
        Workspace(tmp_path).taken(),
    ):
        pass


@pytest.mark.parametrize(("version", "embedded"), [("15.18 (Debian 15.18-0+deb12u1)", True), ("99beta1", False)])
def test_a_psql_that_is_older_than_the_embedded_server_is_not_taken_for_it(version, embedded, tmp_path, monkeypatch):
    installed = tmp_path / "psql"
    installed.write_text(f"#!/bin/sh\necho 'psql (PostgreSQL) {version}'\n")
    installed.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    place = Workspace(tmp_path / "local")
    place.postgres.data.mkdir(parents=True)
    (place.postgres.data / "PG_VERSION").write_text("18\n")
    (place.postgres.folder / "password").write_text("ours")
    assert place.psql("postgresql://ann:theirs@db/shop") == str(installed)
    expected = str(programs() / "psql") if embedded else str(installed)
    assert place.psql("postgresql://steam:ours@127.0.0.1:1/shop") == expected
