"""Adam, as fast as memory is read and written."""

from __future__ import annotations

import tensorflow as tf


class OnePassAdam(tf.keras.optimizers.Adam):
    """Adam by the one operation that TensorFlow has for it, where Keras makes a dozen passes over each table.

    The same weights but for rounding (Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", the form before
    section 2.1).
    """

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Change a table; rows that are not among the slices of a gradient have one of zero."""
        place = self._index_dict[self._var_key(variable)]
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].handle,
            v=self._velocities[place].handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )
