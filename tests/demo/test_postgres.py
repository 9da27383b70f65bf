import os
import socket
import stat

import psycopg2
import pytest

from demo.postgres import EmbeddedPostgres


@pytest.fixture
def server(tmp_path):
    server = EmbeddedPostgres(tmp_path / "postgres", durable=False)
    yield server
    server.stop()


def test_data_survives_a_restart(server):
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


def test_a_restart_keeps_the_port_if_it_is_free(server):
    server.start()
    url = server.url()
    assert server.stop()
    server.start()
    assert server.url() == url
    assert server.stop()
    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2].partition("/")[0]))):
        server.start()
        assert server.url() != url


def test_it_listens_on_loopback_and_requires_the_password(server):
    server.start()
    assert "@127.0.0.1:" in server.url()
    with pytest.raises(psycopg2.OperationalError, match="password"):
        psycopg2.connect(server.url().replace("steam:", "steam:wrong", 1))
    assert stat.S_IMODE((server.folder / "password").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PGSSLMODE", "require"),
        ("PGSERVICE", "shop"),
        ("PGHOSTADDR", "192.0.2.1"),
        ("PGOPTIONS", "-c search_path=nowhere"),
        ("PGTARGETSESSIONATTRS", "standby"),
        ("PGREQUIREAUTH", "none"),
        ("PGCHANNELBINDING", "require"),
        ("PGCLIENTENCODING", "nonsense"),
    ],
)
def test_variables_of_libpq_do_not_reach_it(postgres, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    url = postgres.ensure_database("postgres")
    assert variable not in os.environ  # nor do they reach processes that are started with the URL
    connection = psycopg2.connect(url)
    with connection.cursor() as cursor:
        cursor.execute("SHOW search_path")
        assert cursor.fetchone() == ('"$user", public',)
    connection.close()


def test_an_unfinished_cluster_is_created_again(server):
    server.data.mkdir(parents=True)
    (server.data / "half").write_text("made")
    server.start()
    assert server.running()
