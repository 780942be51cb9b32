"""The toy problem: closed forms of means and variances, and every estimator's place."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from experiments.examples import toy_gradients as example
from gumbel.estimators import ESTIMATORS

BERNOULLI = [n for n, e in ESTIMATORS.items() if "Bernoulli" in e.families]
STEPS = jnp.arange(20).reshape(10, 2)


def history(name):
    return example.train(name, jax.random.key(0), STEPS)


@pytest.mark.parametrize("name", BERNOULLI)
def test_every_estimator_can_be_trained(name):
    key = jax.random.key(0)
    shapes = jax.eval_shape(lambda key: example.train(name, key, STEPS), key)
    assert [s.shape for s in shapes] == [(10,), (10,), (10,), ()]


def test_exact_gradients_have_no_noise_and_lead_down():
    seen = history("exact")
    p = np.asarray(seen.probability, np.float64)
    expected = -p * (1 - p) * (1 - 2 * example.TARGET)
    np.testing.assert_allclose(seen.mean, expected, rtol=1e-4)
    np.testing.assert_allclose(seen.variance, 0.0, atol=1e-12)
    assert (np.diff(p) < 0).all() and seen.final < p[-1]


def test_main_has_every_bernoulli_estimator(monkeypatch, capsys):
    assert example.ESTIMATORS is ESTIMATORS
    own = gumbel.estimators.pathwise(lambda hyper: gumbel.programs.hard())
    categorical = gumbel.Estimator(own.init, own.estimate, families=("Categorical",))
    monkeypatch.setitem(ESTIMATORS, "no_gradient", own)
    monkeypatch.setitem(ESTIMATORS, "categorical_only", categorical)
    some = ("straight_through", "exact", "no_gradient", "categorical_only")
    monkeypatch.setattr(example, "ESTIMATORS", {n: ESTIMATORS[n] for n in some})
    histories = example.main(steps=10)
    assert list(histories) == ["straight_through", "exact", "no_gradient"]
    assert histories["no_gradient"].final == 0.5
    assert "nearest to p = 0: exact" in capsys.readouterr().out
