"""Initial values of networks, and codes; the experiments' tests have the rest."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models.coding import corner_code, corners
from experiments.models.nets import DiscreteVae


def make_layers():
    """Two layers, of two 4-ary and one 8-ary variable: four and three units."""
    model = DiscreteVae(
        ((2, 4), (1, 8)),
        ((6, 5), ()),
        7,
        lambda *_: jnp.full(7, 0.5),
        code=corner_code,
        activation=jnp.tanh,
        centre_inits=(lambda: jnp.arange(7.0), lambda: jnp.zeros(4)),
    )
    return model, jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 7)))


def test_layers_have_glorot_weights_and_zero_biases_but_of_the_pixels():
    _, variables = make_layers()
    shapes = {
        "encoder": [(7, 6), (6, 5), (5, 8)],
        "decoder": [(4, 5), (5, 6), (6, 7)],
        "higher_encoders_0": [(4, 8)],
        "higher_decoders_0": [(3, 8)],
    }
    assert set(variables["params"]) == {*shapes, "prior"}
    for part, sizes in shapes.items():
        layers = variables["params"][part]
        assert len(layers) == len(sizes)
        for i, size in enumerate(sizes):
            layer = layers[f"Dense_{i}"]
            assert layer["kernel"].shape == size
            limit = np.sqrt(6 / sum(size))
            assert 0.5 * limit < np.abs(layer["kernel"]).max() <= limit
            visible = part == "decoder" and i == 2
            assert np.all(layer["bias"] == (0.5 if visible else 0.0))
    np.testing.assert_array_equal(variables["params"]["prior"], np.zeros((1, 8)))


@pytest.mark.parametrize(("num_classes", "coordinates"), [(2, 1), (4, 2), (8, 3)])
def test_corners_are_all_different_and_all_there(num_classes, coordinates):
    matrix = np.asarray(corners(num_classes))
    assert matrix.shape == (coordinates, num_classes)
    found = {tuple(column) for column in matrix.T}
    assert found == set(itertools.product((-1.0, 1.0), repeat=coordinates))


@pytest.mark.parametrize("num_classes", [0, 1, 3, 6, 10])
def test_corners_need_a_power_of_two(num_classes):
    with pytest.raises(ValueError, match=f"num_classes={num_classes}: must be"):
        corners(num_classes)


def test_corner_code_of_one_hot_values_is_the_corner_of_each_variable():
    classes = np.array([[0, 5, 7], [3, 2, 6]])
    code = corner_code(jax.nn.one_hot(classes, 8))
    assert code.shape == (2, 9)
    signs = {0: "---", 5: "+-+", 7: "+++", 3: "-++", 2: "-+-", 6: "++-"}
    expected = [
        [1.0 if sign == "+" else -1.0 for k in row for sign in signs[k]]
        for row in classes.tolist()
    ]
    np.testing.assert_array_equal(code, expected)


def test_corner_code_of_bernoulli_values():
    b = jnp.array([[0.0, 1.0, 0.25]])
    np.testing.assert_array_equal(corner_code(b), [[-1.0, 1.0, -0.5]])
    # The two-class variable with the same meaning has the same code.
    np.testing.assert_array_equal(
        corner_code(jnp.stack([1 - b, b], axis=-1)), corner_code(b)
    )
