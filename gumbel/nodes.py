"""Nodes: what a program gets for a draw, and the forms of its KL divergence.

Shapes: B batch, K classes. Everything in nats and, but for values, in float32 (float64
where the inputs are).
"""

import dataclasses
from collections.abc import Callable

import jax

from gumbel.checks import check_broadcasts
from gumbel.distributions import Distribution, Law
from gumbel.logits import log_ratio, sum_variables

KL_FORMS: dict[str, Callable[["Node", Distribution], jax.Array]] = {
    # Maddison, Mnih & Teh (2017), appendix C.2, the estimates of KL(q ‖ p):
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
        value: what flows on: Bernoulli and Normal [B, ...], Categorical [B, ..., K].
        point: the value in the node's own space (log simplex, logit, or the value).
        distribution: the distribution that was drawn from, before any relaxation.
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
        return sum_variables(self.law.log_prob(self.point))

    def log_prob(self, other: Distribution) -> jax.Array:
        """Log density or mass [B] under another distribution of the family."""
        return sum_variables(self.law_of(self._like(other)).log_prob(self.point))

    def kl(self, prior: Distribution) -> jax.Array:
        """The estimate of KL(q ‖ prior), [B], in the form the objective asked for."""
        return KL_FORMS[self.kl_form](self, prior)

    def law_ratio(self, prior: Distribution) -> jax.Array:
        """Form (20): log q(point) − log p(point), [B]."""
        if self.law is self.distribution:
            return log_ratio(self.log_q, self.log_prob(prior))
        other = self.law_of(self._like(prior))
        return sum_variables(self.law.log_ratio(self.point, other))

    def mass_ratio(self, prior: Distribution) -> jax.Array:
        """Form (21): Σ_k value_k (log Q_k − log P_k), [B]."""
        # A discrete node's point is its value ahead of the cast to a narrow type.
        is_discrete = self.law is self.distribution
        value = self.point if is_discrete else self.value
        return sum_variables(self.distribution.log_ratio(value, self._like(prior)))

    def closed_form(self, prior: Distribution) -> jax.Array:
        """Form (22): the closed form of KL(Q ‖ P), [B]."""
        return sum_variables(self.distribution.kl(self._like(prior)))

    def _like(self, other: Distribution) -> Distribution:
        if type(other) is not type(self.distribution):
            raise ValueError(
                f"prior is a {type(other).__name__}: "
                f"must be a {type(self.distribution).__name__}, as the draw is"
            )
        for array in jax.tree.leaves(other):
            check_broadcasts("prior", array, self.value.shape, "the draw's")
        return other.broadcast_to(self.value.shape)
