"""Schedules against the formula by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel


def test_exponential_by_hand():
    schedule = gumbel.schedules.exponential(1.0, 0.5, 1e-4, 1000)
    for step, expected in [
        (0, 1.0),
        (999, 1.0),
        (1000, np.exp(-0.1)),
        (1999, np.exp(-0.1)),
        (5000, np.exp(-0.5)),
        (7000, 0.5),
        (10**6, 0.5),
    ]:
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-6)


def test_exponential_vectorised_over_steps_and_traced_in_every_argument():
    traces = []

    @jax.jit
    def temperature(step, initial, minimum, rate, every):
        traces.append(None)
        return gumbel.schedules.exponential(initial, minimum, rate, every)(step)

    steps = jnp.arange(0, 3000, 500)
    first = temperature(steps, 2.0, 0.5, 1e-3, 1000)
    np.testing.assert_allclose(first, 2 * np.exp([0, 0, -1, -1, -2, -2]).clip(0.25))
    temperature(steps, 1.0, 0.1, 1e-2, 10)
    assert len(traces) == 1


def test_constant():
    schedule = gumbel.schedules.constant(2 / 3)
    assert float(schedule(0)) == float(schedule(10**6)) == np.float32(2 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 0.5, 1e-4, 500), "initial=0.0: must be a positive finite number"),
        ((1.0, -0.5, 1e-4, 500), "minimum=-0.5: must be a positive finite number"),
        ((1.0, 0.5, -1e-4, 500), "rate=-0.0001: must be a non-negative finite number"),
        ((1.0, 0.5, 1e-4, 0), "every=0: must be a positive finite number"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        gumbel.schedules.exponential(*arguments)
    with pytest.raises(ValueError, match="value=0: must be"):
        gumbel.schedules.constant(0)


def test_linear_by_hand():
    schedule = gumbel.schedules.linear(1.0, 5.0, 0.04, 500)
    for step, expected in [(0, 1.0), (499, 1.0), (500, 1.04), (5000, 1.4), (10**6, 5)]:
        np.testing.assert_allclose(schedule(step), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="maximum=0: must be a positive"):
        gumbel.schedules.linear(1.0, 0, 0.04, 500)
