"""Stochastic programs: models written once, interpreted by every estimator.

A program is `program(params, *args)(draw) -> log_w`: a pure function that asks for
named draws and returns a log weight per example, [B]. The interpreter decides what a
draw returns: a relaxed sample, a hard one, a mean, one corner of an enumeration. The
program sees a `Node` and need not know which.

    def program(params, x):
        def run(draw):
            z = draw("z", gumbel.Categorical(encode(params, x)))
            prior = gumbel.Categorical(params["prior"])
            return log_likelihood(decode(params, z.value), x) - z.kl(prior)
        return run

Draws one after another, as in a recurrent network, are a Python loop with a name a
step. A draw inside `jax.lax.scan`, `vmap` or `cond` of the program is refused:

        for t in range(steps):
            z = draw(f"z{t}", gumbel.Bernoulli(h @ params["gates"]))
            h = cell(params, h, z.value)

Shapes: B batch, S samples, K classes. A draw is [B, ...], of classes [B, ..., K], with
any number of axes in between; log masses are summed over all axes but the batch.
Everything in nats and, but for values, in float32 (float64 where the inputs are).
"""

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.extend.core import get_opaque_trace_state

from gumbel.checks import check_choice, check_logits
from gumbel.distributions import Categorical, Distribution, Normal
from gumbel.logits import wide
from gumbel.nodes import KL_FORMS, Node


class Draw(Protocol):
    """The function that an interpreter hands to a program."""

    def __call__(self, name: str, distribution: Distribution) -> Node: ...


class Sampler(Protocol):
    """A maker of nodes: one key a name, the same in every process."""

    def __call__(
        self, key: jax.Array, name: str, distribution: Distribution
    ) -> Node: ...


Run = Callable[[Draw], jax.Array]
Program = Callable[..., Run]


def _check_draw(name: Any, distribution: Any) -> None:
    if not isinstance(name, str):
        raise ValueError(
            f"draw({type(name).__name__}, …): a name comes first: "
            'draw("z", distribution)'
        )
    if not isinstance(distribution, Distribution):
        raise ValueError(
            f"draw {name!r}: distribution has type {type(distribution).__name__}: "
            "must be a Bernoulli, Categorical or Normal, as gumbel.Bernoulli(logits)"
        )
    fields = [field.name for field in dataclasses.fields(distribution)]
    rank, legend = jnp.ndim(getattr(distribution, fields[0])), "[B, ...]"
    if isinstance(distribution, Categorical):
        rank, legend = max(rank, 2), "[B, ..., K]"
    for field in fields:
        array, text = getattr(distribution, field), f"draw {name!r}: {field}"
        check_logits(text, array)
        if jnp.ndim(array) != max(rank, 1) or 0 in jnp.shape(array):
            raise ValueError(
                f"{text} has shape {jnp.shape(array)}: must be {legend}, and not empty"
            )


def _hash(name: str) -> int:
    # crc32 rather than hash(): the latter differs from process to process.
    return zlib.crc32(name.encode())


def _check_name(name: str, nodes: dict[str, Node]) -> None:
    for other in nodes:
        if name == other:
            raise ValueError(f"draw {name!r}: a name can be drawn once in a program")
        if _hash(name) == _hash(other):
            raise ValueError(
                f"draw {name!r}: has the hash of {other!r}, and so the same noise: "
                "rename one of them"
            )


def _check_log_weights(log_w: jax.Array, nodes: dict[str, Node]) -> None:
    if log_w.ndim != 1 or not log_w.size:
        raise ValueError(
            f"program: log_w has shape {log_w.shape}: must be [B], and not empty"
        )
    for name, node in nodes.items():
        if len(node.value) != len(log_w):
            raise ValueError(
                f"draw {name!r}: value has shape {node.value.shape}: must have the "
                f"batch first, of {len(log_w)} as log_w has"
            )


def name_key(key: jax.Array, name: str) -> jax.Array:
    """A separate key for each name, the same in every process."""
    return jax.random.fold_in(key, _hash(name))


def interpret(
    run: Run, key: jax.Array, sampler: Sampler
) -> tuple[jax.Array, dict[str, Node]]:
    """Runs a program once, making each node with a sampler.

    Args:
        run: what `program(params, *args)` returned.
        key: a typed PRNG key; each draw gets it folded with a hash of its name.
        sampler: makes the nodes.

    Returns:
        The log weights [B], in float32 at least, and the nodes by name, in the order
        they were drawn.

    Raises:
        ValueError: if a name is drawn twice or has the hash of another, a draw is
            inside a transformation that the program opens, a distribution is of
            another kind or has the wrong rank or dtype, or the log weights are not [B].
    """
    nodes: dict[str, Node] = {}
    trace = get_opaque_trace_state()

    def draw(name: str, distribution: Distribution | None = None) -> Node:
        _check_draw(name, distribution)
        if get_opaque_trace_state() != trace:
            raise ValueError(
                f"draw {name!r}: is inside a transformation of the program (scan, "
                "vmap, cond, jit, …), which would trace it once and repeat its noise: "
                f'write a Python loop with a name a step, draw(f"{name}{{t}}", …)'
            )
        _check_name(name, nodes)
        nodes[name] = sampler(name_key(key, name), name, distribution)
        return nodes[name]

    log_w = wide(jnp.asarray(run(draw)))
    _check_log_weights(log_w, nodes)
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
    """Discrete nodes of chosen values, Normals sampled.

    Args:
        value_of: (key, name, distribution) -> the value of a discrete draw, in any
            floating-point type: log masses are of it, the program gets it in that of
            the logits.
        kl: one of KL_FORMS.
    """

    def sampler(key, name: str, distribution: Distribution) -> Node:
        if isinstance(distribution, Normal):
            return hard(kl)(key, name, distribution)
        node = discrete_node(value_of(key, name, distribution), distribution, kl)
        value = node.point.astype(distribution.logits.dtype)
        return dataclasses.replace(node, value=value)

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


def over_samples(
    one: Callable[[jax.Array], Any], key: jax.Array, num_samples: int, start=0
) -> Any:
    """Applies a function to the key of each sample: pytrees with [S, ...] leaves.

    Sample s has the key fold_in(key, start + s), so its noise does not depend on S.
    What the function computes without its key is not batched, hence done once.
    """
    indices = start + jnp.arange(num_samples)
    return jax.vmap(lambda index: one(jax.random.fold_in(key, index)))(indices)


def sample_log_weights(
    run: Run, key: jax.Array, sampler: Sampler, num_samples: int, start=0
) -> jax.Array:
    """Runs a program `num_samples` times with independent draws: log weights [S, B]."""

    def one(key):
        return interpret(run, key, sampler)[0]

    return over_samples(one, key, num_samples, start)
