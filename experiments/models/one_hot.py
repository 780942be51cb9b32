"""The product of one-hot values with weights as a sum of rows, for evaluation on CPU.

Why: of K classes it adds one row where a product multiplies K. To measure:
`python scripts/benchmark.py one_hot`; delete this file when its ratio is near 1. Other
platforms multiply.
"""

from typing import Any

import jax
import jax.numpy as jnp


def sum_of_rows(
    values: jax.Array,
    kernel: jax.Array,
    dimension_numbers: Any,
    precision: Any = None,
    *,
    num_classes: int,
) -> jax.Array:
    """values @ kernel, in place of jax.lax.dot_general in a dense layer.

    Args:
        values: one-hot, or NaN, the classes of the variables side by side, [..., N·K].
        kernel: the weights, [N·K, D].
        dimension_numbers: those of this product.
        precision: of products, on other platforms.
        num_classes: K.

    Returns:
        [..., D].
    """

    def multiply(values, kernel):
        return jax.lax.dot_general(values, kernel, dimension_numbers, precision)

    def add_rows(values, kernel):
        each = values.reshape(*values.shape[:-1], -1, num_classes)
        index, weight = jnp.moveaxis(each.argmax(-1), -1, 0), each.sum(-1)
        rows = kernel.reshape(-1, num_classes, kernel.shape[1])
        total = jnp.zeros((*values.shape[:-1], kernel.shape[1]), kernel.dtype)

        def add(total, of_variable):
            rows, index, weight = of_variable
            # The weight is 1, or NaN as the value.
            return total + weight[..., None] * rows[index], None

        return jax.lax.scan(add, total, (rows, index, jnp.moveaxis(weight, -1, 0)))[0]

    return jax.lax.platform_dependent(values, kernel, cpu=add_rows, default=multiply)
