"""Exact enumeration against brute force."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import brute_force, one_estimate
from gumbel.estimators import ESTIMATORS
from gumbel.estimators import enumeration as enumeration_module
from toys import TOYS


def assert_exact(estimate, truth):
    bound, grads = truth
    np.testing.assert_allclose(estimate.bound, bound, rtol=1e-5)
    for name, grad in grads.items():
        np.testing.assert_allclose(
            estimate.grads[name], grad, rtol=1e-4, atol=2e-5, err_msg=name
        )


@pytest.mark.parametrize(
    ("toy", "num_samples"),
    [
        ("2-3-cost", 1),
        ("3-2-elbo", 1),
        ("2-elbo", 2),
        ("2-3-cost", 2),
    ],
)
def test_it_is_the_gradient(toy, num_samples):
    toy = TOYS[toy]
    estimate = one_estimate("exact", toy, num_samples)
    assert ESTIMATORS["exact"].unbiased
    first, second = (estimate(jax.random.key(seed), None, {}) for seed in (0, 1))
    assert first.state == ()
    assert_exact(first, brute_force(toy, num_samples))
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_it_is_the_same_in_chunks(monkeypatch):
    toy = TOYS["3-2-elbo"]
    monkeypatch.setattr(enumeration_module, "CHUNK", 5)
    assert_exact(
        one_estimate("exact", toy)(jax.random.key(0), None, {}), brute_force(toy)
    )


def test_the_three_kl_forms_are_one_on_hard_values():
    # In expectation over the corners, m = 1: Σ q (log q − log p) is the closed form.
    rng = np.random.default_rng(0)
    params = {
        "logits": jnp.asarray(rng.normal(size=(2, 2, 3)), jnp.float32),
        "prior": jnp.asarray(rng.normal(size=(2, 3)), jnp.float32),
    }

    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Categorical(params["logits"]))
            fit = jnp.sin(z.value @ jnp.arange(3.0)).sum(1)
            return fit - z.kl(gumbel.Categorical(params["prior"]))

        return run

    estimate = gumbel.value_and_grad("exact", program)

    @jax.jit
    def every_form(params):
        return [
            estimate(jax.random.key(0), params, None, kl=kl)
            for kl in gumbel.programs.KL_FORMS
        ]

    forms = every_form(params)
    for form in forms[1:]:
        assert_exact(form, forms[0][:2])


def test_too_many_joint_values_are_refused():
    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Bernoulli(jnp.zeros((1, 17)) + params))
            return z.value.sum(1)

        return run

    message = "the discrete draws have 131072 joint values for each of 1 samples: must"
    with pytest.raises(ValueError, match=message):
        gumbel.value_and_grad("exact", program)(jax.random.key(0), 0.0, None)
    toy = TOYS["3-cost"]
    with pytest.raises(ValueError, match="9 joint values for each of 6 samples"):
        one_estimate("exact", toy, 6)(jax.random.key(0), None, {})
