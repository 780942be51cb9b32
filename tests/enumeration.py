"""Truth for the estimators' tests: brute force, and errors in standard errors.

`brute_force` puts every joint value into the program with masses of its own (Gaussian
draws: a quadrature); it shares no code with the library. `max_z` says by how many
standard errors an estimator misses it.
"""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import gumbel
from gumbel.estimators.baselines import Moments
from toys import BATCH, GAUSSIAN, Toy

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)


class _Pinned:
    """A node at one joint value [...], with masses and densities written out here."""

    def __init__(self, distribution, corner):
        self._distribution, self._corner = distribution, corner
        if isinstance(distribution, gumbel.Normal):
            noise = jnp.asarray(_NODES, jnp.float32)[corner][None]
            self.value = distribution.loc + distribution.scale * noise
        elif isinstance(distribution, gumbel.Bernoulli):
            self.value = jnp.broadcast_to(corner[None], distribution.logits.shape) * 1.0
        else:
            one_hot = jnp.eye(distribution.logits.shape[-1])[corner]
            self.value = jnp.broadcast_to(one_hot, (BATCH, *one_hot.shape))

    @property
    def log_q(self):
        return self.log_prob(self._distribution)

    @property
    def weight(self):
        if isinstance(self._distribution, gumbel.Normal):
            weights = jnp.asarray(_WEIGHTS / _WEIGHTS.sum(), jnp.float32)
            return jnp.ones(BATCH) * weights[self._corner].prod()
        return jnp.exp(self.log_q)

    def log_prob(self, law):
        if isinstance(law, gumbel.Normal):
            loc = jnp.broadcast_to(law.loc, self.value.shape)
            scale = jnp.broadcast_to(law.scale, self.value.shape)
            square = ((self.value - loc) / scale) ** 2
            mass = -0.5 * square - jnp.log(scale) - 0.5 * np.log(2 * np.pi)
        else:
            logits = jnp.broadcast_to(law.logits, self.value.shape)
            if isinstance(law, gumbel.Bernoulli):
                mass = -jnp.log(1.0 + jnp.exp((1.0 - 2.0 * self.value) * logits))
            else:
                exps = jnp.exp(logits)
                mass = jnp.log((exps * self.value).sum(-1) / exps.sum(-1))
        return mass.reshape(BATCH, -1).sum(1)

    def kl(self, prior):
        """The closed form, of discrete variables."""

        def masses(law):
            logits = jnp.broadcast_to(law.logits, self.value.shape)
            if isinstance(law, gumbel.Bernoulli):
                logits = jnp.stack([logits, jnp.zeros_like(logits)], axis=-1)
            return jnp.exp(logits) / jnp.exp(logits).sum(-1, keepdims=True)

        q, p = masses(self._distribution), masses(prior)
        return (q * jnp.log(q / p)).reshape(BATCH, -1).sum(1)


@functools.cache
def brute_force(toy: Toy, num_samples: int = 1):
    """The exact bound L_m [B] and the gradient of its mean, over all joint values."""
    sizes = [
        len(_NODES) if k == GAUSSIAN else k
        for _, axes, k in toy.draws
        for _ in range(math.prod(axes))
    ]
    joint = np.asarray(list(itertools.product(*map(range, sizes))))
    corners, start = [], 0
    for _, axes, _ in toy.draws:
        end = start + math.prod(axes)
        corners.append(joint[:, start:end].reshape(-1, *axes))
        start = end
    tuples = np.indices((len(joint),) * num_samples).reshape(num_samples, -1)

    def at_corner(params, corner):
        values = dict(zip([draw[0] for draw in toy.draws], corner, strict=True))
        nodes = {}

        def draw(name, distribution):
            nodes[name] = _Pinned(distribution, values[name])
            return nodes[name]

        log_w = toy.program(params, *toy.args)(draw)
        return log_w, jnp.stack([node.weight for node in nodes.values()]).prod(0)

    def mean_bound(params):
        log_w, q = jax.vmap(lambda corner: at_corner(params, corner))(corners)
        mean_w = jnp.exp(log_w)[tuples].mean(axis=0)
        bound = (q[tuples].prod(axis=0) * jnp.log(mean_w)).sum(axis=0)
        return bound.mean(), bound

    grads, bound = jax.jit(jax.grad(mean_bound, has_aux=True))(toy.params)
    return bound, grads


