"""Forbidden and certain values: as if they were not there, for every estimator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import Toy, many_estimates, mean_difference_z, normal
from gumbel.estimators import ESTIMATORS
from gumbel.programs import KL_FORMS

every = pytest.mark.parametrize("name", list(ESTIMATORS))
# Learned states that move, where there is anything to learn.
MOVING = {"baseline_decay": 0.9, "variance_decay": 0.9}
ALLOWED = np.asarray([0, 2, 3])  # of five classes, and of three bits the first
MASK = np.asarray([False, True, False, False, True])


def draws_classes(name):
    return "Categorical" in ESTIMATORS[name].families


def samples_of(name):
    return ESTIMATORS[name].samples[0]


def make_toys(with_classes: bool, fill: float = -np.inf):
    """A program with forbidden values, and the same program over the allowed ones."""
    rng = np.random.default_rng(4)
    shapes = {"bits": (3, 3), "bits_prior": (3,), "bits_out": (3,)}
    shapes |= {"in": (3, 10), "prior": (2, 5), "out": (2, 5)}
    params = {name: normal(rng, *shape) for name, shape in shapes.items()}

    def masked(params, x):
        def run(draw):
            def bits_of(logits):
                # A free bit, a 0 and a 1.
                free, zero, one = jnp.split(logits, 3, axis=-1)
                zero, one = jnp.full_like(zero, fill), jnp.full_like(one, -fill)
                return gumbel.Bernoulli(jnp.concatenate([free, zero, one], axis=-1))

            def classes_of(logits):
                mask = np.broadcast_to(MASK, logits.shape)
                return gumbel.Categorical(jnp.where(mask, fill, logits))

            b = draw("b", bits_of(x @ params["bits"]))
            log_w = b.value @ params["bits_out"] - b.kl(bits_of(params["bits_prior"]))
            if with_classes:
                logits = (b.value @ params["in"]).reshape(2, 2, 5)
                z = draw("z", classes_of(logits))
                log_w += (z.value * params["out"][None]).sum((1, 2))
                log_w -= z.kl(classes_of(params["prior"]))
            return jnp.sin(3.0 * log_w) + log_w

        return run

    def allowed(params, x):
        def run(draw):
            b = draw("b", gumbel.Bernoulli((x @ params["bits"])[:, :1]))
            h = jnp.concatenate([b.value, 0.0 * b.value, 0.0 * b.value + 1.0], axis=1)
            log_w = h @ params["bits_out"]
            log_w -= b.kl(gumbel.Bernoulli(params["bits_prior"][:1]))
            if with_classes:
                logits = (h @ params["in"]).reshape(2, 2, 5)[..., ALLOWED]
                z = draw("z", gumbel.Categorical(logits))
                log_w += (z.value * params["out"][None, :, ALLOWED]).sum((1, 2))
                log_w -= z.kl(gumbel.Categorical(params["prior"][:, ALLOWED]))
            return jnp.sin(3.0 * log_w) + log_w

        return run

    args = (normal(rng, 2, 3),)
    return Toy(masked, params, args, ()), Toy(allowed, params, args, ())


@every
def test_forbidden_values_are_as_if_they_were_not_there(name):
    masked, allowed = make_toys(draws_classes(name))
    m, hyper = samples_of(name), {"temperature": 0.7}
    ours, theirs = (
        many_estimates(name, toy, m, repeats=5000)(None, hyper)
        for toy in (masked, allowed)
    )
    assert mean_difference_z(ours, theirs) < 5
    assert (ours[1]["bits"][..., 1:] == 0).all()
    assert (ours[1]["bits_prior"][..., 1:] == 0).all()
    if draws_classes(name):
        for leaf in ("in", "prior"):
            grads = ours[1][leaf].reshape(len(ours[0]), -1, 2, 5)
            assert (grads[..., MASK] == 0).all()
            assert (grads[..., ~MASK] != 0).any()


@pytest.mark.parametrize("kl", KL_FORMS)
def test_forbidden_values_in_every_form_of_the_kl(kl):
    toys = make_toys(True)
    ours, theirs = (
        many_estimates(
            gumbel.estimators.pathwise(
                lambda hyper: gumbel.programs.relaxed(0.7, 0.5, kl)
            ),
            toy,
            repeats=5000,
        )(None, {})
        for toy in toys
    )
    assert mean_difference_z(ours, theirs) < 5


@every
def test_learned_states_stay_finite_and_large_negative_logits_are_masks(name):
    entry, with_classes = ESTIMATORS[name], draws_classes(name)
    hyper = {k: v for k, v in MOVING.items() if k in entry.hyper} | {"kl": "analytic"}

    @jax.jit
    def three_steps(fill):
        toy, _ = make_toys(with_classes, fill)
        estimate = gumbel.value_and_grad(
            name, toy.program, num_samples=samples_of(name)
        )

        def step(state, key):
            result = estimate(key, toy.params, *toy.args, state=state, **hyper)
            return result.state, result

        state = estimate.init(jax.random.key(1), toy.params, *toy.args, **hyper)
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(0), 3))[1]

    truth = three_steps(-np.inf)
    for fill in (-1e9, np.finfo(np.float32).min):
        ours = three_steps(fill)
        for leaf in jax.tree.leaves((ours, truth)):
            assert np.isfinite(leaf).all()
        np.testing.assert_allclose(ours.bound, truth.bound, rtol=1e-4, atol=1e-5)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
            ours.grads,
            truth.grads,
        )


@pytest.mark.parametrize("name", [n for n in ESTIMATORS if draws_classes(n)])
def test_all_is_finite_with_the_least_float16(name):
    # Its multiples are infinite in float16, and so would be the KL's gradient in a
    # value of that type.
    logits = jnp.asarray([[[1.5, -0.5, jnp.finfo(jnp.float16).min]] * 2], jnp.float16)
    prior = gumbel.Categorical(jnp.zeros_like(logits))

    def program(logits):
        def run(draw):
            z = draw("z", gumbel.Categorical(logits))
            return z.value[..., 0].sum(axis=1) - z.kl(prior)

        return run

    f = gumbel.value_and_grad(name, program, num_samples=samples_of(name))
    hyper = {"kl": "soft_mass"}
    state = f.init(jax.random.key(1), logits, **hyper)
    estimate = f(jax.random.key(0), logits, state=state, **hyper)
    for leaf in jax.tree.leaves(estimate):
        assert np.isfinite(leaf).all()
