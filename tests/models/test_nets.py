"""Networks and codes: initial values, and what the reshapes mean."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models.coding import corner_code, corners, plain_code
from experiments.models.nets import DiscreteVae, StochasticNet


def make(latent_shape, hidden=()):
    bias = jnp.linspace(-1.0, 1.0, 7)
    model = DiscreteVae((latent_shape,), (hidden,), 7, lambda *_: bias)
    return model, model.init(jax.random.key(0), jnp.zeros((1, 7)))


def test_linear_model_is_linear_and_mlp_is_not():
    for hidden, linear in (((), True), ((6,), False)):
        model, params = make((3, 4), hidden)
        x = jax.random.normal(jax.random.key(1), (5, 7))
        one, two = (model.apply(params, c * x, method="encode") for c in (1.0, -2.0))
        assert bool(jnp.allclose(-2.0 * one, two, atol=1e-5)) == linear


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


def test_encoders_see_their_inputs_less_the_centres():
    model, variables = make_layers()
    # At its centre an input is 0, and 0 passes tanh layers without biases as 0.
    x = jnp.arange(7.0)[None]
    np.testing.assert_array_equal(
        model.apply(variables, x, method="encode"), jnp.zeros((1, 2, 4))
    )
    assert np.abs(model.apply(variables, x + 1, method="encode")).min() > 0
    # The corner of the classes 0 and 3 is (−1, −1, 1, 1).
    z = jax.nn.one_hot(jnp.array([[0, 3]]), 4)
    centres = variables["centres"] | {"z": jnp.array([-1.0, -1.0, 1.0, 1.0])}
    moved = variables | {"centres": centres}
    for given, zero in ((variables, False), (moved, True)):
        logits = model.apply(given, z, 1, method="encode")
        assert logits.shape == (1, 1, 8) and np.all(logits == 0) == zero


@pytest.mark.parametrize(("num_classes", "coordinates"), [(2, 1), (4, 2), (8, 3)])
def test_corners_are_all_different_and_all_there(num_classes, coordinates):
    matrix = np.asarray(corners(num_classes))
    assert matrix.shape == (coordinates, num_classes)
    found = {tuple(column) for column in matrix.T}
    assert found == set(itertools.product((-1.0, 1.0), repeat=coordinates))


def test_corner_matrix_of_four_classes():
    # Class k is k in binary digits, the highest first, −1 for 0.
    expected = [[-1, -1, 1, 1], [-1, 1, -1, 1]]
    np.testing.assert_array_equal(corners(4), expected)


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


def test_corner_code_of_relaxed_values_is_linear():
    value = jax.nn.softmax(jax.random.normal(jax.random.key(0), (5, 3, 4)))
    matrix = np.array([[-1.0, -1, 1, 1], [-1, 1, -1, 1]])
    expected = np.stack([[matrix @ x for x in row] for row in np.asarray(value)])
    np.testing.assert_allclose(corner_code(value), expected.reshape(5, 6), atol=1e-6)


def test_corner_code_of_bernoulli_values():
    b = jnp.array([[0.0, 1.0, 0.25]])
    np.testing.assert_array_equal(corner_code(b), [[-1.0, 1.0, -0.5]])
    # The two-class variable with the same meaning has the same code.
    np.testing.assert_array_equal(
        corner_code(jnp.stack([1 - b, b], axis=-1)), corner_code(b)
    )


def test_plain_code_keeps_the_value():
    value = jnp.arange(12.0).reshape(2, 2, 3)
    np.testing.assert_array_equal(plain_code(value), value.reshape(2, 6))
    np.testing.assert_array_equal(plain_code(value[:, :, 0]), value[:, :, 0])


def make_stochastic(latent_shape, num_layers, code):
    bias = jnp.linspace(-1.0, 1.0, 7)
    model = StochasticNet(latent_shape, num_layers, code, 7, lambda *_: bias)

    @jax.jit
    def init(key):
        return model.init(key, jnp.zeros((1, 5)), lambda _, logits: logits)

    return model, init(jax.random.key(0))


def test_stochastic_net_initial_values():
    model, params = make_stochastic((2, 4), 2, plain_code)
    seen = {}

    def value_of(name, logits):
        seen[name] = logits
        return jnp.zeros_like(logits)

    pixels = model.apply(params, jnp.zeros((3, 5)), value_of)
    assert list(seen) == ["z1", "z2"]
    for logits in seen.values():
        np.testing.assert_array_equal(logits, jnp.zeros((3, 2, 4)))
    expected = np.tile(jnp.linspace(-1.0, 1.0, 7), (3, 1))
    np.testing.assert_array_equal(pixels, expected)
