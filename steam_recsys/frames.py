"""What a store and a database hold, as pandas DataFrames for notebooks. Install the extra `notebook`.

Example:
    >>> from steam_recsys import frames
    >>> reviews = frames.interactions("local/store/shop")
    >>> reviews.groupby("game_id").hours_played.median()
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from psycopg2 import sql

from steam_recsys.data.interactions import UNDATED, Interactions, load_interactions
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.database.connection import Cursor, connect, connect_url, require_schema
from steam_recsys.errors import ArtifactError
from steam_recsys.evaluation.intervals import CHALLENGER, Comparison, Interval
from steam_recsys.secrets import SECRET_MANAGER_SCHEME, register_secret
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import Artifact, UnreadableError, unseal
from steam_recsys.storage.model_store import EVALUATION, USER_METRICS, champion

ALL_USERS = "all users"
"""The slice of the headline figures."""

_RECOMMENDATIONS = sql.SQL("""
COPY (
    SELECT r.user_id, r.list, e.rank, e.game_id, g.name, e.taste, e.popularity, e.taste + e.popularity, e.because,
           b.name, r.version, r.model_version
    FROM recsys.recommendations AS r
    CROSS JOIN LATERAL unnest(r.game_ids, r.taste, r.popularity, r.because)
        WITH ORDINALITY AS e (game_id, taste, popularity, because, rank)
    LEFT JOIN steam.games AS g ON g.game_id = e.game_id
    LEFT JOIN steam.games AS b ON b.game_id = e.because
    WHERE {users}
    ORDER BY r.user_id, r.list, e.rank
) TO STDOUT (FORMAT csv)
""")
_RECOMMENDATION_TYPES = {
    "user_id": pa.int64(), "list": pa.dictionary(pa.int32(), pa.string()), "rank": pa.int32(), "game_id": pa.int32(),
    "game": pa.string(), "taste": pa.float32(), "popularity": pa.float32(), "score": pa.float32(),
    "because_id": pa.int32(), "because": pa.string(), "version": pa.dictionary(pa.int32(), pa.string()),
    "model_version": pa.dictionary(pa.int32(), pa.string()),
}  # fmt: skip

_RUNS = """
SELECT run_id, pipeline, state, error, started_at, finished_at, s.stage->>'stage', nullif(s.stage->>'part', ''),
       (s.stage->>'started_at')::timestamptz, (s.stage->>'seconds')::float8, (s.stage->>'peak_memory_mb')::float8,
       s.stage->'facts'
