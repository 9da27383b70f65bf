"""Shared fixtures: one PostgreSQL server per session, a new database per test, stores, a bucket and a webhook."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores, so one thread each: set before NumPy and TensorFlow are imported, here and in processes.
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(variable, "1")

import gc
import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from traceback import walk_stack
from types import SimpleNamespace

import psycopg2
import pytest
from google.cloud import storage
from hypothesis import HealthCheck, settings
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling, Scheduling

from components.notify import alerts
from demo.postgres import EmbeddedPostgres
from steam_recsys import secrets as known_secrets
from steam_recsys.database.connection import create_schema
from tests.databases import copy_database, database_folder, drop_database, execute
from tests.webhook import Webhook

# A shell that starts the tests in the background lets them, and the processes that they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on the clock.
settings.register_profile("whatever the machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("whatever the machine")


def pytest_collection_finish() -> None:
    """Exclude imported modules from garbage collection, and make KFP's compilation fast."""
    gc.collect()
    gc.freeze()  # later collections skip what exists now
    if "kfp.dsl.pipeline_task" in sys.modules:
        # KFP asks `inspect` for its caller's name, which searches all modules: several seconds per compilation.
        sys.modules["kfp.dsl.pipeline_task"].inspect = SimpleNamespace(stack=_stack)


def _stack() -> list[tuple[None, None, None, str]]:
    """Return the calling functions' names in the form of `inspect.stack`."""
    return [(None, None, None, frame.f_code.co_name) for frame, _ in walk_stack(sys._getframe(1))]


class SlowTestScheduling(LoadScopeScheduling):
    """Runs the tests of a group on one worker, for the slow tests of `make test-all`.

    Most tests in a browser share a demo; every other file is a group. The groups of `--dist=loadgroup` have no effect
    with pytest 9.2 (pytest-xdist issue 1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        path = Path(nodeid.partition("::")[0])
        if path.parent.name == "browser" and path.name not in ("test_hostile.py", "test_reports.py", "test_states.py"):
            return "browser"
        return str(path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest of the slow tests, so that no worker waits for it at the end."""
    items.sort(key=lambda item: (item.path.name != "test_readme.py", item.path.parent.name != "browser"))


@pytest.hookimpl(optionalhook=True)  # it is unknown without xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Schedule slow tests in groups, and other tests as `--dist` says."""
    return SlowTestScheduling(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Check that a test leaves Python's handling of closed connections: without it, they end the process in silence."""
    yield
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN


@pytest.fixture(autouse=True)
def _known_secrets() -> Iterator[None]:
    """Forget the secrets that a test resolved: later tests would see them masked."""
    yield
    known_secrets._KNOWN.clear()
    known_secrets._PATTERNS.clear()


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    # Not in pytest's own folder: another session may clear that away while the server runs.
    with tempfile.TemporaryDirectory(prefix="steam-recsys-postgres-", dir=database_folder()) as folder:
        server = EmbeddedPostgres(Path(folder), durable=False)
        server.start()
        execute(server, "ALTER SYSTEM SET autovacuum = off")  # it would go through all the tests' databases
        execute(server, "SELECT pg_reload_conf()")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def shop_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database that has the operational schema, to be copied."""
    connection = psycopg2.connect(postgres.ensure_database("shop_template"))
    with connection:
        create_schema(connection, "steam")
    connection.close()
    return "shop_template"


@pytest.fixture
def database(
    request: pytest.FixtureRequest, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """The reference to a new database, which is empty, or has the operational schema in tests that take `shop`."""
    template = request.getfixturevalue("shop_template") if "shop" in request.fixturenames else "template1"
    name = f"test_{secrets.token_hex(6)}"
    monkeypatch.setenv("DATABASE_URL", copy_database(postgres, template, name))
    yield "env:DATABASE_URL"
    drop_database(postgres, name)


@pytest.fixture
def connection(database: str, postgres: EmbeddedPostgres) -> Iterator[psycopg2.extensions.connection]:
    """An autocommit connection to the test's database, to look at what a stage wrote."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    connection.autocommit = True
    yield connection
    connection.close()


@pytest.fixture
def shop(connection: psycopg2.extensions.connection) -> psycopg2.extensions.connection:
    """A connection to a database that has the operational schema, still empty."""
    return connection


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A new, empty store for models, predictions and journals."""
    return str(tmp_path / "store")


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A webhook, which `env:ALERTS_URL` names, to which failed posts are retried at once."""
    monkeypatch.setattr(alerts, "BACKOFF_SECONDS", 0)
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("ALERTS_URL", f"http://127.0.0.1:{server.server_port}/services/SECRET")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The URL of a server that speaks Google Cloud Storage's protocol."""
    from demo.containers import bucket_server  # imports the pipelines, which few tests need

    with bucket_server() as url:
        del os.environ["STORAGE_EMULATOR_HOST"]
        yield url


@pytest.fixture
def gcs(gcs_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of that server, which Google's client uses during the test."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    return gcs_server


@pytest.fixture
def bucket_store(gcs: str) -> str:
    """A new, empty store in a bucket."""
    name = f"bucket-{secrets.token_hex(6)}"
    storage.Client().create_bucket(name)
    return f"gs://{name}/some/store"


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The URL of a server that speaks S3's protocol."""
    from tests.s3_server import s3_server  # imports its server, which few tests need

    with s3_server() as url:
        yield url


@pytest.fixture
def s3(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of that server, which S3's client uses during the test."""
    from tests.s3_server import S3_ENVIRONMENT

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {**S3_ENVIRONMENT, "AWS_ENDPOINT_URL_S3": s3_url}.items():
        monkeypatch.setenv(name, value)
    return s3_url


@pytest.fixture
def s3_store(s3: str) -> str:
    """A new, empty store in a bucket of that server."""
    from tests.s3_server import create_bucket

    return f"s3://{create_bucket(s3)}/some/store"


@pytest.fixture(params=["bucket", "s3"])
def remote_store(request: pytest.FixtureRequest) -> str:
    """A new, empty store: a test that takes it runs in a bucket of Google's and in one of an S3 server's."""
    return request.getfixturevalue({"bucket": "bucket_store", "s3": "s3_store"}[request.param])


@pytest.fixture(params=["disk", "bucket", "s3"])
def any_store(request: pytest.FixtureRequest) -> str:
    """A new, empty store: a test that takes it runs on disk, in a bucket of Google's and in one of an S3 server's."""
    return request.getfixturevalue({"disk": "store", "bucket": "bucket_store", "s3": "s3_store"}[request.param])
