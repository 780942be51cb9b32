"""value_and_grad and evaluate: contracts, and truth by enumeration and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special, stats

import gumbel
from enumeration import brute_force, init_state
from toys import TOYS

TOY = TOYS["2-3-elbo"]


def call(estimator, toy=TOY, num_samples=1, seed=0, **hyper):
    estimate = gumbel.value_and_grad(estimator, toy.program, num_samples=num_samples)
    # Op by op this takes ten times as long. The hyper-parameters stay concrete.
    return jax.jit(lambda *args: estimate(*args, **hyper))(
        jax.random.key(seed), toy.params, *toy.args
    )


def test_evaluate_converges_to_the_exact_bounds_and_grows_with_m():
    toy = TOYS["3-elbo"]
    repeats = 4000
    means, stderrs = [], []
    for m in (1, 2, 5):
        evaluate = gumbel.evaluate(toy.program, num_samples=m)
        keys = jax.random.split(jax.random.key(m), repeats)
        bounds = jax.jit(
            jax.vmap(lambda key, f=evaluate: f(key, toy.params, *toy.args))
        )(keys)
        means.append(np.asarray(bounds, np.float64).mean(0))
        stderrs.append(np.asarray(bounds, np.float64).std(0) / np.sqrt(repeats))
    for i, m in enumerate((1, 2)):
        exact, _ = brute_force(toy, m)
        assert (np.abs(means[i] - exact) < 5 * stderrs[i]).all()
    wrong, _ = brute_force(toy, 2)
    assert (np.abs(means[0] - wrong) > 5 * stderrs[0]).any(), "negative control"
    for low, high in ((0, 1), (1, 2)):
        gap = means[high] - means[low]
        assert (gap > 5 * np.hypot(stderrs[low], stderrs[high])).all()


def test_evaluate_is_the_same_in_chunks_of_any_size():
    toy = TOYS["3-elbo"]
    results = []
    for chunk in (1, 4, 7, 64):
        evaluate = gumbel.evaluate(toy.program, num_samples=10, chunk=chunk)
        evaluate = jax.jit(evaluate)
        results.append(evaluate(jax.random.key(0), toy.params, *toy.args))
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-6)


def test_evaluate_uses_hard_samples_whatever_the_objective():
    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Categorical(params + jnp.zeros((2, 3, 4))))
            exact = (z.value * (1 - z.value) == 0).all((1, 2))
            return jnp.where(exact, 0.0, -1.0)

        return run

    bound = gumbel.evaluate(program, num_samples=20)(jax.random.key(0), 0.5, None)
    np.testing.assert_allclose(bound, 0.0, atol=1e-6)


def test_memory_of_evaluate_does_not_grow_with_m():
    toy = TOYS["3-elbo"]

    def memory(m):
        evaluate = jax.jit(gumbel.evaluate(toy.program, num_samples=m))
        compiled = evaluate.lower(jax.random.key(0), toy.params, *toy.args).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # Beyond one chunk only the counter of chunks is longer.
    assert memory(10_000) < memory(100) + 10_000


def test_the_relaxed_bound_never_exceeds_the_relaxed_marginal():
    # One binary latent: log ∫ p(x|σ(y)) p(y) dy by quadrature, against form (20).
    posterior, prior, temperature, prior_temperature = 0.7, -0.4, 0.6, 0.5

    def log_likelihood(z):
        return -3.0 * (z - 0.8) ** 2

    def integrand(y):
        s = prior - prior_temperature * y
        log_p = np.log(prior_temperature) + stats.logistic.logpdf(s)
        return np.exp(log_likelihood(special.expit(y)) + log_p)

    marginal = np.log(integrate.quad(integrand, -80, 80, points=[0.0], limit=200)[0])

    def program(params, x):
        def run(draw):
            node = draw("z", gumbel.Bernoulli(jnp.full((20_000, 1), posterior)))
            kl = node.kl(gumbel.Bernoulli(jnp.full((1,), prior)))
            return log_likelihood(node.value[:, 0]) - kl

        return run

    bounds = {}
    for kl in gumbel.programs.KL_FORMS:
        for m in (1, 50):
            estimate = gumbel.value_and_grad("gumbel_softmax", program, num_samples=m)
            hyper = {
                "temperature": temperature,
                "prior_temperature": prior_temperature,
                "kl": kl,
            }
            bound = jax.jit(
                lambda key, f=estimate, hyper=hyper: f(key, 0.0, None, **hyper).bound
            )(jax.random.key(0))
            mean = np.asarray(bound, np.float64).mean()
            bounds[kl, m] = mean, np.asarray(bound).std() / np.sqrt(len(bound))
    for m in (1, 50):
        mean, stderr = bounds["relaxed_density", m]
        assert mean < marginal + 5 * stderr
    assert bounds["relaxed_density", 50][0] > bounds["relaxed_density", 1][0]
    np.testing.assert_allclose(bounds["relaxed_density", 50][0], marginal, atol=0.02)
    # (21) inside log-mean-exp is no bound on this marginal: it exceeds it.
    mean, stderr = bounds["soft_mass", 50]
    assert mean > marginal + 5 * stderr, "negative control"


def mean_field(key, name, distribution):
    """The recipe's sampler: no noise at all."""
    del key, name
    return gumbel.programs.discrete_node(distribution.mean(), distribution)


