"""Truth for the estimators' tests: small nonlinear programs and brute force.

The programs have one or two dependent layers of Bernoulli or categorical variables,
parameters inside and outside the draws, and costs with log q (as in an ELBO) or
without (as in structured prediction). `brute_force` walks through every joint value
in a Python loop with its own masses; it shares no code with the library.
"""

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import gumbel

BATCH, VARIABLES, CLASSES = 2, 2, 3


class Toy(NamedTuple):
    """A program with everything needed to run it, and its draws as (name, N, K)."""

    program: gumbel.programs.Program
    params: dict
    args: tuple
    draws: tuple[tuple[str, int, int], ...]


def _logits(flat, classes: int):
    return flat if classes == 2 else flat.reshape(flat.shape[0], VARIABLES, classes)


def _family(classes: int):
    return gumbel.Bernoulli if classes == 2 else gumbel.Categorical


def make_toy(classes: tuple[int, ...], elbo: bool) -> Toy:
    """One layer per entry of `classes`; 2 means Bernoulli, 3 categorical."""
    rng = np.random.default_rng(sum(classes) + 10 * len(classes) + elbo)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    sizes = [VARIABLES * (1 if k == 2 else k) for k in classes]
    params = {"out": normal(sizes[-1], 4), "bias": normal(1)}
    for layer, (size, below) in enumerate(zip(sizes, [3, *sizes], strict=False)):
        params[f"in{layer}"] = normal(below, size)
        if elbo:
            shape = (VARIABLES,) if classes[layer] == 2 else (VARIABLES, CLASSES)
            params[f"prior{layer}"] = normal(*shape)

    def program(params, x):
        def run(draw):
            h, log_ratio = x, 0.0
            for layer, k in enumerate(classes):
                logits = _logits(jnp.tanh(h @ params[f"in{layer}"]) * 1.5, k)
                node = draw(f"z{layer}", _family(k)(logits))
                h = node.value.reshape(x.shape[0], -1)
                if elbo:
                    prior = _family(k)(params[f"prior{layer}"])
                    log_ratio = log_ratio + node.log_prob(prior) - node.log_q
            features = jnp.tanh(h @ params["out"] + x[:, :1])
            return (features**2).sum(1) * params["bias"][0] + features[:, 0] + log_ratio

        return run

    draws = tuple((f"z{i}", VARIABLES, k) for i, k in enumerate(classes))
    return Toy(program, params, (normal(BATCH, 3),), draws)


TOYS = {
    f"{'-'.join(map(str, classes))}-{'elbo' if elbo else 'cost'}": make_toy(classes, elbo)
    for classes in ((2,), (3,), (2, 2), (3, 3), (2, 3))
    for elbo in (True, False)
}


class _Pinned:
    """A node at one joint value, with masses written out here."""

    def __init__(self, distribution, corner):
        self._bernoulli = isinstance(distribution, gumbel.Bernoulli)
        self._logits, self._corner = distribution.logits, corner
        one_hot = np.eye(2 if self._bernoulli else CLASSES)[list(corner)]
        value = one_hot[:, 1] if self._bernoulli else one_hot
        shape = (BATCH, *value.shape)
        self.value = jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)

    @property
    def log_q(self):
        return self._mass(self._logits)

    def log_prob(self, prior):
        return self._mass(jnp.broadcast_to(prior.logits, self._logits.shape))

    def _mass(self, logits):
        total = 0.0
        for n, k in enumerate(self._corner):
            if self._bernoulli:
                sign = 1.0 if k else -1.0
                total = total - jnp.log(1.0 + jnp.exp(-sign * logits[:, n]))
            else:
                exps = jnp.exp(logits[:, n])
                total = total + jnp.log(exps[:, k] / exps.sum(axis=1))
        return total


def brute_force(toy: Toy, num_samples: int = 1):
    """The exact bound L_m [B] and the gradient of its mean, by a loop over corners."""
    corners = list(
        itertools.product(
            *(itertools.product(range(k), repeat=n) for _, n, k in toy.draws)
        )
    )

    def bound(params):
        log_ws, qs = [], []
        for corner in corners:
            values = dict(zip([name for name, _, _ in toy.draws], corner, strict=True))
            nodes = {}

            def draw(name, distribution, values=values, nodes=nodes):
                nodes[name] = _Pinned(distribution, values[name])
                return nodes[name]

            log_ws.append(toy.program(params, *toy.args)(draw))
            qs.append(jnp.exp(sum(node.log_q for node in nodes.values())))
        log_w, q = jnp.stack(log_ws), jnp.stack(qs)
        tuples = np.asarray(list(itertools.product(range(len(corners)), repeat=num_samples)))
        mean_w = jnp.exp(log_w)[tuples].mean(axis=1)
        return (q[tuples].prod(axis=1) * jnp.log(mean_w)).sum(axis=0)

    value = bound(toy.params)
    return value, jax.grad(lambda params: bound(params).mean())(toy.params)


def max_z(name, toy: Toy, exact_grads, num_samples=1, repeats=20_000, **hyper) -> float:
    """The largest |z| over all parameters of an estimator's mean against the truth.

    z = (mean of the estimates − exact gradient) / standard error, `repeats` estimates
    with fixed keys. Parameters whose estimate has no noise must agree to rounding.
    """
    estimate = gumbel.value_and_grad(name, toy.program, num_samples=num_samples)

    @jax.jit
    def moments(key, exact):
        def one(key):
            grads = estimate(key, toy.params, *toy.args, **hyper).grads
            return jax.tree.map(lambda g, e: g - e, grads, exact)

        errors = jax.vmap(one)(jax.random.split(key, repeats))
        return jax.tree.map(lambda e: (e.mean(0), e.std(0)), errors)

    result = moments(jax.random.key(0), exact_grads)
    zs = []
    for mean, std in zip(*_unzip(result), strict=True):
        stderr = np.maximum(np.asarray(std) / np.sqrt(repeats), 2e-6)
        zs.append(np.abs(np.asarray(mean) / stderr).max())
    return float(max(zs))


def _unzip(pairs):
    leaves = jax.tree.leaves(pairs, is_leaf=lambda x: isinstance(x, tuple))
    return [mean for mean, _ in leaves], [std for _, std in leaves]
