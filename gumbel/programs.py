"""Stochastic programs: models written once, interpreted by every estimator.

A program is `program(params, *args)(draw) -> log_w`: a pure function that asks for
named draws and returns a log weight per example, [B]. What a draw returns is the
interpreter's affair: a relaxed sample, a hard one, a mean, one corner of an
enumeration. The program sees a `Node` and need not know which.

    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Categorical(encode(params, x)))
            prior = gumbel.Categorical(params["prior"])
            return log_likelihood(decode(params, z.value), x) - z.kl(prior)
        return run

Legend: B batch, S samples, N variables, K categories. Everything in nats.
"""

import dataclasses
import zlib
from collections.abc import Callable, Mapping
from typing import Protocol

import jax
import jax.numpy as jnp

from gumbel.checks import check_choice, check_logits
from gumbel.distributions import Bernoulli, Categorical, Distribution, Law, Normal
from gumbel.logits import log_ratio

KL_FORMS: dict[str, Callable[["Node", Distribution], jax.Array]] = {
    # Maddison, Mnih & Teh (2017), appendix C.2, what stands for KL(q ‖ p):
    # (20) the log ratio of the densities of the node itself, relaxed where it is.
    "relaxed_density": lambda node, prior: node.law_ratio(prior),
    # (21) the discrete log masses, weighted by the relaxed value.
    "soft_mass": lambda node, prior: node.mass_ratio(prior),
    # (22) the closed form between the discrete laws, free of noise.
    "analytic": lambda node, prior: node.closed_form(prior),
}


@dataclasses.dataclass(frozen=True)
class Node:
    """One drawn set of variables, with the densities of the space it lives in.

    Attributes:
        value: what flows on: Bernoulli [B, N], Categorical [B, N, K], Normal [B, N].
        point: the value in the node's own space (log simplex, logit, or the value).
        distribution: what the program asked a draw of.
        law: the law the point was drawn from; the distribution, or its relaxation.
        law_of: maps another distribution (a prior) to its law in the same space.
        kl_form: which of KL_FORMS `kl` computes.
    """

    value: jax.Array
    point: jax.Array
    distribution: Distribution
    law: Law
    law_of: Callable[[Distribution], Law]
    kl_form: str

    @property
    def log_q(self) -> jax.Array:
        """Log density or mass [B] under the law the node was drawn from."""
        return _sum_variables(self.law.log_prob(self.point))

    def log_prob(self, other: Distribution) -> jax.Array:
        """Log density or mass [B] under another distribution of the family."""
        return _sum_variables(self.law_of(self._like(other)).log_prob(self.point))

    def kl(self, prior: Distribution) -> jax.Array:
        """What stands for KL(q ‖ prior), [B], in the form the objective asked for."""
        return KL_FORMS[self.kl_form](self, prior)

    def law_ratio(self, prior: Distribution) -> jax.Array:
        """Form (20): log q(point) − log p(point), [B]."""
        if self.law is self.distribution:
            return log_ratio(self.log_q, self.log_prob(prior))
        other = self.law_of(self._like(prior))
        return _sum_variables(self.law.log_ratio(self.point, other))

    def mass_ratio(self, prior: Distribution) -> jax.Array:
        """Form (21): Σ_k value_k (log Q_k − log P_k), [B]."""
        ratio = self.distribution.log_ratio(self.value, self._like(prior))
        return _sum_variables(ratio)

    def closed_form(self, prior: Distribution) -> jax.Array:
        """Form (22): the closed form of KL(Q ‖ P), [B]."""
        return _sum_variables(self.distribution.kl(self._like(prior)))

    def _like(self, other: Distribution) -> Distribution:
        if type(other) is not type(self.distribution):
            raise ValueError(
                f"prior is a {type(other).__name__}: "
                f"must be a {type(self.distribution).__name__}, as the draw is"
            )
        return other.broadcast_to(self.value.shape)


def _sum_variables(per_variable: jax.Array) -> jax.Array:
    """Sums [B, N] over the variables: the one place where that is done."""
    return per_variable.sum(axis=1)


class Draw(Protocol):
    """What an interpreter hands to a program."""

    def __call__(self, name: str, distribution: Distribution) -> Node: ...


class Sampler(Protocol):
    """How an interpreter makes a node: one key a name, the same in every process."""

    def __call__(self, key, name: str, distribution: Distribution) -> Node: ...


