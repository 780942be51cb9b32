"""Networks: layer sizes, initial values, and what the reshapes mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gumbel.nets import DiscreteVae


def make(latent_shape, hidden=()):
    bias = jnp.linspace(-1.0, 1.0, 7)
    model = DiscreteVae(latent_shape, hidden, 7, lambda key, shape, dtype: bias)
    return model, model.init(jax.random.key(0), jnp.zeros((1, 7)))


def count(params) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


@pytest.mark.parametrize(
    ("latent_shape", "hidden", "expected"),
    [
        # Encoder, decoder, prior: weights and biases by hand.
        ((3, 4), (), (7 * 12 + 12) + (12 * 7 + 7) + 12),
        ((5,), (), (7 * 5 + 5) + (5 * 7 + 7) + 5),
        (
            (2, 3),
            (6, 4),
            (7 * 6 + 6 + 6 * 4 + 4 + 4 * 6 + 6)
            + (6 * 4 + 4 + 4 * 6 + 6 + 6 * 7 + 7)
            + 6,
        ),
    ],
)
def test_parameter_counts(latent_shape, hidden, expected):
    _, params = make(latent_shape, hidden)
    assert count(params) == expected


def test_initial_values():
    model, params = make((3, 4))
    zero_code = model.apply(params, jnp.zeros((1, 3, 4)), method="decode")
    np.testing.assert_array_equal(zero_code[0], jnp.linspace(-1.0, 1.0, 7))
    np.testing.assert_array_equal(
        model.apply(params, jnp.zeros((2, 7)), method="encode"), jnp.zeros((2, 3, 4))
    )
    np.testing.assert_array_equal(
        model.apply(params, method="prior_logits"), jnp.zeros((3, 4))
    )


def test_linear_model_is_linear_and_mlp_is_not():
    for hidden, linear in (((), True), ((6,), False)):
        model, params = make((3, 4), hidden)
        x = jax.random.normal(jax.random.key(1), (5, 7))
        one, two = (model.apply(params, c * x, method="encode") for c in (1.0, -2.0))
        assert bool(jnp.allclose(-2.0 * one, two, atol=1e-5)) == linear