FROM recsys.pipeline_runs LEFT JOIN LATERAL jsonb_array_elements(stages) WITH ORDINALITY AS s (stage, number) ON true
ORDER BY coalesce(started_at, finished_at), run_id, s.number
"""
_RUN_COLUMNS = [
    "run_id", "pipeline", "state", "error", "started_at", "finished_at", "stage", "part", "stage_started_at",
    "seconds", "peak_memory_mb", "facts",
]  # fmt: skip


def interactions(store: str) -> pd.DataFrame:
    """Read the reviews of a store's newest snapshot as the stages read them.

    There is one row per known user and game: of several reviews of a game by the same user, the latest counts. Rows are
    ordered by user, date and review.

    Args:
        store: Folder or bucket that the pipelines write to.

    Returns:
        A frame with these columns:

        - `user_id`: int64.
        - `game_id`: int32.
        - `reviewed_on`: datetime64[s], a day; NaT if unknown.
        - `recommended`: bool, whether the review recommends the game.
        - `hours_played`: float32, in hours; NaN if unknown.

    Raises:
        UserError: The store has no snapshot, or a file of it is damaged.
    """
    return interactions_frame(load_interactions(Snapshot.from_store(store)))


def games(store: str) -> pd.DataFrame:
    """Read the games of a store's newest snapshot, with counts of the rows of `interactions`.

    Args:
        store: Folder or bucket that the pipelines write to.

    Returns:
        A frame with one row per game, ordered by id, and these columns:

        - `game_id`: int32.
        - `name`: str.
        - `released_on`, `delisted_on`: datetime64[s], days; NaT if unknown, or if the game is still sold.
        - `genres`, `developers`, `publishers`: object, a list of str each.
        - `ram_gb`, `storage_gb`: float32, minimum requirements in GB; NaN if unknown.
        - `os`, `description`: str; missing if unknown.
        - `reviews`: int64, number of users who reviewed the game.
        - `positive_share`: float64, from 0 to 1, the share of these users who recommend it; NaN without reviews.

    Raises:
        UserError: The store has no snapshot, or a file of it is damaged.
    """
    snapshot = Snapshot.from_store(store)
    table = snapshot.table("games").sort_by("game_id")
    days = {name: table[name].cast(pa.timestamp("s")) for name in ("released_on", "delisted_on")}
    lists = {name: table[name].to_pylist() for name in ("genres", "developers", "publishers")}
    frame = table.drop_columns([*days, *lists]).to_pandas()
    frame = frame.assign(**{name: column.to_pandas() for name, column in days.items()}, **lists)[table.column_names]
    reviewed = load_interactions(snapshot)
    by_game = pd.Series(reviewed.recommended).groupby(reviewed.games).agg(["size", "mean"])
    by_game = by_game.reindex(frame["game_id"])
    reviews = by_game["size"].fillna(0).astype("int64").to_numpy()
    return frame.assign(reviews=reviews, positive_share=by_game["mean"].to_numpy())


def evaluation(store: str, version: str | None = None) -> pd.DataFrame:
    """Read the evaluation of a model: its figures beside those of the baselines and of the champion at the time.

    Args:
        store: Folder or bucket that the pipelines write to.
        version: Version of the model; None for the champion.

    Returns:
        A frame with one row per slice, ranking and metric, and these columns:

        - `slice`: str, `all users` for the headline figures, or a part of the users or games, such as `genre: Action`.
        - `users`: int64, number of held-out users of the slice.
        - `ranking`: str, `challenger` for this model, `champion` for the champion before it, or a baseline.
        - `metric`: str, such as `ndcg_at_10`.
        - `mean`: float64, in the metric's unit: most are shares from 0 to 1.
        - `low`, `high`: float64, the mean's 95 % interval; NaN if the metric has none.
        - `difference`, `difference_low`, `difference_high`: float64, the model's mean minus this ranking's and its 95 %
          interval, compared user by user; NaN for the model itself and if the metric has no interval.

    Raises:
        UserError: The store does not hold the model's evaluation, it is damaged, or of another release.
    """
    version = version or champion(store).version
    content = open_folder(store).read(f"models/{version}/{EVALUATION}")
    if content is None:
        raise ArtifactError(f"The store {store} has no evaluation of a model {version}: name a promoted model.")
    try:
        rows = unseal(content, lambda fields: [*_evaluation_rows(fields)])
    except UnreadableError as error:
        raise ArtifactError(f"{store}/models/{version}/{EVALUATION} {error}: train and evaluate again.") from None
    return pd.DataFrame(rows)


def user_metrics(store: str, version: str | None = None) -> pd.DataFrame:
    """Read the metrics of each user in the evaluation of a model; their means are the headline figures.

    Args:
        store: Folder or bucket that the pipelines write to.
        version: Version of the model; None for the champion.

    Returns:
        A frame with one row per ranking and held-out user, and these columns:

        - `ranking`: category, as in `evaluation`.
        - `user_id`: int64.
        - `history`: int32, number of games that the user reviewed before the cutoff.
        - `held_out`: int32, number of new games that the user recommends after it.
        - One column per metric, such as `ndcg_at_10`: float32, in the metric's unit.

    Raises:
        UserError: The store does not hold these figures, or they are damaged.
    """
    version = version or champion(store).version
    model = Artifact.open(f"{store.rstrip('/')}/models/{version}", "model with figures per user", "train it again")
    with model.file(USER_METRICS) as path:
        return pq.read_table(path).to_pandas(categories=["ranking"])


def recommendations(url: str, users: Sequence[int] | None = None) -> pd.DataFrame:
    """Read the recommendations that are published in a database.

    Args:
        url: PostgreSQL URL, or a reference to one, such as `env:DATABASE_URL`.
        users: Ids of the users to read; None for all, which takes about 300 bytes of memory per recommended game
            while they are read; the frame takes 110.

    Returns:
        A frame with one row per user, list and game, ordered by user, list and rank, and these columns:

        - `user_id`: int64.
        - `list`: category, `relevance`, `interests`, `discovery` or `new_releases`.
        - `rank`: int32, from 1.
        - `game_id`: int32.
        - `game`: str, its name; missing if the shop has removed the game since.
        - `taste`, `popularity`: float32, the personal part of the score and what popularity adds to it.
        - `score`: float32, their sum; comparable only within one user's list.
        - `because_id`: Int32, a game that the user liked and without which this one would not be on the list; missing
          if there is none.
        - `because`: str, its name.
        - `version`, `model_version`: category, the publication and the model.

    Raises:
        UserError: The database cannot be reached, or has no schema `recsys` of this version.
    """
    content = io.BytesIO()
    wanted = sql.SQL("{} IS NULL OR r.user_id = ANY ({}::bigint[])")
    ids = sql.Literal(None if users is None else [int(user) for user in users])
    with _reading(url) as cursor:
        cursor.copy_expert(_RECOMMENDATIONS.format(users=wanted.format(ids, ids)), content)
    content.seek(0)
    if not content.getbuffer().nbytes:
        table = pa.schema(_RECOMMENDATION_TYPES.items()).empty_table()
    else:
        table = pa_csv.read_csv(
            content,
            pa_csv.ReadOptions(column_names=list(_RECOMMENDATION_TYPES)),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types=_RECOMMENDATION_TYPES,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    del content  # before the frame needs as much memory again
    because = table["because_id"].to_pandas(types_mapper={pa.int32(): pd.Int32Dtype()}.get)
    return table.to_pandas().assign(because_id=because)


def runs(url: str) -> pd.DataFrame:
    """Read the runs of the pipelines that a database records, the oldest first.

    Args:
        url: PostgreSQL URL, or a reference to one, such as `env:DATABASE_URL`.

    Returns:
        A frame with one row per task of each run, in the order of their starts, and these columns:

        - `run_id`, `pipeline`: str.
        - `state`: str, such as `SUCCEEDED` or `FAILED`, of the whole run.
        - `error`: str, why the run failed; missing if it did not.
        - `started_at`, `finished_at`: datetime64[us, UTC], of the whole run; NaT if unknown.
        - `stage`: str, such as `train`; missing if no stage of the run left a record.
        - `part`: str, number of the task if several tasks share the stage, otherwise missing.
        - `stage_started_at`: datetime64[us, UTC].
        - `seconds`: float64, the task's duration in seconds.
        - `peak_memory_mb`: float64, its peak memory in MB.
        - `facts`: object, a dict with the stage's own figures; None without a stage.

    Raises:
        UserError: The database cannot be reached, or has no schema `recsys` of this version.
    """
    with _reading(url) as cursor:
        cursor.execute(_RUNS)
        rows = cursor.fetchall()
    types = dict.fromkeys(("run_id", "pipeline", "state", "error", "stage", "part"), "str")
    types |= dict.fromkeys(("started_at", "finished_at", "stage_started_at"), "datetime64[us, UTC]")
    return pd.DataFrame(rows, columns=_RUN_COLUMNS).astype(types | {"seconds": "float64", "peak_memory_mb": "float64"})


def interactions_frame(rows: Interactions) -> pd.DataFrame:
    """Return interactions as a frame, see `interactions`."""
    days = rows.days.astype("datetime64[D]").astype("datetime64[s]")
    days[rows.days == UNDATED] = np.datetime64("NaT")
    return pd.DataFrame(
        {
            "user_id": rows.users, "game_id": rows.games, "reviewed_on": days, "recommended": rows.recommended,
            "hours_played": rows.hours,
        }
    )  # fmt: skip


def _evaluation_rows(fields: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    overall = Comparison.from_dict(fields["overall"])
    yield from _comparison_rows(ALL_USERS, overall)
    missing = dict.fromkeys(("low", "high", "difference", "difference_low", "difference_high"), np.nan)
    for ranking, figures in fields["beyond_accuracy"].items():
        for metric, mean in figures.items():
            row = {"slice": ALL_USERS, "users": overall.users, "ranking": ranking, "metric": metric, "mean": mean}
            yield row | missing
    for part in fields["slices"]:
        yield from _comparison_rows(f"{part['kind']}: {part['name']}", Comparison.from_dict(part["comparison"]))


def _comparison_rows(name: str, comparison: Comparison) -> Iterator[dict[str, Any]]:
    for ranking, figures in comparison.figures.items():
        for metric, figure in figures.items():
            none = Interval(np.nan, np.nan, np.nan)
            difference = none if ranking == CHALLENGER else comparison.differences[ranking][metric]
            yield {
                "slice": name, "users": comparison.users, "ranking": ranking, "metric": metric,
                "mean": figure.mean, "low": figure.low, "high": figure.high,
                "difference": difference.mean, "difference_low": difference.low, "difference_high": difference.high,
            }  # fmt: skip


@contextmanager
def _reading(url: str) -> Iterator[Cursor]:
    """Open a transaction that reads the schema `recsys`."""
    if url.startswith(("env:", SECRET_MANAGER_SCHEME)):
        opened = connect(url, application="steam-recsys-notebook")
    else:
        register_secret(url)
        opened = connect_url(url, "the notebook's URL", application="steam-recsys-notebook")
    with opened as connection, connection.cursor() as cursor:
        require_schema(connection, "recsys")
        yield cursor
