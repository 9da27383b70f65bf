"""The reviews of each game, counted: what a publication's lists were made from, kept so that a refresh counts on.

<store>/counts/<version>/<snapshot_id>/
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from steam_recsys.arrays import Float64Array, Int32Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import DECAY_DAYS, DECAYS, popularity_as_of
from steam_recsys.errors import other_version_error
from steam_recsys.model.lists import ReviewCounts
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.manifest import Artifact, ArtifactWriter, remove_artifact

COUNTS_FOLDER = "counts"
"""The folder of the counts in a store."""

COUNTS_FILE = "counts.parquet"

_DAYS = b"days"
"""The key of the day and of the window of new releases in the file's metadata."""


@dataclass(frozen=True)
class GameCounts:
    """Counts of the reviews of N games.

    Attributes:
        popularity: float64 [D, N], popularity by decay.
        reviews: The reviews dated or not.
    """

    popularity: Float64Array
    reviews: ReviewCounts

    @property
    def recent(self) -> Float64Array:
        """Recent popularity, float64 [N]."""
        return np.asarray(self.popularity[DECAYS.index(DECAY_DAYS)])

    @classmethod
    def from_interactions(cls, interactions: Interactions, game_ids: Int32Array, as_of: int) -> GameCounts:
        """Count reviews, one of each user and game.

        Args:
            interactions: The reviews; those of other games are ignored.
            game_ids: int32 [N], ascending.
            as_of: The day of the popularity, in days since 1970-01-01.
        """
        positions = positions_of(interactions.games, game_ids)
        known = positions >= 0
        reviews = np.bincount(positions[known], minlength=len(game_ids))
        likes = np.bincount(positions[known & interactions.recommended], minlength=len(game_ids))
        return cls(popularity_as_of(interactions, game_ids, as_of), ReviewCounts(likes, reviews))

    def select(self, game_ids: Int32Array, chosen: Int32Array) -> GameCounts:
        """Return the counts of other games: zero for those that were not counted.

        Args:
            game_ids: int32 [N], the counted games, ascending.
            chosen: int32 [M], the games to return.
        """
        positions = positions_of(chosen, game_ids)
        known = positions >= 0
        popularity = np.zeros((len(DECAYS), len(chosen)))
        popularity[:, known] = self.popularity[:, positions[known]]
        likes, reviews = np.zeros((2, len(chosen)), dtype=np.int64)
        likes[known] = self.reviews.likes[positions[known]]
        reviews[known] = self.reviews.reviews[positions[known]]
        return GameCounts(popularity, ReviewCounts(likes, reviews))

    def older(self, days: int) -> GameCounts:
        """Return the same reviews some days later: each counts exp(-days / decay) as much."""
        return GameCounts(self.popularity * np.exp(-days / np.array(DECAYS))[:, None], self.reviews)

    def replace(self, before: GameCounts, after: GameCounts) -> GameCounts:
        """Return the counts with some reviews instead of others; rounding leaves none below zero."""
        ours, old, new = self.reviews, before.reviews, after.reviews
        return GameCounts(
            np.maximum(self.popularity + after.popularity - before.popularity, 0),
            ReviewCounts(
                np.maximum(ours.likes + new.likes - old.likes, 0),
                np.maximum(ours.reviews + new.reviews - old.reviews, 0),
            ),
        )


@dataclass(frozen=True)
class StoredCounts:
    """The counts that the lists of a version were made from.

    Attributes:
        game_ids: int32 [N], the games, ascending.
        counts: Their reviews.
        as_of: The day of the popularity, in days since 1970-01-01; 0 if no review had a day.
        new_release_days: Days up to that day in which a new release came out.
    """

    game_ids: Int32Array
    counts: GameCounts
    as_of: int
    new_release_days: int

    def write(self, store: str, version: str, snapshot_id: str) -> None:
        """Write the counts to a store.

        Args:
            store: The store.
            version: The version whose lists are made from them.
            snapshot_id: The snapshot whose reviews they count.
        """
        reviews = self.counts.reviews
        table = pa.table(
            {
                "game_id": pa.array(self.game_ids, pa.int32()),
                "popularity": pa.FixedSizeListArray.from_arrays(self.counts.popularity.T.reshape(-1), len(DECAYS)),
                "likes": pa.array(reviews.likes, pa.int64()),
                "reviews": pa.array(reviews.reviews, pa.int64()),
            }
        ).replace_schema_metadata({_DAYS: json.dumps([self.as_of, self.new_release_days])})
        content = io.BytesIO()
        pq.write_table(table, content, compression="zstd")
        writer = ArtifactWriter(open_folder(_uri(store, version, snapshot_id)))
        writer.write(COUNTS_FILE, content.getvalue())
        writer.finish()

    @classmethod
    def read(cls, store: str, version: str, snapshot_id: str) -> StoredCounts:
        """Read the counts of a version and a snapshot.

        Raises:
            ArtifactError: The store does not have them, or they are damaged or of another version of this project.
        """
        uri = _uri(store, version, snapshot_id)
        with Artifact.open(uri, "counts", "run the inference pipeline").file(COUNTS_FILE) as path:
            table = pq.read_table(path)
        try:
            as_of, new_release_days = json.loads(table.schema.metadata[_DAYS])
            popularity = table["popularity"].combine_chunks().flatten().to_numpy().reshape(-1, len(DECAYS)).T
            reviews = ReviewCounts(table["likes"].to_numpy(), table["reviews"].to_numpy())
            return cls(table["game_id"].to_numpy(), GameCounts(popularity, reviews), as_of, new_release_days)
        except (KeyError, TypeError, ValueError) as error:
            raise other_version_error(f"{uri} holds counts", error, "run the inference pipeline") from None


def stored_counts(store: str, version: str) -> set[str]:
    """Return the snapshots whose counts a version has."""
    return {name.partition("/")[0] for name in _folder_of(store, version).names("")}


def remove_counts(store: str, version: str, snapshot_ids: set[str]) -> None:
    """Remove a version's counts of some snapshots."""
    for snapshot_id in snapshot_ids:
        remove_artifact(_folder_of(store, version), snapshot_id)


def _folder_of(store: str, version: str) -> Folder:
    return open_folder(f"{store.rstrip('/')}/{COUNTS_FOLDER}/{version}")


def _uri(store: str, version: str, snapshot_id: str) -> str:
    return f"{store.rstrip('/')}/{COUNTS_FOLDER}/{version}/{snapshot_id}"
