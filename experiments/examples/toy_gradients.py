"""A toy problem where bias and noise show: E[(b − t)²], b ~ Bernoulli(σ(θ)), t = 0.49.

Its gradient, p(1 − p)(1 − 2t), is small: noise hides its sign, and a bias may turn it.
Every estimator that takes Bernoulli draws, whatever is in ESTIMATORS, minimises it by
Adam from p = 1/2, at its least number of samples m and a temperature of 1/2. On the way
its variance is measured, in 2,000 draws before each tenth of the steps. Best is p = 0.

Expected, 1,000 steps, seed 0: p = 0.014 by exact, 0.03 by arm and disarm, 0.04 by
vimco and reinforce_loo, 0.05 by reinmax, 0.07 by nvil, 0.36 by rebar, 0.38 by muprop
and score_function, 0.46 by gumbel_softmax, 0.49, its fixed point, by straight_through.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

import gumbel
from experiments.examples import command_line
from gumbel.estimators import ESTIMATORS

TARGET, TEMPERATURE, DRAWS = 0.49, 0.5, 2000
OPTIMIZER = optax.chain(optax.scale(-1.0), optax.adam(1e-2))  # upwards


class History(NamedTuple):
    """Measurements before each tenth of the steps, [10] each, and the last p.

    Attributes:
        probability: p = σ(θ).
        mean: of the estimated gradient of −(b − t)² in θ.
        variance: of the same.
        final: p after all steps.
    """

    probability: jax.Array
    mean: jax.Array
    variance: jax.Array
    final: jax.Array


def program(theta):
    """Minus the cost, [1]: programs are maximised."""

    def run(draw):
        b = draw("b", gumbel.Bernoulli(theta[None, None]))
        return -((b.value[:, 0] - TARGET) ** 2)

    return run


@functools.partial(jax.jit, static_argnames="name")
def train(name: str, key, steps) -> History:
    """Trains for the steps [10, T] with an estimator."""
    num_samples = ESTIMATORS[name].samples[0]
    estimator = gumbel.value_and_grad(name, program, num_samples=num_samples)
    estimate = functools.partial(estimator, temperature=TEMPERATURE)
    init_key, draw_key, step_key = jax.random.split(key, 3)

    def step(carry, t):
        theta, opt_state, state = carry
        _, grad, state = estimate(jax.random.fold_in(step_key, t), theta, state=state)
        updates, opt_state = OPTIMIZER.update(grad, opt_state)
        return (optax.apply_updates(theta, updates), opt_state, state), None

    def tenth(carry, numbers):
        theta, _, state = carry
        keys = jax.random.split(jax.random.fold_in(draw_key, numbers[0]), DRAWS)
        grads = jax.vmap(lambda k: estimate(k, theta, state=state).grads)(keys)
        seen = jax.nn.sigmoid(theta), grads.mean(), grads.var(ddof=1)
        return jax.lax.scan(step, carry, numbers)[0], seen

    theta = jnp.zeros(())
    state = estimator.init(init_key, theta, temperature=TEMPERATURE)
    carry = theta, OPTIMIZER.init(theta), state
    (theta, _, _), seen = jax.lax.scan(tenth, carry, steps)
    return History(*seen, jax.nn.sigmoid(theta))


def main(steps: int = 1000, seed: int = 0):
    """Trains with every estimator; returns the histories by name."""
    histories = {}
    numbers = jnp.arange(steps).reshape(10, -1)
    print(f"{'estimator':20} m  variance at step 0, {steps // 2}, {steps // 10 * 9}; p")
    for name, estimator in ESTIMATORS.items():
        if "Bernoulli" in estimator.families:
            history = histories[name] = train(name, jax.random.key(seed), numbers)
            first, middle, last = history.variance[jnp.array([0, 5, 9])]
            variances = f"{first:8.2g} {middle:8.2g} {last:8.2g}"
            print(f"{name:20} {estimator.samples[0]} {variances} {history.final:.4f}")
    best = min(histories, key=lambda name: histories[name].final)
    print(f"nearest to p = 0: {best}")
    return histories


if __name__ == "__main__":
    command_line.run(main)