Run = Callable[[Draw], jax.Array]
Program = Callable[..., Run]

_LEGENDS = {Bernoulli: ("[B, N]", 2), Categorical: ("[B, N, K]", 3)}


def _check_draw(name: str, distribution: Distribution, taken: Mapping) -> None:
    if name in taken:
        raise ValueError(f"draw {name!r}: a name can be drawn once in a program")
    if isinstance(distribution, Normal):
        check_logits(f"draw {name!r}: loc", distribution.loc, 2, "[B, N]")
        check_logits(f"draw {name!r}: scale", distribution.scale, 2, "[B, N]")
    elif type(distribution) in _LEGENDS:
        legend, rank = _LEGENDS[type(distribution)]
        check_logits(f"draw {name!r}: logits", distribution.logits, rank, legend)
    else:
        raise ValueError(
            f"draw {name!r}: distribution={distribution!r}: "
            "must be a Bernoulli, Categorical or Normal"
        )


def name_key(key, name: str):
    """A key of its own for each name, the same in every process."""
    # crc32 rather than hash(): the latter differs from process to process.
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def interpret(run: Run, key, sampler: Sampler) -> tuple[jax.Array, dict[str, Node]]:
    """Runs a program once, making each node with a sampler.

    Args:
        run: what `program(params, *args)` returned.
        key: a typed PRNG key; each draw gets it folded with a hash of its name.
        sampler: makes the nodes.

    Returns:
        The log weights [B] and the nodes by name, in the order they were drawn.

    Raises:
        ValueError: if a name is drawn twice, a distribution is of another kind or has
            the wrong rank or dtype, or the log weights are not [B].
    """
    nodes: dict[str, Node] = {}

    def draw(name: str, distribution: Distribution) -> Node:
        _check_draw(name, distribution, nodes)
        nodes[name] = sampler(name_key(key, name), name, distribution)
        return nodes[name]

    log_w = run(draw)
    if jnp.ndim(log_w) != 1:
        raise ValueError(f"program: log_w has shape {jnp.shape(log_w)}: must be [B]")
    return log_w, nodes


def discrete_node(
    value, distribution: Distribution, kl: str = "relaxed_density"
) -> Node:
    """A node whose value is scored by its distribution's own mass or density."""
    return Node(value, value, distribution, distribution, lambda other: other, kl)


def hard(kl: str = "relaxed_density") -> Sampler:
    """Exact samples, without a gradient through the discrete ones."""
    check_choice("kl", kl, KL_FORMS)

    def sampler(key, name: str, distribution: Distribution) -> Node:
        del name
        return discrete_node(distribution.sample(key), distribution, kl)

    return sampler


def valued(
    value_of: Callable[[jax.Array, str, Distribution], jax.Array], kl: str
) -> Sampler:
    """Discrete nodes of values of our choosing, Normals sampled.

    Args:
        value_of: (key, name, distribution) -> the value of a discrete draw.
        kl: one of KL_FORMS.
    """

    def sampler(key, name: str, distribution: Distribution) -> Node:
        if isinstance(distribution, Normal):
            return hard(kl)(key, name, distribution)
        return discrete_node(value_of(key, name, distribution), distribution, kl)

    return sampler


def relaxed(temperature, prior_temperature, kl: str) -> Sampler:
    """Concrete samples at a temperature; priors are relaxed at their own.

    Args:
        temperature: τ of the posteriors, a scalar.
        prior_temperature: τ of the distributions that `log_prob` and `kl` are asked
            for; None means the same.
        kl: one of KL_FORMS.
    """
    check_choice("kl", kl, KL_FORMS)
    prior_temperature = temperature if prior_temperature is None else prior_temperature

    def sampler(key, name: str, distribution: Distribution) -> Node:
        del name
        law = distribution.relax(temperature)
        point = law.sample(key)
        value = law.value(point)
        return Node(
            value, point, distribution, law, lambda p: p.relax(prior_temperature), kl
        )

    return sampler


def sample_log_weights(
    run: Run, key, sampler: Sampler, num_samples: int, start=0
) -> jax.Array:
    """Runs a program `num_samples` times with independent draws: [S, B].

    Sample s has the key fold_in(key, start + s), so its noise does not depend on S.
    What the program computes before its first draw is not batched, hence done once.
    """

    def one(index):
        return interpret(run, jax.random.fold_in(key, index), sampler)[0]

    return jax.vmap(one)(start + jnp.arange(num_samples))
