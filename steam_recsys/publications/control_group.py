"""The control group: users who get popular games instead of recommendations, so that both can be compared.

A user belongs to it by a hash of the id, in PostgreSQL too (`recsys.in_control_group`). So the group is the same in
every version, and a larger group contains every smaller one.
"""

from __future__ import annotations

import hashlib

import numpy as np

from steam_recsys.arrays import BoolArray, Int64Array
from steam_recsys.errors import UserError

LARGEST_SHARE = 0.5
"""Largest share of the users in the control group: more users are served worse, for no better comparison."""


def check_control_share(share: float) -> None:
    """Check that a control group can have this share of the users.

    Raises:
        UserError: It cannot.
    """
    if not 0 <= share <= LARGEST_SHARE:
        raise UserError(f"control_share is {share:g}: give a number from 0 to {LARGEST_SHARE:g}.")


def in_control_group(users: Int64Array, share: float) -> BoolArray:
    """Return which users are in a control group of this share of the users, bool [n].

    The first four bytes of the SHA-256 of the id, as eight bytes, are a number that all users are equally likely to
    have. (FIPS 180-4; hashing is a common way to draw groups, Kohavi, Tang and Xu 2020, "Trustworthy Online Controlled
    Experiments", chapter 12.)

    Args:
        users: Ids of users, int64 [n].
        share: Share of the users in the group, from 0 to 1.
    """
    if not share:
        return np.zeros(len(users), dtype=np.bool_)
    ids = users.astype(">i8").tobytes()
    hashed = b"".join(hashlib.sha256(ids[start : start + 8]).digest()[:4] for start in range(0, len(ids), 8))
    return np.asarray(np.frombuffer(hashed, ">u4") < share * 2**32)
