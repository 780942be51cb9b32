"""Runs that diverge: named, recorded, and nothing of them saved."""

import json

import jax
import jax.numpy as jnp
import pytest

import runs
from experiments import DivergedError
from experiments.engine.report import read_metrics


def test_a_run_that_is_never_better_than_at_its_start_is_no_result(tmp_path):
    made = runs.config(estimator="exact", learning_rate=1e6, schedule__rate=0.0)
    for options in ({"train_only": True}, {}):
        with pytest.raises(DivergedError, match="no validation in 20 steps was better"):
            runs.train_quietly(tmp_path, made=made, **options)
    lines = read_metrics(tmp_path / "metrics.jsonl")
    first, *others = (line["valid_nll"] for line in lines if "valid_nll" in line)
    assert min(others) > first
    assert not (tmp_path / "result.json").exists()
    reason = json.loads((tmp_path / "diverged.json").read_text())["diverged"]
    assert "no validation" in reason


def broken_program(at_age: float, finite_value: bool):
    """A program whose gradient, or else value, is not finite from an age on.

    The age is 1 at first, and grows by its gradient and the momentum of SGD: to 2, 3.9
    and 6.6, or by a gradient of 2 to 3 and 6.8.
    """

    def program(params, x):
        age = params["age"]
        old = age > at_age

        def run(draw):
            if finite_value:  # the square root's gradient at 0 is infinite
                bad = jnp.sqrt(jnp.where(old, 0.0, 1.0) * age**2)
                bad = bad - jax.lax.stop_gradient(bad)
            else:
                bad = jnp.where(old, jnp.nan, 0.0)
            return x[:, 0] * 0 + age + bad

        return run

    return program


@pytest.mark.parametrize(
    "at_age, finite_value, step, metric",
    [
        (5, True, 3, "state_max"),
        (5, False, 4, "objective"),
        (0, False, 0, "valid_nll"),
    ],
)
def test_nothing_that_is_not_finite_is_saved(
    at_age, finite_value, step, metric, tmp_path
):
    program = broken_program(at_age, finite_value)
    task = runs.task(program, lambda key: {"age": jnp.ones(())})
    made = runs.config(optimizer="sgd", estimator="straight_through", learning_rate=1.0)
    made.update(num_steps=20, log_every=1, eval_every=20, checkpoint_every=1)
    with pytest.raises(DivergedError) as error:
        runs.train_quietly(tmp_path, task, made)
    last = f"step {step - 1}" if step else "none"
    checkpoints = tmp_path / "checkpoints"
    assert str(error.value) == (
        f"step {step}: {metric} is nan; last good checkpoint: {last}, in {checkpoints}"
    )
    saved = {path.name for path in checkpoints.glob("*")}
    assert saved == ({f"{step - 2}", f"{step - 1}"} if step else set())
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == step
