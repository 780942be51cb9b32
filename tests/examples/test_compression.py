"""Compression: the rate is that of the code, and β trades it for distortion."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.examples import compression as example
from experiments.models import nets


def test_rates_and_distortions(digits):
    results = example.main(steps=100)
    for code, distortion, rate in results:
        # Gibbs: no prior over single variables is shorter than their frequencies.
        counts = np.stack([(np.asarray(code) == k).mean(0) for k in range(8)])
        terms = counts * np.log2(counts, where=counts > 0, out=np.zeros_like(counts))
        assert -terms.sum() - 1e-3 < np.mean(rate) < 16 * 3 + 1
        assert np.isfinite(distortion).all()
    distortions = [np.mean(result[1]) for result in results]
    rates = [np.mean(result[2]) for result in results]
    # What β trades.
    assert distortions == sorted(distortions) and rates == sorted(rates, reverse=True)
    assert rates[0] > rates[2] + 2


def test_the_rate_is_of_the_prior():
    model = nets.DiscreteVae(
        ((16, 8),), ((4,),), 784, lambda key, shape, dtype: jnp.zeros(shape)
    )
    params = model.init(jax.random.key(0), np.zeros((1, 784)))
    pixels = np.ones((3, 784), np.float32)
    prior = np.random.default_rng(0).normal(size=(16, 8)).astype(np.float32)
    params = {"params": {**params["params"], "prior": prior}}
    code, _, rate = example.evaluate(model, params, pixels)
    mass = np.exp(prior) / np.exp(prior).sum(1, keepdims=True)
    expected = [-np.log2(mass[np.arange(16), row]).sum() for row in np.asarray(code)]
    np.testing.assert_allclose(rate, expected, rtol=1e-5)
