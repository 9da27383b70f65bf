"""Arrow schemas of the snapshot's tables: the contract between extraction and every stage that reads a snapshot."""

from datetime import date

import pyarrow as pa

from steam_recsys.arrays import Int64Array

EARLIEST_REVIEW = date(1997, 1, 1)
"""Earlier dates are errors: no shop had reviews of games yet."""

REVIEWS = pa.schema(
    [
        pa.field("review_id", pa.int64(), nullable=False),
        pa.field("user_id", pa.int64()),  # null: the author is unknown
        pa.field("game_id", pa.int32(), nullable=False),
        pa.field("recommended", pa.bool_(), nullable=False),
        pa.field("hours_played", pa.float32()),
        pa.field("helpful", pa.int64(), nullable=False),
        pa.field("funny", pa.int64(), nullable=False),
        pa.field("reviewed_on", pa.date32()),  # null: the day is unknown
        pa.field("updated_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)

USERS = pa.schema([pa.field("user_id", pa.int64(), nullable=False)])

GAMES = pa.schema(
    [
        pa.field("game_id", pa.int32(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("released_on", pa.date32()),
        pa.field("delisted_on", pa.date32()),  # null: it is sold
        pa.field("genres", pa.list_(pa.string()), nullable=False),
        pa.field("developers", pa.list_(pa.string()), nullable=False),
        pa.field("publishers", pa.list_(pa.string()), nullable=False),
        pa.field("ram_gb", pa.float32()),  # the minimum requirement, as are the next two
        pa.field("storage_gb", pa.float32()),
        pa.field("os", pa.string()),
        pa.field("description", pa.string()),
    ]
)

RANKINGS = pa.schema(
    [
        pa.field("game_id", pa.int32(), nullable=False),
        pa.field("genre", pa.string(), nullable=False),
        pa.field("rank_type", pa.string(), nullable=False),
        pa.field("rank", pa.int32(), nullable=False),
    ]
)

TABLES: dict[str, pa.Schema] = {"reviews": REVIEWS, "users": USERS, "games": GAMES, "rankings": RANKINGS}

RELEVANCE, INTERESTS, DISCOVERY, NEW_RELEASES = "relevance", "interests", "discovery", "new_releases"

LISTS = (RELEVANCE, INTERESTS, DISCOVERY, NEW_RELEASES)
"""The lists that each user has: the best games; games of the user's taste, from which the other orders and the filters
choose; games of that taste outside the most popular ones; and games released recently."""

POPULAR_LIST = "popular"
"""The fallback list of popular games, overall and by genre. `DISCOVERY` and `NEW_RELEASES` are fallback lists too."""

POPULAR = pa.schema(
    [
        pa.field("list", pa.string(), nullable=False),  # `POPULAR_LIST`, `DISCOVERY` or `NEW_RELEASES`
        pa.field("genre", pa.string(), nullable=False),  # '': the list over all games
        pa.field("rank", pa.int32(), nullable=False),
        pa.field("game_id", pa.int32(), nullable=False),
        pa.field("score", pa.float32(), nullable=False),
    ]
)

HISTORIES = pa.schema(
    [
        pa.field("user_id", pa.int64(), nullable=False),
        pa.field("game_ids", pa.list_(pa.int32()), nullable=False),  # ordered by time, as are the next two
        pa.field("recommended", pa.list_(pa.bool_()), nullable=False),
        pa.field("hours", pa.list_(pa.float32()), nullable=False),  # NaN: unknown
        pa.field("dismissed", pa.list_(pa.int32()), nullable=False),  # games that the user does not want to see again
    ]
)

RECOMMENDATIONS = pa.schema(
    [
        pa.field("user_id", pa.int64(), nullable=False),
        pa.field("list", pa.string(), nullable=False),  # one of `LISTS`
        pa.field("game_ids", pa.list_(pa.int32()), nullable=False),
        pa.field("taste", pa.list_(pa.float32()), nullable=False),
        pa.field("popularity", pa.list_(pa.float32()), nullable=False),  # score = taste + popularity
        pa.field("because", pa.list_(pa.int32()), nullable=False),  # null: it would be on the list without the history
    ]
)


def list_array(offsets: Int64Array, values: pa.Array) -> pa.ListArray:
    """Build a column of lists for the schemas above.

    Args:
        offsets: int64 [n + 1]; list i is `values[offsets[i]:offsets[i + 1]]`.
        values: The elements of all lists.
    """
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
