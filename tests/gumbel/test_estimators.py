"""What holds for every estimator: shapes, loops, masks, precision, state, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from enumeration import (
    MIXED,
    TOYS,
    Toy,
    brute_force,
    init_state,
    many_estimates,
    normal,
    one_estimate,
    worst_z,
)
from gumbel.estimators import ESTIMATORS, stateless
from gumbel.quality import draw_parameters

LEARN = [name for name, entry in ESTIMATORS.items() if entry.init is not stateless]
NAMES = list(ESTIMATORS)
every = pytest.mark.parametrize("name", NAMES)
# Learned states that move, where there is anything to learn.
MOVING = {"baseline_decay": 0.9, "variance_decay": 0.9}


def draws_classes(name):
    return "Categorical" in ESTIMATORS[name].families


def samples_of(name):
    return ESTIMATORS[name].samples[0]


def assert_truth(name, toy, num_samples=None):
    """The bound is that of hard samples; its gradient has a bias or none, as said."""
    m = num_samples or samples_of(name)
    bounds, grads = many_estimates(name, toy, m)(None, {})
    exact_bound, exact_grads = brute_force(toy, m)
    assert (worst_z(bounds, exact_bound) < 5) == (name != "gumbel_softmax")
    bias = worst_z(grads, exact_grads)
    assert bias < 5 if ESTIMATORS[name].unbiased else bias > 10


@every
def test_maps_of_variables_by_enumeration(name):
    assert_truth(name, TOYS["map-2-3" if draws_classes(name) else "map-2"])


@every
def test_a_loop_of_three_draws_by_enumeration(name):
    assert_truth(name, TOYS["loop-2"])


@pytest.mark.parametrize("name", [n for n in NAMES if draws_classes(n)])
def test_a_single_class_is_certain(name):
    def program(logits):
        def run(draw):
            return 3.0 * draw("z", gumbel.Categorical(logits)).value.sum(axis=(1, 2))

        return run

    f = gumbel.value_and_grad(name, program, num_samples=samples_of(name))
    key, logits = jax.random.key(0), jnp.ones((2, 2, 1))
    estimate = f(key, logits, state=f.init(key, logits))
    np.testing.assert_allclose(estimate.bound, 6.0, rtol=1e-6)
    np.testing.assert_allclose(estimate.grads, 0.0, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in NAMES if not ESTIMATORS[n].samples[1]])
def test_the_multi_sample_bound_by_enumeration(name):
    toy, m = TOYS["3-2-elbo" if draws_classes(name) else "2-2-cost"], 2
    if name == "vimco":
        toy, m = TOYS["3-cost"], 3
    assert_truth(name, toy, num_samples=m)
    single, several = (brute_force(toy, samples)[0] for samples in (1, m))
    assert (several - single).max() > 1e-2, "another bound"


@pytest.mark.parametrize("name", ["nvil", "disarm", "rebar", "muprop", "exact"])
def test_a_loop_of_classes_and_gaussians_beside_a_class_by_enumeration(name):
    for toy in (TOYS["loop-3"], MIXED):
        assert_truth(name, toy)


@every
def test_the_axes_of_the_variables_do_not_matter(name):
    # The same variables as [B, 4, ...] and [B, 2, 2, ...]: the same estimate.
    k = 3 if draws_classes(name) else 2
    rng = np.random.default_rng(0)
    params = {"logits": normal(rng, 2, 4, k), "prior": normal(rng, 4, k)}
    if k == 2:
        params = jax.tree.map(lambda a: a[..., 0], params)

    def program(shape):
        family = gumbel.Categorical if k == 3 else gumbel.Bernoulli
        logits_shape = (*shape, k) if k == 3 else shape

        def program(params, x):
            def run(draw):
                node = draw("z", family(params["logits"].reshape(2, *logits_shape)))
                kl = node.kl(family(params["prior"].reshape(logits_shape)))
                return jnp.sin(x * node.value.reshape(2, -1)).sum(1) - kl

            return run

        return program

    x = jnp.arange(1.0, 13.0).reshape(1, -1)[:, : params["prior"].size]
    flat, square = (
        one_estimate(name, Toy(program(shape), params, (x,), ()), samples_of(name))(
            jax.random.key(0), None, {}
        )
        for shape in ((4,), (2, 2))
    )
    np.testing.assert_allclose(square.bound, flat.bound, rtol=1e-6)
    for leaf in params:
        np.testing.assert_allclose(
            square.grads[leaf], flat.grads[leaf], rtol=1e-5, atol=1e-6
        )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sums_and_means_are_made_in_float32(dtype):
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

    for m in (1000, 5000):
        bound = gumbel.evaluate(program, num_samples=m)(
            jax.random.key(0), logits, logits
        )
        assert bound.dtype == jnp.float32
        np.testing.assert_allclose(bound, -100.0, atol=1e-4)

    for name in NAMES:
        m = 64 if ESTIMATORS[name].samples[1] is None else 1
        if name in ("exact", "gumbel_softmax"):
            continue

        def bound_of(params, x, name=name, m=m):
            estimate = gumbel.value_and_grad(name, program, num_samples=m)
            state = estimate.init(jax.random.key(0), params, x)
            return estimate(jax.random.key(1), params, x, state=state, kl="analytic")

        # Op by op: only the shapes, but of one.
        if name == "score_function":
            np.testing.assert_allclose(
                bound_of(logits, logits).bound, -100.0, atol=1e-4
            )
        result = jax.eval_shape(bound_of, logits, logits)
        assert (result.bound.dtype, result.grads.dtype) == (jnp.float32, dtype)


def extremes_program(params, x):
    """Both families at extreme logits; NaN where a value is not exactly hard."""

    def run(draw):
        b = draw("b", gumbel.Bernoulli(params["b"]))
        values, log_w = b.value, -b.kl(gumbel.Bernoulli(jnp.zeros_like(params["b"])))
        if "z" in params:
            z = draw("z", gumbel.Categorical(params["z"]))
            log_w -= z.kl(gumbel.Categorical(jnp.zeros_like(params["z"])))
            values = jnp.concatenate([values, z.value.reshape(len(values), -1)], axis=1)
        hard = ((values == 0) | (values == 1)).all(1)
        return x * hard + log_w + (values.astype(jnp.float32) ** 2).sum(1)

    return run


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@every
def test_hard_and_finite_at_extreme_logits_and_traced_once(name, dtype):
    rng, entry = np.random.default_rng(0), ESTIMATORS[name]
    size = 1 if name == "exact" else 20
    largest = 1e4 if dtype == "float32" else 1e2
    params = {"b": (largest * normal(rng, size, 3)).astype(dtype)}
    if draws_classes(name):
        params["z"] = (largest * normal(rng, size, 2, 3)).astype(dtype)
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

    state = jax.jit(estimate.init)(jax.random.key(1), params, x)
    # Relaxed values are hard only where they saturate, and enumerated ones may be rare.
    hard = name not in ("gumbel_softmax", "exact")
    for temperature in (1.0, 1e-3, 1e3):
        key = jax.random.key(0, impl="rbg")
        result = call(key, params, state, temperature)
        for old, new in zip(*map(jax.tree.leaves, (state, result.state)), strict=True):
            assert (old.shape, old.dtype) == (new.shape, new.dtype)
        assert jax.tree.structure(result.state) == jax.tree.structure(state)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))
        assert (result.bound > 5e5 - 10 * largest).all() or not hard
        assert result.bound.dtype == jnp.float32
        state = result.state
    assert len(traces) == 1


def shapes_of(name, program, params, *args, **hyper):
    """Traces an estimator from init to estimate, without running anything."""

    def call(key, params):
        estimate = gumbel.value_and_grad(name, program, num_samples=samples_of(name))
        state = estimate.init(key, params, *args, **hyper)
        return estimate(key, params, *args, state=state, **hyper)

    return jax.eval_shape(call, jax.random.key(0), params)


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
    for name in NAMES:
        with pytest.raises(ValueError, match=message):
            shapes_of(name, program, params, None)
    with pytest.raises(ValueError, match=message):
        gumbel.evaluate(program, num_samples=3)(jax.random.key(0), params, None)
    with pytest.raises(ValueError, match=message):
        draw_parameters(program, jax.random.key(0), params, None)


@every
def test_transformations_around_an_estimator_work(name):
    toy, m = TOYS["2-cost"], samples_of(name)
    estimate = gumbel.value_and_grad(name, toy.program, num_samples=m)
    state = init_state(name, jax.random.key(1), toy, m)

    def bound(key):
        return estimate(key, toy.params, *toy.args, state=state).bound

    mapped, scanned = (
        jax.jit(f)(jax.random.split(jax.random.key(0), 3))
        for f in (
            jax.vmap(bound),
            lambda keys: jax.lax.scan(lambda _, key: (None, bound(key)), None, keys)[1],
        )
    )
    np.testing.assert_allclose(mapped, scanned, rtol=1e-5)


@every
def test_strict_dtype_promotion(name):
    toy = TOYS["map-2-3" if draws_classes(name) else "map-2"]
    hyper = {k: v for k, v in MOVING.items() if k in ESTIMATORS[name].hyper}
    with jax.numpy_dtype_promotion("strict"):
        shapes_of(name, toy.program, toy.params, *toy.args, **hyper)
        shapes_of(name, toy.program, toy.params, *toy.args, temperature=jnp.ones(()))


def narrow_program(params, x):
    def run(draw):
        z = draw("z", gumbel.Bernoulli(params))
        return -z.kl(gumbel.Bernoulli(jnp.zeros_like(params))) + z.value.sum(1).astype(
            jnp.float32
        )

    return run


@every
def test_strict_dtype_promotion_with_narrow_logits(name):
    with jax.numpy_dtype_promotion("strict"):
        result = shapes_of(name, narrow_program, jnp.zeros((2, 3), "bfloat16"), None)
    assert (result.bound.dtype, result.grads.dtype) == (jnp.float32, "bfloat16")


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


@every
def test_a_program_without_discrete_draws_is_reparameterised(name):
    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Normal(x @ params, jnp.ones((2, 6))))
            return (z.value**2).sum(1)

        return run

    rng = np.random.default_rng(0)
    toy = Toy(program, normal(rng, 3, 6), (normal(rng, 2, 3),), ())
    ours, reference = (
        one_estimate(estimator, toy, samples_of(name))(jax.random.key(0), None, {})
        for estimator in (name, "straight_through")
    )
    if name != "reinforce_loo":  # its replicates have other noise
        np.testing.assert_allclose(ours.grads, reference.grads, rtol=1e-5)
    assert (ours.grads != 0).all()
