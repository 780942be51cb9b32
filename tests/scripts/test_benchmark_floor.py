"""The floor: the products of a step, each of them once."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from scripts.benchmarks import floor, networks


@pytest.fixture
def start(digits):
    network = networks.NETWORKS["784-(20×10)-784"]
    return networks.start_of(network, network.task())


def test_the_products_of_a_linear_vae(start):
    # Two forward; backward of the weights of both layers, and of the code.
    found = floor.products_of(start)
    assert len(found) == 5
    for one in found:
        (over, _), _ = one.dimension_numbers
        contracted = math.prod(one.left[axis] for axis in over)
        # Pairs of numbers that are multiplied: 100 images, 784 pixels, 200 units.
        pairs = math.prod(one.left) * math.prod(one.right) / contracted
        assert pairs == 100 * 784 * 200


def test_a_turn_moves_parameters_and_moments(start):
    short = start._replace(settings=start.settings | {"steps": 3})
    operands, moved, results = floor.training(short)()
    kernel = short.layers[0][0]
    for each in moved:
        np.testing.assert_allclose(
            each["params"]["layers_0"]["kernel"], kernel + 3e-9, atol=1e-9
        )
    # The last results are those of the operands as they are now.
    for (left, right), result, one in zip(
        operands, results, floor.products_of(short), strict=True
    ):
        (over_left, over_right), _ = one.dimension_numbers
        expected = jnp.tensordot(left, right, (over_left, over_right))
        np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-3)
