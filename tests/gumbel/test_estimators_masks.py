"""Forbidden and certain values: as if they were not there, for every estimator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import (
    brute_force,
    many_estimates,
    mean_difference_z,
    worst_z,
)
from gumbel.estimators import ESTIMATORS
from gumbel.programs import KL_FORMS
from toys import KINDS, Toy, normal

REPEATS = 2000
ALLOWED = np.asarray([0, 2, 3])  # of five classes, and of three bits the first
LARGE = -1e9, float(np.finfo(np.float32).min)
MASK = np.asarray([False, True, False, False, True])


def make_toys(with_classes: bool):
    """A program with forbidden values, and the same program over the allowed ones."""
    rng = np.random.default_rng(4)
    shapes = {"bits": (3, 3), "bits_prior": (3,), "bits_out": (3,)}
    shapes |= {"in": (3, 10), "prior": (2, 5), "out": (2, 5)}
    params = {name: normal(rng, *shape) for name, shape in shapes.items()}

    def masked(params, x, fill):
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

    x, draws = normal(rng, 2, 3), (("b", (1,), 2), ("z", (2,), 3))
    draws = draws if with_classes else draws[:1]
    return masked, Toy(allowed, params, (x,), draws)


TOYS = {with_classes: make_toys(with_classes) for with_classes in (True, False)}


def many_masked(estimator, with_classes=True, m=1, **hyper):
    """Compiles f(state, fill) -> many Estimates, one state; and makes the first one."""
    masked, allowed = TOYS[with_classes]
    estimate = gumbel.value_and_grad(estimator, masked, num_samples=m)
    args = allowed.params, *allowed.args

    @jax.jit
    def estimates(state, fill):
        keys = jax.random.split(jax.random.key(0), REPEATS)
        result = jax.vmap(lambda key: estimate(key, *args, fill, state=state, **hyper))(
            keys
        )
        return result._replace(state=jax.tree.map(lambda a: a[0], result.state))

    return estimates, jax.jit(estimate.init)(jax.random.key(1), *args, -np.inf)


@pytest.mark.parametrize("name", [*KINDS, "arm", "muprop", "rebar", "zgr"])
def test_forbidden_values_are_as_if_they_were_not_there(name):
    entry, m = ESTIMATORS[name], ESTIMATORS[name].samples[0]
    with_classes = "Categorical" in entry.families
    hyper = {"kl": "analytic", "temperature": 0.7}
    # Learned states that move, where there is anything to learn.
    for decay in {"baseline_decay", "variance_decay"} & set(entry.hyper):
        hyper[decay] = 0.9
    _, allowed = TOYS[with_classes]
    estimates, state = many_masked(name, with_classes, m, **hyper)
    bounds, grads, _ = first = estimates(state, -np.inf)
    if entry.unbiased:
        assert worst_z((bounds, grads), brute_force(allowed, m)) < 5
    else:
        theirs = many_estimates(name, allowed, m, REPEATS, **hyper)()
        assert mean_difference_z((bounds, grads), theirs) < 5
    assert (grads["bits"][..., 1:] == 0).all()
    assert (grads["bits_prior"][..., 1:] == 0).all()
    if with_classes:
        for leaf in ("in", "prior"):
            slopes = grads[leaf].reshape(REPEATS, -1, 2, 5)
            assert (slopes[..., MASK] == 0).all()
            assert (slopes[..., ~MASK] != 0).any()
    # Large logits are masks too, and learned states stay finite.
    for fill in LARGE:
        result = estimates(state, fill)
        for ours, truth in zip(result[:2], first[:2], strict=True):
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
                ours,
                truth,
            )
    for fill in (-np.inf, *LARGE):
        result = first
        for _ in range(2):
            result = estimates(result.state, fill)
            for leaf in jax.tree.leaves(result):
                assert np.isfinite(leaf).all()


@pytest.mark.parametrize("kl", KL_FORMS)
def test_forbidden_values_in_every_form_of_the_kl(kl):
    for sampler in (
        gumbel.programs.relaxed(0.7, 0.5, kl),
        *[gumbel.programs.hard(kl)] * (kl == "soft_mass"),
    ):
        estimator = gumbel.estimators.pathwise(lambda hyper, sampler=sampler: sampler)
        ours = many_masked(estimator)[0]((), -np.inf)
        theirs = many_estimates(estimator, TOYS[True][1], repeats=REPEATS)()
        assert mean_difference_z(ours[:2], theirs) < 5


@pytest.mark.parametrize("name", KINDS)
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

    f = gumbel.value_and_grad(name, program, num_samples=ESTIMATORS[name].samples[0])
    hyper = {"kl": "soft_mass"}

    @jax.jit
    def estimate(key):
        return f(key, logits, state=f.init(key, logits, **hyper), **hyper)

    for leaf in jax.tree.leaves(estimate(jax.random.key(0))):
        assert np.isfinite(leaf).all()
