"""Every estimator: truth, shapes, precision, state, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import (
    brute_force,
    init_state,
    many_estimates,
    one_estimate,
    worst_z,
)
from gumbel.estimators import ESTIMATORS, stateless
from gumbel.quality import draw_parameters
from toys import (
    BITS_LOOP,
    KINDS,
    LOOP,
    MIXED,
    TOYS,
    Toy,
    normal,
)

LEARN = [name for name, entry in ESTIMATORS.items() if entry.init is not stateless]
NAMES = list(ESTIMATORS)
every = pytest.mark.parametrize("name", NAMES)


def draws_classes(name):
    return "Categorical" in ESTIMATORS[name].families


def samples_of(name):
    return ESTIMATORS[name].samples[0]


def assert_truth(name, toy, num_samples=None):
    """The bound is that of hard samples; its gradient has a bias or none, as said."""
    m = num_samples or samples_of(name)
    hyper = {"temperature": jnp.ones(())}
    for decay in {"baseline_decay", "variance_decay"} & set(ESTIMATORS[name].hyper):
        hyper[decay] = 0.9  # A state that moves is the state of the next call.
    with jax.numpy_dtype_promotion("strict"):
        bounds, grads = many_estimates(name, toy, m)(None, hyper)
    exact_bound, exact_grads = brute_force(toy, m)
    assert (worst_z(bounds, exact_bound) < 5) == (name != "gumbel_softmax")
    bias = worst_z(grads, exact_grads)
    assert bias < 5 if ESTIMATORS[name].unbiased else bias > 10


@every
def test_a_loop_of_three_maps_by_enumeration_and_strict_dtype_promotion(name):
    # Of several samples where it takes them: one is the case without a sum.
    m = 1 if ESTIMATORS[name].samples[1] else 2
    toy = LOOP if draws_classes(name) else BITS_LOOP
    assert_truth(name, toy, num_samples=m)
    single, double = (brute_force(toy, samples)[0] for samples in (1, 2))
    assert (double - single).max() > 1e-2, "another bound"


def test_three_samples_by_enumeration():
    assert_truth("vimco", TOYS["3-cost"], num_samples=3)


@pytest.mark.parametrize("name", KINDS)
def test_a_single_class_is_certain(name):
    def program(logits):
        def run(draw):
            return 3.0 * draw("z", gumbel.Categorical(logits)).value.sum(axis=(1, 2))

        return run

    @jax.jit
    def call(key, logits):
        f = gumbel.value_and_grad(name, program, num_samples=samples_of(name))
        return f(key, logits, state=f.init(jax.random.key(1), logits))

    estimate = call(jax.random.key(0), jnp.ones((2, 2, 1)))
    np.testing.assert_allclose(estimate.bound, 6.0, rtol=1e-6)
    np.testing.assert_allclose(estimate.grads, 0.0, atol=1e-6)


@pytest.mark.parametrize("name", ["nvil", "disarm", "rebar", "muprop"])
def test_gaussians_beside_a_class_by_enumeration(name):
    assert_truth(name, MIXED)


@pytest.mark.parametrize("name", [n for n in KINDS if not ESTIMATORS[n].unbiased])
def test_the_axes_of_the_variables_do_not_matter(name):
    # The same variables as [B, 4, 3] and [B, 2, 2, 3]: the same biased estimate.
    rng = np.random.default_rng(0)
    params = {"logits": normal(rng, 2, 4, 3), "prior": normal(rng, 4, 3)}
    x = jnp.arange(1.0, 13.0)[None]

    def program(shape):
        def program(params, x):
            def run(draw):
                logits, prior = (params[k].reshape(s) for k, s in shapes.items())
                node = draw("z", gumbel.Categorical(logits))
                kl = node.kl(gumbel.Categorical(prior))
                return jnp.sin(x * node.value.reshape(2, -1)).sum(1) - kl

            return run

        shapes = {"logits": (2, *shape, 3), "prior": (*shape, 3)}
        return program

    flat, square = (
        one_estimate(name, Toy(program(shape), params, (x,), ()))(
            jax.random.key(0), None, {}
        )
        for shape in ((4,), (2, 2))
    )
    np.testing.assert_allclose(square.bound, flat.bound, rtol=1e-6)
    for leaf in params:
        np.testing.assert_allclose(
            square.grads[leaf], flat.grads[leaf], rtol=1e-5, atol=1e-6
        )


def test_sums_and_means_are_made_in_float32():
    dtype = "bfloat16"
    # Every weight is e⁻¹⁰⁰ and every mass 2⁻¹⁰⁰⁰: any mean of them is the same.
    logits = jnp.zeros((2, 1000), dtype)

    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Bernoulli(params))
            constant = jnp.full(2, -100.0, dtype)
            exact = z.log_q - z.log_q.astype(jnp.float32) == 0
            error = jnp.abs(z.log_q + 1000 * np.log(2.0)) + z.kl(gumbel.Bernoulli(x))
            return jnp.where(exact & (error < 1e-3), constant, jnp.nan)

        return run

    key = jax.random.key(0)
    evaluate = jax.jit(gumbel.evaluate(program, num_samples=5000))
    estimate = gumbel.value_and_grad("score_function", program, num_samples=64)
    state = estimate.init(key, logits, logits)
    call = jax.jit(lambda *args: estimate(*args, state=state, kl="analytic").bound)
    for bound in (evaluate(key, logits, logits), call(key, logits, logits)):
        assert bound.dtype == jnp.float32
        np.testing.assert_allclose(bound, -100.0, atol=1e-4)


def extremes_program(params, x):
    """Draws at extreme logits; x is added where all values are exactly hard."""

    def run(draw):
        log_w, hard = 0.0, True
        for name, logits in params.items():
            family = gumbel.Bernoulli if name == "bits" else gumbel.Categorical
            node = draw(name, family(logits))
            values = node.value.reshape(len(x), -1).astype(jnp.float32)
            hard &= ((values == 0) | (values == 1)).all(1)
            log_w += (values**2).sum(1) - node.kl(family(jnp.zeros_like(logits)))
        return jnp.where(hard, x, 0.0) + log_w

    return run


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float32") for name in NAMES] + [(name, "bfloat16") for name in KINDS],
)
def test_hard_and_finite_at_extreme_logits_and_traced_once(name, dtype):
    rng, entry = np.random.default_rng(0), ESTIMATORS[name]
    size = 1 if name == "exact" else 20
    largest = 1e4 if dtype == "float32" else 1e2
    shapes = {"bits": (size, 3), "classes": (size, 2, 3)}
    if not draws_classes(name):
        del shapes["classes"]
    elif dtype == "bfloat16":
        del shapes["bits"]
    params = {k: (largest * normal(rng, *s)).astype(dtype) for k, s in shapes.items()}
    hyper = {"gap": None} if name == "gapped_st" else {}
    estimate = gumbel.value_and_grad(
        name, extremes_program, num_samples=entry.samples[0]
    )
    traces, x = [], jnp.full(size, 1e6)

    # Under plain jit: the optimiser is what breaks other forms of straight-through.
    @jax.jit
    def call(key, params, state, temperature):
        traces.append(None)
        return estimate(key, params, x, state=state, temperature=temperature, **hyper)

    # Relaxed values are hard only where they saturate, and enumerated ones may be rare.
    hard = name not in ("gumbel_softmax", "exact")
    with jax.numpy_dtype_promotion("strict"):
        state = jax.jit(estimate.init)(jax.random.key(1), params, x)
        for temperature in (1.0, 1e-3, 1e3):
            key = jax.random.key(0, impl="rbg")
            result = call(key, params, state, temperature)
            kinds = [
                jax.tree.map(lambda a: (a.shape, a.dtype), tree)
                for tree in (state, params, result.state, result.grads)
            ]
            assert kinds[:2] == kinds[2:]
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
            assert (result.bound > 5e5 - 10 * largest).all() or not hard
            assert result.bound.dtype == jnp.float32
            state = result.state
    assert len(traces) == 1


def repeated(transformation):
    """A program that draws inside a transformation of its own."""

    def program(params, x):
        def run(draw):
            def step(carry, logits):
                return carry + draw(
                    "z", gumbel.Bernoulli(logits[None])
                ).value.sum(), 0.0

            if transformation == "scan":
                total = jax.lax.scan(step, 0.0, params)[0]
            elif transformation == "vmap":
                total = jax.vmap(lambda logits: step(0.0, logits)[0])(params).sum()
            elif transformation == "jit":
                total = jax.jit(lambda logits: step(0.0, logits)[0])(params[0])
            else:
                total = jax.lax.cond(
                    params[0, 0] > 0,
                    lambda: step(0.0, params[0])[0],
                    lambda: jnp.zeros(()),
                )
            return total[None]

        return run

    return program


@pytest.mark.parametrize("transformation", ["scan", "vmap", "cond", "jit"])
def test_a_draw_inside_a_transformation_is_refused_by_every_interpreter(transformation):
    program, params = repeated(transformation), jnp.ones((3, 2))
    message = r'a Python loop with a name a step, draw\(f"z{t}", …\)'
    key = functools.partial(jax.random.key, 0)
    for name in NAMES:
        f = gumbel.value_and_grad(name, program, num_samples=samples_of(name))
        with pytest.raises(ValueError, match=message):
            f(key(), params, None, state=f.init(key(), params, None))
    with pytest.raises(ValueError, match=message):
        gumbel.evaluate(program, num_samples=3)(key(), params, None)
    with pytest.raises(ValueError, match=message):
        draw_parameters(program, key(), params, None)


@pytest.mark.parametrize("name", ["nvil", "disarm", "rebar", "exact"])
def test_transformations_around_an_estimator_work(name):
    toy = TOYS["2-cost"]
    estimate = gumbel.value_and_grad(name, toy.program)
    state = init_state(name, jax.random.key(1), toy)

    @jax.jit
    def mapped_and_scanned(keys):
        def bound(key):
            return estimate(key, toy.params, *toy.args, state=state).bound

        return jax.vmap(bound)(keys), jax.lax.map(bound, jax.random.clone(keys))

    keys = jax.random.split(jax.random.key(0), 3)
    np.testing.assert_allclose(*mapped_and_scanned(keys), rtol=1e-5)


@pytest.mark.parametrize("name", LEARN)
def test_an_estimator_that_learns_must_be_given_its_state(name):
    toy, other = TOYS["2-cost"], TOYS["3-3-cost"]
    estimate = gumbel.value_and_grad(name, toy.program)
    with pytest.raises(ValueError, match=rf"{name} learns .*f\.init\(key, params, \*a"):
        estimate(jax.random.key(0), toy.params, *toy.args)
    state = estimate.init(jax.random.key(0), toy.params, *toy.args)
    assert jax.tree.leaves(state)
    for foreign in ((), {"z7": state}, jax.tree.map(lambda a: a[None], state)):
        with pytest.raises(ValueError, match=rf"not one of the estimator {name}"):
            estimate(jax.random.key(0), toy.params, *toy.args, state=foreign)
    if name in ("nvil", "relax", "darn", "tuned_rebar"):
        foreign = init_state(name, jax.random.key(0), other)
        with pytest.raises(ValueError, match=rf"not one of the estimator {name}"):
            estimate(jax.random.key(0), toy.params, *toy.args, state=foreign)


def test_an_estimator_that_learns_nothing_needs_no_state():
    assert set(LEARN) >= {"nvil", "score_function", "darn", "muprop", "relax"}
    toy = TOYS["2-cost"]
    for name in set(NAMES) - set(LEARN) - {"vimco"}:
        assert init_state(name, jax.random.key(0), toy) == ()
    estimate = gumbel.value_and_grad("straight_through", toy.program)
    with pytest.raises(ValueError, match="not one of the estimator straight_through"):
        estimate(jax.random.key(0), toy.params, *toy.args, state={"z": jnp.zeros(3)})


def gaussian_program(params, x):
    def run(draw):
        z = draw("z", gumbel.Normal(x @ params, jnp.ones((2, 6))))
        return (z.value**2).sum(1)

    return run


@functools.cache
def gaussian_estimate(name, num_samples):
    """The gradient of a program without discrete draws."""
    rng = np.random.default_rng(0)
    toy = Toy(gaussian_program, normal(rng, 3, 6), (normal(rng, 2, 3),), ())
    return one_estimate(name, toy, num_samples)(jax.random.key(0), None, {}).grads


@pytest.mark.parametrize("name", [*KINDS, "reinforce_loo"])
def test_a_program_without_discrete_draws_is_reparameterised(name):
    ours = gaussian_estimate(name, samples_of(name))
    if name != "reinforce_loo":  # its replicates have other noise
        reference = gaussian_estimate("straight_through", samples_of(name))
        np.testing.assert_allclose(ours, reference, rtol=1e-5)
    assert (ours != 0).all()
