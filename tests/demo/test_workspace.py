"""The workspace: databases, stores, pages, locks and refusals."""

import os
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from demo.postgres import programs
from demo.workspace import Workspace
from steam_recsys.errors import UserError
from tests.canaries import MALFORMED, leaked

ROOT = Path(__file__).parents[2]


def test_each_of_the_users_databases_has_its_own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hush@db:5432/Shop-1?sslmode=require")
    workspace = Workspace(tmp_path / "local")
    url = workspace.database_url(None)
    assert not (tmp_path / "local" / "database-url").exists()
    workspace.record_success(url)
    assert url == "postgresql://ann:hush@db:5432/Shop-1?sslmode=require"
    assert stat.S_IMODE((tmp_path / "local" / "database-url").stat().st_mode) == 0o600
    stores = [
        workspace.store(other)
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


def test_folders_of_equal_names_have_separate_databases_on_the_embedded_server(tmp_path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    workspace = Workspace(tmp_path / "local")
    try:
        first, second = (workspace.database_url(tmp_path / parent / "Shop") for parent in "ab")
        assert first != second
        assert workspace.store(first).name == first.rpartition("/")[2]
        monkeypatch.setenv("DATABASE_URL", first)  # as after `export DATABASE_URL=$(cat local/database-url)`
        assert workspace.database_url(tmp_path / "b" / "Shop") == second
        assert not workspace.shows(tmp_path / "b" / "Shop")
        workspace.record_success(second)
        assert workspace.known_database_url() == second
        assert [workspace.shows(tmp_path / parent / "Shop") for parent in "ab"] == [False, True]
    finally:
        workspace.postgres.stop()
    reopened = workspace.known_database_url()
    try:
        assert workspace.store(reopened) == workspace.store(second)
        assert [workspace.known_database_url(tmp_path / parent / "Shop").rpartition("/")[2] for parent in "ab"] == [
            url.rpartition("/")[2] for url in (first, second)
        ]
    finally:
        workspace.postgres.stop()


@pytest.mark.parametrize(
    "url", ["mysql://ann:hush@db/shop", "postgresql://ann:a@hush@db/shop", "postgresql://ann:1/hush@db/shop"]
)
def test_an_invalid_url_is_refused_without_showing_or_keeping_it(tmp_path, monkeypatch, url):
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(UserError, match="DATABASE_URL is not a PostgreSQL URL") as refused:
        Workspace(tmp_path).database_url(None)
    assert "hush" not in str(refused.value)
    assert not (tmp_path / "database-url").exists()


@pytest.mark.parametrize("url", MALFORMED)
def test_no_folder_is_named_after_a_part_of_a_password(url, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", url)
    workspace = Workspace(tmp_path / "local")
    with suppress(UserError):
        workspace.record_load(workspace.database_url(None), tmp_path / "raw")
    assert leaked(str(list(tmp_path.rglob("*")))) == []


def test_the_file_with_the_url_becomes_private_also_if_it_exists(tmp_path):
    workspace = Workspace(tmp_path)
    (tmp_path / "database-url").touch(mode=0o644)
    workspace.record_success("postgresql://ann:hush@db:5432/shop")
    assert stat.S_IMODE((tmp_path / "database-url").stat().st_mode) == 0o600


def test_the_folder_loaded_last_is_recorded_per_database(tmp_path):
    workspace, url = Workspace(tmp_path / "local"), "postgresql://ann@db:5432/shop"
    assert workspace.record_load(url, tmp_path / "a") is None
    assert workspace.record_load(url, tmp_path / "b" / ".." / "a") is None
    assert workspace.record_load("postgresql://ann@db:5432/other", tmp_path / "b") is None
    assert workspace.record_load(url, tmp_path / "b") == tmp_path / "a"
    assert workspace.record_load(url, tmp_path / "b") is None


@pytest.mark.parametrize("demo_before", [False, True])
def test_a_folder_without_a_demo_is_refused_and_creates_nothing(demo_before, tmp_path, monkeypatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    workspace = Workspace(tmp_path / "local")
    try:
        if demo_before:
            workspace.database_url(None)
        for _ in range(2):
            with pytest.raises(UserError, match="The demo has not run on nowhere yet: run make demo DATA=nowhere"):
                workspace.known_database_url(Path("nowhere"))
        assert workspace.root.exists() == demo_before
    finally:
        workspace.postgres.stop()


def test_the_newest_pages_are_copied_into_the_workspace(tmp_path):
    workspace = Workspace(tmp_path / "local")
    for day, task in enumerate(("training-1/evaluate", "inference-2/retrain/evaluate", "inference-2/monitor")):
        report = workspace.root / "artifacts" / task / "report"
        report.parent.mkdir(parents=True)
        report.write_text(task)
        os.utime(report, (day, day))
    pages = workspace.keep_pages()
    assert pages == [workspace.root / "evaluation.html", workspace.root / "monitoring.html"]
    assert [page.read_text() for page in pages] == ["inference-2/retrain/evaluate", "inference-2/monitor"]


def test_a_second_demo_is_refused_and_a_killed_one_releases_the_workspace(tmp_path):
    lock = "import sys; from pathlib import Path; from demo.workspace import Workspace\n"
    lock += "with Workspace(Path(sys.argv[1])).lock(): "
    command = [sys.executable, "-c", f"{lock}print(flush=True), sys.stdin.read()", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        first.stdout.readline()
        sentence = (
            rf"^The demo of process {first.pid}, since [0-9:]{{8}}, is running in {tmp_path}: wait until it ends\.$"
        )
        with pytest.raises(UserError, match=sentence), Workspace(tmp_path).lock():
            pass
        first.kill()
    with (
        Workspace(tmp_path).lock(),
        pytest.raises(UserError, match=rf"process {os.getpid()}"),
        Workspace(tmp_path).lock(),
    ):
        pass


@pytest.mark.parametrize(("version", "embedded"), [("15.18 (Debian 15.18-0+deb12u1)", True), ("99beta1", False)])
def test_an_installed_psql_older_than_the_embedded_server_is_not_used_for_it(version, embedded, tmp_path, monkeypatch):
    installed = tmp_path / "psql"
    installed.write_text(f"#!/bin/sh\necho 'psql (PostgreSQL) {version}'\n")
    installed.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    workspace = Workspace(tmp_path / "local")
    workspace.postgres.data.mkdir(parents=True)
    (workspace.postgres.data / "PG_VERSION").write_text("18\n")
    (workspace.postgres.folder / "password").write_text("ours")
    assert workspace.psql("postgresql://ann:theirs@db/shop") == str(installed)
    expected = str(programs() / "psql") if embedded else str(installed)
    assert workspace.psql("postgresql://steam:ours@127.0.0.1:1/shop") == expected
