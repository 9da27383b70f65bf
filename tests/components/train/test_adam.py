import numpy as np
import pytest
import tensorflow as tf

from components.train.adam import OnePassAdam


def trained(optimizer: tf.keras.optimizers.Optimizer, *, slices: bool) -> np.ndarray:
    """A table after some steps, of which each changes some rows, one of them twice."""
    random = np.random.default_rng(0)
    table = tf.Variable(random.standard_normal((6, 3)).astype(np.float32))
    optimizer.build([table])
    for _ in range(8):
        values, rows = random.standard_normal((4, 3)).astype(np.float32), random.integers(0, 5, 4)
        gradient = tf.IndexedSlices(values, rows, (6, 3))
        optimizer.apply_gradients([(gradient if slices else tf.convert_to_tensor(gradient), table)])
    return table.numpy()


@pytest.mark.parametrize("slices", [False, True])
def test_the_weights_are_those_of_keras(slices: bool) -> None:
    """But for rounding: one minus 0.999 is 4.7e-5 more in float32."""
    rate = tf.keras.optimizers.schedules.PolynomialDecay(0.1, 8, 0.001)
    expected = trained(tf.keras.optimizers.Adam(rate), slices=slices)
    assert trained(OnePassAdam(rate), slices=slices) == pytest.approx(expected, abs=1e-5)


def test_equal_gradients_make_equal_weights_bit_for_bit() -> None:
    assert np.array_equal(trained(OnePassAdam(0.1), slices=True), trained(OnePassAdam(0.1), slices=True))
