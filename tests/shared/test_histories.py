import numpy as np

from components.shared.histories import positions_of


def test_unknown_ids_have_no_position() -> None:
    assert positions_of(np.array([5, 7, 1]), np.array([1, 5])).tolist() == [1, -1, 0]
    assert positions_of(np.array([5]), np.array([], dtype=np.int32)).tolist() == [-1]