def init_state(estimator, key, toy: Toy, num_samples=1, **hyper):
    """An estimator's fresh state for a toy."""
    estimate = gumbel.value_and_grad(estimator, toy.program, num_samples=num_samples)
    return estimate.init(key, toy.params, *toy.args, **hyper)


def _make_estimate(estimator, toy: Toy, num_samples: int, static) -> Callable:
    estimate = gumbel.value_and_grad(estimator, toy.program, num_samples=num_samples)

    def one(key, state, hyper):
        hyper = {**hyper, **static}
        if state is None:
            state = estimate.init(jax.random.key(1), toy.params, *toy.args, **hyper)
        return estimate(key, toy.params, *toy.args, state=state, **hyper)

    return one


def one_estimate(estimator, toy: Toy, num_samples=1) -> Callable:
    """Compiles f(key, state, hyper) -> one Estimate; state None: a fresh one."""
    return jax.jit(_make_estimate(estimator, toy, num_samples, {}))


def many_estimates(
    estimator, toy: Toy, num_samples=1, repeats=20_000, **static
) -> Callable:
    """Compiles f(state, hyper) -> bounds, gradients of `repeats` independent calls."""
    one = _make_estimate(estimator, toy, num_samples, static)

    @jax.jit
    def estimates(state, hyper):
        keys = jax.random.split(jax.random.key(0), repeats)
        return jax.vmap(lambda key: one(key, state, hyper)[:2])(keys)

    def compiled(state=None, hyper=None):
        # JAX's own random bits, of which there is less to trace and to compile.
        with jax.threefry_partitionable(False):
            return estimates(state, hyper or {})

    return compiled


def worst_z(samples, exact) -> float:
    """The largest |mean − exact| / standard error over all numbers in a tree.

    Args:
        samples: a tree of independent estimates, [R, ...].
        exact: the tree of their expectations, [...]. An estimate without noise must
            agree to rounding.
    """
    worst = 0.0
    for sample, truth in zip(*map(jax.tree.leaves, (samples, exact)), strict=True):
        sample, truth = np.asarray(sample, np.float64), np.asarray(truth, np.float64)
        stderr = sample.std(0) / np.sqrt(len(sample)) + 1e-6 * (1.0 + np.abs(truth))
        # Not Python's max: a NaN is no small number.
        worst = np.maximum(worst, np.abs((sample.mean(0) - truth) / stderr).max())
    return float(worst)


def max_z(
    estimator, toy: Toy, num_samples=1, *, repeats=20_000, state=None, **hyper
) -> float:
    """`worst_z` of an estimator's gradient on a toy, with fixed keys."""
    _, grads = many_estimates(estimator, toy, num_samples, repeats)(state, hyper)
    return worst_z(grads, brute_force(toy, num_samples)[1])


def moments(mean, variance=0.0):
    """The state of a running baseline and variance normalisation."""
    return Moments(jnp.asarray(mean), jnp.asarray(variance))


def mean_difference_z(one, other) -> float:
    """The largest |difference of two means| in standard errors, over two trees."""
    worst = 0.0
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        stderr = np.sqrt(a.var(0) / len(a) + b.var(0) / len(b)) + 1e-5
        worst = np.maximum(worst, np.abs((a.mean(0) - b.mean(0)) / stderr).max())
    return float(worst)


def total_variance(grads, groups=20):
    """The variance summed over the parameters, with its standard error."""
    flat = np.concatenate(
        [np.asarray(g, np.float64).reshape(len(g), -1) for g in jax.tree.leaves(grads)],
        axis=1,
    )
    per_group = flat.reshape(groups, -1, flat.shape[1]).var(1).sum(1)
    return per_group.mean(), per_group.std() / np.sqrt(groups)


def assert_falls(high, low):
    """Asserts that one variance is above another by 5 standard errors."""
    assert high[0] - low[0] > 5 * np.hypot(high[1], low[1])
