"""Variance normalisation: the gradient in a draw's logits over its scale, all of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import init_state, moments, one_estimate
from gumbel.estimators import ESTIMATORS
from gumbel.estimators.baselines import MOMENTS_HYPER, centre
from gumbel.programs import KL_FORMS
from toys import Toy, normal


def two_layers(params, x):
    """A class, bits that depend on it, their priors, and a Gaussian draw after both."""

    def run(draw):
        logits = (x @ params["in0"]).reshape(-1, 2, 3)
        first = draw("z0", gumbel.Categorical(logits))
        second = draw(
            "z1", gumbel.Bernoulli(first.value.reshape(-1, 6) @ params["in1"])
        )
        loc = second.value @ params["loc"]
        last = draw("z2", gumbel.Normal(loc, jnp.ones_like(loc)))
        kl = first.kl(gumbel.Categorical(params["prior0"]))
        kl = kl + second.kl(gumbel.Bernoulli(params["prior1"]))
        kl = kl + last.kl(gumbel.Normal(params["prior2"], jnp.ones(2)))
        return (jnp.tanh(last.value @ params["out"]) ** 2).sum(1) - kl

    return run


def toy() -> Toy:
    rng = np.random.default_rng(0)
    shapes = {
        **{"in0": (3, 6), "in1": (6, 2), "loc": (2, 2), "out": (2, 4)},
        **{"prior0": (2, 3), "prior1": (2,), "prior2": (2,)},
    }
    params = {name: normal(rng, *shape) for name, shape in shapes.items()}
    draws = (("z0", (2,), 3), ("z1", (2,), 2))
    return Toy(two_layers, params, (normal(rng, 5, 3),), draws)


def with_variances(name: str, first: float, second: float):
    """A state whose draws have these variances; one for both where there is one."""
    if name in ("score_function", "muprop"):
        assert first == second
        return moments(0.5, first)
    both = {"z0": moments(0.5, first), "z1": moments(-0.3, second)}
    if name == "darn":
        return both
    state = init_state(name, jax.random.key(0), toy())
    return {draw: state[draw].replace(moments=both[draw]) for draw in both}


@pytest.mark.parametrize(
    ("name", "kl"),
    [(name, "soft_mass") for name in ("score_function", "nvil", "muprop", "darn")]
    + [("muprop", kl) for kl in KL_FORMS if kl != "soft_mass"],
)
def test_all_of_the_gradient_in_the_logits_is_divided_in_every_form_of_the_kl(name, kl):
    estimator = ESTIMATORS[name]
    estimator = dataclasses.replace(estimator, hyper={**estimator.hyper, "kl": kl})
    estimate = one_estimate(estimator, toy())
    scales = (3.0, 3.0) if name in ("score_function", "muprop") else (3.0, 5.0)
    plain, scaled = (
        estimate(jax.random.key(1), with_variances(name, *variances), {})
        for variances in ((0.0, 0.0), np.square(scales))
    )
    np.testing.assert_array_equal(scaled.bound, plain.bound)
    for layer, scale in enumerate(scales):
        grad = plain.grads[f"in{layer}"]
        assert jnp.abs(grad).max() > 1e-2
        np.testing.assert_allclose(
            scaled.grads[f"in{layer}"], grad / scale, rtol=1e-5, atol=1e-6
        )
    for other in ("loc", "out", "prior0", "prior1", "prior2"):
        np.testing.assert_array_equal(scaled.grads[other], plain.grads[other])


@pytest.mark.parametrize("name", ["score_function", "nvil", "muprop", "darn"])
def test_the_signal_alone_is_divided(name):
    # What remains of it at an infinite variance is the gradient of the closed-form KL.
    estimator = ESTIMATORS[name]
    hyper = {**estimator.hyper, "kl": "analytic", "normalise": "signal"}
    estimate = one_estimate(dataclasses.replace(estimator, hyper=hyper), toy())
    plain, third, none = (
        estimate(jax.random.key(1), with_variances(name, v, v), {})
        for v in (0.0, 9.0, 1e14)
    )
    np.testing.assert_allclose(
        third.grads["in0"],
        none.grads["in0"] + (plain.grads["in0"] - none.grads["in0"]) / 3.0,
        rtol=1e-4,
        atol=1e-5,
    )
    assert (jnp.abs(plain.grads["in0"] - none.grads["in0"]) > 1e-2).any()
    if name == "muprop":  # and the share that is added back
        return
    x = toy().args[0]

    def minus_kl(weights):
        log_q = jax.nn.log_softmax((x @ weights).reshape(-1, 2, 3))
        log_p = jax.nn.log_softmax(toy().params["prior0"])[None]
        return -(jnp.exp(log_q) * (log_q - log_p)).sum((1, 2)).mean()

    expected = jax.grad(minus_kl)(toy().params["in0"])
    np.testing.assert_allclose(none.grads["in0"], expected, rtol=1e-4, atol=1e-5)


def test_moments_are_used_before_they_are_updated():
    signal = jnp.asarray([1.0, 5.0, 6.0])
    hyper = {"baseline_decay": 0.9, "variance_decay": 0.5}
    result, new = centre(signal, moments(2.0, 16.0), hyper)
    np.testing.assert_allclose(result, np.asarray(signal) - 2.0, rtol=1e-6)
    np.testing.assert_allclose(new.mean, 0.9 * 2.0 + 0.1 * 4.0, rtol=1e-6)
    np.testing.assert_allclose(new.variance, 0.5 * 16.0 + 0.5 * np.var(signal))
    # Decays of 1 leave both where they are, and σ < 1 is not enlarged.
    result, new = centre(signal, moments(0.0, 0.25), MOMENTS_HYPER)
    np.testing.assert_array_equal(result, signal)
    assert (new.mean, new.variance, new.scale) == (0.0, 0.25, 1.0)
    assert moments(0.0, 16.0).scale == 4.0