def test_the_recipe_for_an_estimator_of_the_users_own():
    own = gumbel.estimators.pathwise(lambda hyper: mean_field)
    for m in (1, 5):
        result = call(own, TOYS["2-cost"], num_samples=m)
        assert result.state == () and (result.grads["in0"] != 0).any()
        bound = call(own, TOYS["2-cost"]).bound
        np.testing.assert_allclose(result.bound, bound, rtol=1e-6)
    noisy = gumbel.estimators.pathwise(lambda hyper: gumbel.programs.hard())
    one, five = (call(noisy, TOYS["2-cost"], num_samples=m).bound for m in (1, 5))
    assert (one != five).any(), "five samples are drawn"


def test_an_estimator_of_the_users_own_with_a_state_and_a_single_sample():
    def init(key, run, hyper):
        return jnp.zeros((), jnp.int32)

    def estimate(key, run, state, hyper):
        scaled = lambda key, name, law: gumbel.programs.discrete_node(  # noqa: E731
            hyper["sharpness"] * law.mean(), law
        )
        return gumbel.programs.interpret(run, key, scaled)[0], state + 1

    own = gumbel.Estimator(init, estimate, hyper={"sharpness": 1.0})
    toy = TOYS["2-cost"]
    f = gumbel.value_and_grad(own, toy.program)
    state = f.init(jax.random.key(0), toy.params, *toy.args)
    results = [call(own, toy, state=state, sharpness=s) for s in (1.0, 0.5)]
    assert [int(result.state) for result in results] == [1, 1]
    assert (results[0].bound != results[1].bound).any()
    # It runs the program once: five samples would be recorded and one be drawn.
    with pytest.raises(ValueError, match="num_samples=5: must be an integer from 1 to"):
        gumbel.value_and_grad(own, toy.program, num_samples=5)


