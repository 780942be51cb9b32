"""Hard routing in Flax NNX: draws in training, an argmax in evaluation."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.examples import flax_nnx as example

GRID = jnp.linspace(-1, 1, 201)[:, None]


def test_routes_are_hard_and_better_than_one_line():
    model, error = example.main(steps=300)
    y, route = model(GRID)
    assert set(np.unique(route)) == {0.0, 1.0}
    assert (route.sum(1) == 1).all()
    np.testing.assert_allclose(np.mean((y - np.abs(GRID)) ** 2), error, rtol=1e-5)
    # The best single line has 1/12.
    assert error < 1 / 24


def test_only_training_draws():
    model = example.Experts(rngs=nnx.Rngs(0))
    drawn = [model(GRID, 1.0)[1] for _ in range(2)]
    assert not jnp.array_equal(*drawn)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    model.eval()
    likeliest = [model(GRID)[1] for _ in range(2)]
    assert jnp.array_equal(*likeliest)
    assert jnp.array_equal(likeliest[0].argmax(1), model.router(GRID).argmax(1))
    model.train()
    assert not jnp.array_equal(model(GRID, 1.0)[1], likeliest[0])
