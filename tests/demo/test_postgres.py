import stat

import psycopg2
import pytest

from components.shared.errors import UserError
from demo.place import Place
from demo.postgres import EmbeddedPostgres


@pytest.fixture
def server(tmp_path):
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    yield server
    server.stop()


def test_it_starts_once_keeps_its_data_and_stops(server):
    server.start()
    url = server.ensure_database("shop")
    server.start()
    assert server.ensure_database("shop") == url
    connection = psycopg2.connect(url)
    with connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (id int)")
    connection.close()
    assert server.stop()
    assert not server.running()
    assert not server.stop()
    server.start()
    connection = psycopg2.connect(server.url("shop"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM kept")
        assert cursor.fetchone() == (0,)
    connection.close()


def test_it_listens_on_loopback_only_and_asks_for_the_password(server):
    server.start()
    assert "@127.0.0.1:" in server.url()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(server.url().replace("steam:", "steam:wrong", 1))
    assert stat.S_IMODE((server.folder / "password").stat().st_mode) == 0o600


def test_a_cluster_that_was_not_finished_is_made_anew(server):
    server.data.mkdir(parents=True)
    (server.data / "half").write_text("made")
    server.start()
    assert server.running()


def test_each_database_of_the_users_own_has_a_store_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://ann:hush@db:5432/Shop-1?sslmode=require")
    place = Place(tmp_path / "local")
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
    place = Place(tmp_path / "local")
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
    finally:
        place.postgres.stop()


def test_a_url_that_is_none_is_refused_without_showing_or_keeping_it(tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "mysql://ann:hush@db/shop")
    with pytest.raises(UserError, match="DATABASE_URL is not a PostgreSQL URL") as refused:
        Place(tmp_path).database_url(None)
    assert "hush" not in str(refused.value)
    assert not (tmp_path / "database-url").exists()
