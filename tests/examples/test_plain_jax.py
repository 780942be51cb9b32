"""Hard routing in plain JAX: two lines and more make |x|."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.examples import plain_jax as example


def test_routes_are_hard_and_better_than_one_line():
    x, y, route, error = example.main(steps=500)
    assert set(np.unique(route)) == {0.0, 1.0}
    assert (route.sum(1) == 1).all()
    np.testing.assert_allclose(np.mean((y - np.abs(x)) ** 2), error, rtol=1e-5)
    # The best single line has 1/12.
    assert error < 1 / 24


def test_a_perfect_router_has_no_error():
    other = jnp.zeros((2, example.EXPERTS - 2))
    router = jnp.array([[9.0, -9.0], [0.0, 0.0]])
    lines = jnp.array([[1.0, -1.0], [0.0, 0.0]])
    params = {
        "router": jnp.concatenate([router, other - 99.0], axis=1),
        "lines": jnp.concatenate([lines, other], axis=1),
    }
    x = jnp.linspace(-1, 1, 51)[:, None]
    assert example.squared_error(params, x, example.likeliest) == 0.0
    swapped = params | {"lines": -params["lines"]}
    assert example.squared_error(swapped, x, example.likeliest) > 1.0


def test_the_choice_of_training_is_a_one_hot_draw():
    logits = jnp.log(jnp.array([[0.1, 0.2, 0.3, 0.4]]))
    drawn = example.drawn(jax.random.key(0), 0.5)(jnp.tile(logits, (4000, 1)))
    assert set(np.unique(drawn)) == {0.0, 1.0}
    p = np.array([0.1, 0.2, 0.3, 0.4])
    stderr = np.sqrt(p * (1 - p) / 4000)
    assert (np.abs(np.mean(drawn, axis=0) - p) < 5 * stderr).all()
