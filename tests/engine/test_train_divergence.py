"""The training loop where a value or a gradient stops being finite."""

import jax
import jax.numpy as jnp
import pytest

import runs
from experiments.engine import train
from experiments.engine.report import read_metrics


def broken_program(at_step: int, finite_value: bool):
    """A program whose gradient, or else value, is not finite from a step on.

    `age` is 1 at first and under SGD grows by its gradient, 1 and the momentum.
    """

    def program(params, x):
        age = params["age"]
        old = age > at_step + 0.5

        def run(draw):
            if finite_value:  # the square root's gradient at 0 is infinite
                bad = jnp.sqrt(jnp.where(old, 0.0, 1.0) * age**2)
                bad = bad - jax.lax.stop_gradient(bad)
            else:
                bad = jnp.where(old, jnp.nan, 0.0)
            return x[:, 0] * 0 + age + bad

        return run

    return program


def broken_run(tmp_path, at_step, finite_value):
    task = runs.task(
        broken_program(at_step, finite_value), lambda key: {"age": jnp.ones(())}
    )
    made = runs.config(optimizer="sgd", estimator="straight_through", learning_rate=1.0)
    made.update(num_steps=20, log_every=1, eval_every=20, checkpoint_every=1)
    return train.train(task, made, tmp_path, announce=lambda _: None)


@pytest.mark.parametrize(
    "finite_value, step, metric", [(True, 2, "state_max"), (False, 2, "objective")]
)
def test_nothing_that_is_not_finite_is_saved(finite_value, step, metric, tmp_path):
    with pytest.raises(FloatingPointError) as error:
        broken_run(tmp_path, 1, finite_value)
    assert str(error.value) == (
        f"step {step}: {metric} is nan; last good checkpoint: step {step - 1}, "
        f"in {tmp_path / 'checkpoints'}"
    )
    steps = {int(p.name) for p in (tmp_path / "checkpoints").iterdir()}
    assert max(steps) == step - 1
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == step - 1


def test_not_finite_before_any_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError, match="step 1: .* checkpoint: none"):
        broken_run(tmp_path, 0, False)
    assert not (tmp_path / "checkpoints").exists()
