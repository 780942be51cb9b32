"""Times log p(x) of 1600 images of 784 pixels, alone and with its gradient."""

import jax
import jax.numpy as jnp
import optax

from experiments.engine import report
from gumbel.objectives import bernoulli_log_likelihood
from scripts.benchmarks.clock import conditions, medians


def likelihood() -> None:
    """Prints the table of Bernoulli log-likelihoods."""
    shape = (1600, 784)
    logits = jax.random.normal(jax.random.key(1), shape)
    pixels = jnp.round(jax.random.uniform(jax.random.key(2), shape))
    functions = {
        "gumbel.objectives": bernoulli_log_likelihood,
        "optax": lambda y, x: -optax.sigmoid_binary_cross_entropy(y, x).sum(axis=1),
    }
    value = {name: jax.jit(f) for name, f in functions.items()}
    gradient = {
        name: jax.jit(jax.value_and_grad(lambda y, x, f=f: f(y, x).mean()))
        for name, f in functions.items()
    }
    values, gradients = (medians(f, logits, pixels) for f in (value, gradient))
    rows = [
        [
            name,
            f"{1e6 * values[name]:.0f}",
            f"{values[name] / values['gumbel.objectives']:.2f}",
            f"{1e6 * gradients[name]:.0f}",
            f"{gradients[name] / gradients['gumbel.objectives']:.2f}",
        ]
        for name in functions
    ]
    columns = ["likelihood", "µs", "time / ours", "gradient, µs", "time / ours"]
    print(report.markdown(columns, rows))
    conditions(f"{shape}")