@pytest.mark.parametrize(
    ("estimator", "m", "hyper", "message"),
    [
        ("gumble", 1, {}, "estimator='gumble': must be one of gumbel_softmax"),
        (3, 1, {}, "estimator=3: must be a name or an Estimator"),
        ("gumbel_softmax", 0, {}, "num_samples=0: must be an integer ≥ 1 for the est"),
        ("vimco", 1, {}, "num_samples=1: must be an integer ≥ 2 for the estimator vim"),
        ("muprop", 2, {}, "num_samples=2: must be an integer from 1 to 1 for the est"),
        ("arm", 1, {}, "distribution=Categorical: the estimator arm supports Bern"),
        ("gumbel_softmax", 1, {"tau": 1.0}, "tau=1.0: unknown hyper-parameter, must"),
        ("gumbel_softmax", 1, {"temperature": 0.0}, "temperature=0.0: must be a pos"),
        ("relax", 1, {"prior_temperature": -1.0}, "prior_temperature=-1.0: must be"),
        ("exact", 1, {"kl": "closed"}, "kl='closed': must be one of relaxed_density, "),
        ("slope_annealed_st", 1, {"slope": 0.0}, "slope=0.0: must be a positive"),
        ("reinforce_loo", 1, {"replicates": 1}, "replicates=1: must be an integer ≥ 2"),
        ("gumbel_rao", 1, {"inner_samples": 2.5}, "inner_samples=2.5: must be an int"),
        ("gapped_st", 1, {"gap": -1.0}, "gap=-1.0: must be a non-negative finite"),
        ("score_function", 1, {"baseline_decay": 1.5}, "=1.5: must be from 0 to 1"),
        ("nvil", 1, {"variance_decay": -0.1}, "variance_decay=-0.1: must be from 0"),
        ("muprop", 1, {"normalise": "all"}, "normalise='all': must be one of gradient"),
        ("darn", 1, {"centre": "0"}, "centre='0': must be one of 1/K, 1/2, p"),
    ],
)
def test_bad_arguments_are_named(estimator, m, hyper, message):
    def call(key):
        f = gumbel.value_and_grad(estimator, TOY.program, num_samples=m)
        state = f.init(key, TOY.params, *TOY.args)
        return f(key, TOY.params, *TOY.args, state=state, **hyper)

    with pytest.raises(ValueError) as error:
        jax.eval_shape(call, jax.random.key(0))
    assert message in str(error.value)


def test_bad_keys_and_programs_are_named():
    f = gumbel.value_and_grad("straight_through", TOY.program)
    evaluate = gumbel.evaluate(TOY.program, num_samples=3)
    for use in (f, f.init, evaluate):
        for key in (jax.random.split(jax.random.key(0)), jnp.zeros(2, "uint32")):
            with pytest.raises(ValueError, match="key has "):
                use(key, TOY.params, *TOY.args)
    with pytest.raises(ValueError, match="of no use without an estimator"):
        evaluate(jax.random.key(0), TOY.params, *TOY.args, slope=2.0)
    flat = gumbel.value_and_grad("straight_through", lambda params, x: params * x)
    with pytest.raises(
        ValueError, match=r"must be a function run\(draw\) -> log_w \[B"
    ):
        flat(jax.random.key(0), 1.0, 2.0)
    for arguments, message in (
        ({"num_samples": 3, "estimator": "gumble"}, "estimator='gumble': must be one"),
        ({"num_samples": 0}, "num_samples=0: must be an integer ≥ 1"),
    ):
        with pytest.raises(ValueError, match=message):
            gumbel.evaluate(TOY.program, **arguments)


def assert_same_at(shapes, name, toy):
    """The same estimate with equal temperatures of other shapes."""
    state = init_state(name, jax.random.key(0), toy)
    one, *others = (
        call(name, toy, state=state, temperature=jnp.full(shape, 0.6))
        for shape in shapes
    )
    for other in others:
        np.testing.assert_allclose(other.bound, one.bound, rtol=1e-5)
        np.testing.assert_allclose(
            other.grads["in0"], one.grads["in0"], rtol=1e-4, atol=1e-6
        )


def test_a_temperature_broadcasts_against_the_variables_or_is_refused():
    assert_same_at(((), (2,), (2, 2), (2, 1)), "gumbel_softmax", TOY)
    for name in ("gumbel_rao", "gapped_st", "reinmax", "relax"):
        assert_same_at(((), (2, 2)), name, TOYS["3-elbo"])
        if name in ("gumbel_rao", "gapped_st"):
            with pytest.raises(ValueError, match="temperature"):
                call(name, TOYS["3-elbo"], temperature=jnp.full(3, 0.6))
