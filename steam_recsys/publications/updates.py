"""An update of a version: new lists of some of its users, and new fallback lists."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from steam_recsys.arrays import Int64Array


@dataclass(frozen=True)
class VersionUpdate:
    """What a refresh changes of a version.

    Attributes:
        version: Name of the version.
        before: Id of the snapshot that its lists have been made from so far.
        snapshot_id: Id of the snapshot that they are made from now.
        users: Ids of the users whose lists are replaced, ascending, int64 [n].
        recommendations: All lists of these users, in the schema RECOMMENDATIONS; a user without a row has none any
            more, as a user who has left the shop.
        popular: The fallback lists, in the schema POPULAR; None leaves them as they are.
    """

    version: str
    before: str
    snapshot_id: str
    users: Int64Array
    recommendations: pa.Table
    popular: pa.Table | None
