"""The demo once more, each task in a container of its image, and whether the same comes out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from google.cloud import storage
from psycopg2 import sql
from psycopg2.extensions import make_dsn, parse_dsn

from demo.bucket import bucket_server
from demo.run import inference_parameters, run_demo, run_pipeline
from demo.workspace import Workspace
from pipelines.catalogue import compile_pipelines
from pipelines.target import Target
from steam_recsys.errors import UserError

BUCKET = "steam-recsys"
LARGEST_DIFFERENCE = 1e-4
"""By which a score may differ."""

ROUNDING = 1e-5
"""Games whose scores are this near may change places: a BLAS with kernels for another processor rounds otherwise."""

Row = tuple[Sequence[int], Sequence[float]]
"""Games and scores."""


@dataclass(frozen=True)
class Comparison:
    """Two publications beside each other: users in both, users whose games differ, and the largest score difference."""

    users: int
    differing: int
    largest_difference: float

    @property
    def same(self) -> bool:
        """Whether the same users are recommended the same games in the same order, but for ties, with equal scores."""
        return self.users > 0 and self.differing == 0 and self.largest_difference <= LARGEST_DIFFERENCE


def compare(one: Mapping[int, Row], other: Mapping[int, Row]) -> Comparison:
    """Compare recommendations by user id."""
    alike = [user for user in one if user in other and same_games(one[user], other[user])]
    differences = (abs(a - b) for user in alike for a, b in zip(one[user][1], other[user][1], strict=True))
    return Comparison(
        len(one.keys() & other.keys()), len(one.keys() | other.keys()) - len(alike), max(differences, default=0.0)
    )


def same_games(one: Row, other: Row) -> bool:
    """Whether two lists hold the same games in the same order, but where rounding decides.

    A game that stands elsewhere must have nearly the score that it has in the other list, and one that is missing there
    nearly the last score.
    """
    if len(one[0]) != len(other[0]):
        return False
    scores = [dict(zip(*row, strict=True)) for row in (one, other)]
    lasts = [row[1][-1] for row in (one, other)]
    return all(
        abs(scores[place][game] - scores[1 - place].get(game, lasts[1 - place])) <= ROUNDING
        for pair in zip(one[0], other[0], strict=True)
        if pair[0] != pair[1]
        for place, game in enumerate(pair)
    )


def run_demo_in_containers(place: Workspace, data: Path | None) -> None:
    """Run the plain demo, then training and inference in containers on a copy of its database, and compare.

    The containers reach PostgreSQL over TCP, and keep snapshots, models, predictions and journals in a bucket of a
    server that speaks Google Cloud Storage's protocol.

    Raises:
        UserError: a run failed, or something else came out.
    """
    run_demo(place, data)
    url = place.known_database_url()
    with _copied(url) as copy, _bucket() as bucket:
        os.environ["DATABASE_URL"] = copy  # the stages resolve env:DATABASE_URL
        target = Target.load("docker")
        compile_pipelines(target, place.build / target.name)
        for name, parameters in (("training", {}), ("inference", inference_parameters(data))):
            print(f"\n[demo] pipeline {name}, in containers", flush=True)
            run_pipeline(place, target, name, {"store": f"{bucket}/store", **parameters}, containers=True)
        compared = compare(_recommendations(url), _recommendations(copy))
    print(
        f"\n[demo] processes and containers beside each other: {compared.users:,} users, {compared.differing:,} with "
        f"other games, scores at most {compared.largest_difference:.1e} apart"
    )
    if not compared.same:
        raise UserError("Containers recommend something else than processes do: see the lines above.")


@contextmanager
def _copied(url: str) -> Iterator[str]:
    """The URL of a copy of a database, as it was before anything was published.

    Raises:
        UserError: the server does not let it be copied.
    """
    parts = parse_dsn(url)
    original, copy = sql.Identifier(parts["dbname"]), sql.Identifier(f"{parts['dbname'][:50]}_containers")
    copied = make_dsn(**{**parts, "dbname": copy.string})
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(copy, original)
    drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(copy)
    maintenance = make_dsn(**{**parts, "dbname": "postgres"})
    try:
        _execute(maintenance, drop, create)
        _execute(copied, sql.SQL("DROP SCHEMA recsys CASCADE"))
    except psycopg2.Error as error:
        reason = " ".join(str(error).split())
        raise UserError(f"The database {parts['dbname']} cannot be copied ({reason}): end what uses it.") from None
    try:
        yield copied
    finally:
        _execute(maintenance, drop)


def _execute(url: str, *statements: sql.Composable) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
    finally:
        connection.close()


@contextmanager
def _bucket() -> Iterator[str]:
    with bucket_server():
        storage.Client().create_bucket(BUCKET)
        yield f"gs://{BUCKET}"


def _recommendations(url: str) -> dict[int, Row]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT user_id, game_ids, scores FROM recsys.recommendations")
            return {user: (games, scores) for user, games, scores in cursor.fetchall()}
    finally:
        connection.close()
