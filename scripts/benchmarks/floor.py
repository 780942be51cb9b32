"""What a training step cannot do without: its products and the optimiser's memory.

The products are those in the gradient of the plain Flax network, forward and backward,
in the same shapes; of Adam only the traffic is left: the parameters and both moments
are read and written, the gradient is read.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from scripts.benchmarks import plain
from scripts.benchmarks.start import Start


class Product(NamedTuple):
    """Shapes of the operands, and over which axes they are contracted."""

    left: tuple[int, ...]
    right: tuple[int, ...]
    dimension_numbers: Any


def equations(jaxpr) -> Iterator:
    """The equations of a jaxpr and of those inside it, in their order."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for each in value if isinstance(value, tuple) else (value,):
                inner = getattr(each, "jaxpr", each)  # of a closed one
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def products_of(start: Start) -> list[Product]:
    """The products of a training step."""
    model, params = plain.make(start)
    gradient = jax.grad(plain.make_objective(model))
    traced = jax.make_jaxpr(gradient)(params, jax.random.key(0), *next(start.batches()))
    return [
        Product(
            *(operand.aval.shape for operand in equation.invars),
            equation.params["dimension_numbers"],
        )
        for equation in equations(traced.jaxpr)
        if equation.primitive.name == "dot_general"
    ]


def _stamped(x, i):
    """An array with one number changed, in place."""
    return x.at[(0,) * x.ndim].set(i.astype(x.dtype))


def training(start: Start) -> Callable[[], jax.Array]:
    """Makes the function that computes the floor of a turn of steps."""
    found = products_of(start)
    keys = iter(jax.random.split(jax.random.key(0), 2 * len(found)))
    operands = [
        tuple(jax.random.normal(next(keys), shape) for shape in (one.left, one.right))
        for one in found
    ]
    _, params = plain.make(start)
    gradient = jax.tree.map(lambda p: jnp.full_like(p, 1e-9), params)

    def multiplied(operands):
        return [
            jax.lax.dot_general(*pair, one.dimension_numbers)
            for pair, one in zip(operands, found, strict=True)
        ]

    def step(i, carry):
        operands, moved, _ = carry
        # What is the same in every step is computed once, so one number changes; what
        # nobody reads is not computed at all, so the results are handed on.
        operands = [tuple(_stamped(x, i) for x in pair) for pair in operands]
        moved = [jax.tree.map(jnp.add, each, gradient) for each in moved]
        return operands, moved, multiplied(operands)

    @jax.jit(donate_argnums=0)
    def steps(state):
        return jax.lax.fori_loop(0, start.settings["steps"], step, state)

    moved = [jax.tree.map(jnp.copy, params) for _ in range(3)]
    state = operands, moved, multiplied(operands)

    def go_on():
        nonlocal state
        state = steps(state)
        return jax.block_until_ready(state)

    return go_on
