"""Hard gates: states are kept bit for bit, at any length, and the task is learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.examples import hard_gates as example

WIDTHS = (example.SYMBOLS + 1 + example.UNITS, 1 + example.UNITS)


@pytest.mark.parametrize("gate", example.GATES)
def test_a_closed_gate_keeps_the_state(gate):
    keys = jax.random.split(jax.random.key(0), 3)
    params = {"cell": jax.random.normal(keys[0], WIDTHS)}
    inputs, _ = example.make_batch(keys[1], 30, example.LENGTH)
    h, g = jax.jit(example.unroll, static_argnums=1)(
        params, gate, inputs, keys[2], jnp.asarray(0.7)
    )
    shut = np.asarray(g[1:, :, 0]) == 0
    if gate == "soft":  # the control
        assert not shut.any()
        return
    assert set(np.unique(g)) == {0.0, 1.0}
    kept = (np.asarray(h[1:]) == np.asarray(h[:-1])).all(-1)
    assert np.array_equal(kept, shut)


def test_the_answer_is_the_last_marked_symbol():
    inputs, symbols = example.make_batch(jax.random.key(0), 40, 25)
    assert inputs.shape == (25, 40, example.SYMBOLS + 1)
    for sequence, symbol in zip(np.swapaxes(inputs, 0, 1), symbols, strict=True):
        marked = np.flatnonzero(sequence[:, -1])
        assert len(marked) and marked[-1] < example.LENGTH // 2
        assert sequence[marked[-1], :-1].argmax() == symbol


def test_hard_gates_last_and_soft_ones_do_not():
    hard_short, hard_long, soft_short, soft_long = example.main(steps=800)
    # 500 answers, one in eight right by chance: a standard error of 1.5 %.
    assert min(hard_short, hard_long, soft_short) > 0.6
    assert abs(hard_short - hard_long) < 0.15
    assert soft_long < 0.3
