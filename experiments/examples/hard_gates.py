"""Hard gates: a recurrent network that rewrites its state or keeps it bit for bit.

Some of the first 10 symbols are marked; at the end the network is asked for the last of
these. h ← g·candidate + (1 − g)·h with g exactly 0 or 1, so a closed gate keeps h for
any time. Trained on 20 symbols, straight-through, at a temperature that falls; in
evaluation g = 1[logit > 0], without noise. The control always has g = sigmoid(logit).

Expected, 2,000 steps, seed 0: right 98.8 % at 20 and 98.6 % at 1,000; control 100, 14.
"""

import functools

import jax
import jax.numpy as jnp
import optax

import gumbel
from experiments.examples import command_line

SYMBOLS, UNITS, LENGTH = 8, 32, 20
OPTIMIZER = optax.chain(optax.clip_by_global_norm(0.1), optax.adam(1e-2))
TEMPERATURE = gumbel.schedules.exponential(2.0, 0.5, rate=1e-3, every=100)
GATES = {
    # A draw, exactly 0 or 1 forward, with the gradient of the binary Concrete.
    "sampled": functools.partial(gumbel.binary_concrete, hard=True),
    "hard": lambda key, logits, temperature: (logits > 0).astype(logits.dtype),
    "soft": lambda key, logits, temperature: jax.nn.sigmoid(logits),
}


def make_batch(key, batch, length):
    """Symbols and marks [T, B, F], and the last symbol that is marked, [B]."""
    symbol_key, mark_key = jax.random.split(key)
    symbols = jax.random.randint(symbol_key, (length, batch), 0, SYMBOLS)
    marks = jax.random.bernoulli(mark_key, 0.3, (length, batch)).at[0].set(True)
    marks = marks.at[LENGTH // 2 :].set(False)
    last = length - 1 - marks[::-1].argmax(0)
    inputs = [jax.nn.one_hot(symbols, SYMBOLS), marks[..., None]]
    return jnp.concatenate(inputs, axis=2), symbols[last, jnp.arange(batch)]


def unroll(params, gate, inputs, key, temperature):
    """The states [T, B, U] and gates [T, B, 1]."""

    def cell(h, t):
        seen = jnp.concatenate([inputs[t], h], axis=1) @ params["cell"]
        g = GATES[gate](jax.random.fold_in(key, t), seen[:, :1], temperature)
        h = g * jnp.tanh(seen[:, 1:]) + (1 - g) * h
        return h, (h, g)

    start, times = jnp.zeros((inputs.shape[1], UNITS)), jnp.arange(len(inputs))
    return jax.lax.scan(cell, start, times)[1]


@functools.partial(jax.jit, static_argnames=("gate", "batch", "length"))
def answers(params, gate, key, temperature, batch=64, length=LENGTH):
    """Mean negative log-likelihood of new answers in nats, and the accuracy."""
    batch_key, gate_key = jax.random.split(jax.random.fold_in(key, length))
    inputs, symbols = make_batch(batch_key, batch, length)
    h, _ = unroll(params, gate, inputs, gate_key, temperature)
    log_p = jax.nn.log_softmax(h[-1] @ params["answer"])
    right = log_p.argmax(1) == symbols
    return -log_p[jnp.arange(batch), symbols].mean(), right.mean()


@functools.partial(jax.jit, static_argnames="gate")
def train(state, gate, key, steps):
    """Trains for the steps [T]; returns the new state and the losses [T]."""

    def step(state, t):
        params, opt_state = state
        inputs = gate, jax.random.fold_in(key, t), TEMPERATURE(t)
        (nll, _), grads = jax.value_and_grad(answers, has_aux=True)(params, *inputs)
        updates, opt_state = OPTIMIZER.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), nll

    return jax.lax.scan(step, state, steps)


def main(steps: int = 2000, seed: int = 0):
    """Trains hard and soft gates; returns accuracies of each at 20, 1,000 symbols."""
    cell_key, answer_key, key, test_key = jax.random.split(jax.random.key(seed), 4)
    cell = jax.random.normal(cell_key, (SYMBOLS + 1 + UNITS, 1 + UNITS))
    answer = jax.random.normal(answer_key, (UNITS, SYMBOLS))
    params = {"cell": 0.2 * cell, "answer": 0.2 * answer}
    right = []
    for gate, evaluated in (("sampled", "hard"), ("soft", "soft")):
        state = params, OPTIMIZER.init(params)
        for numbers in jnp.arange(steps).reshape(10, -1):
            state, losses = train(state, gate, key, numbers)
            print(f"step {numbers[-1] + 1}: loss {losses.mean():.3f} nats")
        for length in (LENGTH, 1000):
            right += [answers(state[0], evaluated, test_key, 1.0, 500, length)[1]]
            print(f"test, {evaluated} gates, {length} symbols: {right[-1]:.1%} right")
    return right


if __name__ == "__main__":
    command_line.run(main)
