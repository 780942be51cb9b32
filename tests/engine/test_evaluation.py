import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
import runs
from experiments.engine import train
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.evaluation import Evaluator, bound_summary
from experiments.engine.step import EVALUATE, init_state

HEIGHT = 1.5


def coin(params, x):
    """log w = HEIGHT + x with probability sigmoid(params), else x; x is [B, 1]."""

    def run(draw):
        z = draw("z", gumbel.Bernoulli(jnp.full(x.shape, params)))
        return HEIGHT * z.value[:, 0] + x[:, 0]

    return run


def coin_bound(p: float, m: int) -> tuple[float, float]:
    """Mean and variance of log (1/m) Σ_s w_s for x = 0, over the number of heads."""
    heads = np.arange(m + 1)
    mass = np.asarray([math.comb(m, h) * p**h * (1 - p) ** (m - h) for h in heads])
    value = np.log((heads * math.exp(HEIGHT) + m - heads) / m)
    mean = (mass * value).sum()
    return mean, (mass * (value - mean) ** 2).sum()


@pytest.mark.parametrize("m", [1, 3, 20])
def test_bound_has_its_closed_form(m):
    size, p = 4000, 0.3
    x = jnp.zeros((size, 1))
    evaluator = Evaluator(coin, {"test": (x,)}, 512, jax.random.key(0))
    bounds = evaluator(jnp.log(p / (1 - p)), "test", m)
    mean, variance = coin_bound(p, m)
    assert bounds.shape == (size,)
    assert abs(bounds.mean() - mean) < 4 * math.sqrt(variance / size)
    assert bounds.var() == pytest.approx(variance, rel=0.15)


def test_padding_and_order():
    x = jnp.arange(12.0)[:, None]
    sure = jnp.asarray(1e4)  # every draw is 1

    def evaluate(rows, params):
        sets = {"valid": (x[:rows],), "test": (-x[:rows],)}
        return Evaluator(coin, sets, 4, jax.random.key(3))(params, "valid", 2)

    np.testing.assert_allclose(evaluate(10, sure), np.arange(10) + HEIGHT, rtol=1e-6)
    fair = jnp.zeros(())
    whole = evaluate(12, fair)
    assert np.array_equal(evaluate(9, fair), whole[:9])


def test_noise_is_the_same_each_call_and_differs_between_batches():
    x = jnp.zeros((64, 1))
    evaluator = Evaluator(coin, {"a": (x,), "b": (x,)}, 32, jax.random.key(0))
    fair = jnp.zeros(())
    first = evaluator(fair, "a", 1)
    assert np.array_equal(evaluator(fair, "a", 1), first)
    assert not np.array_equal(first[:32], first[32:])
    other = Evaluator(coin, {"a": (x,)}, 32, jax.random.key(1))(fair, "a", 1)
    assert not np.array_equal(first, other)


def test_parameters_and_batches_share_one_compilation():
    program, traces = runs.counting(coin)
    sets = {"a": (jnp.zeros((10, 1)),), "b": (jnp.zeros((7, 1)),)}
    evaluator = Evaluator(program, sets, 4, jax.random.key(0))
    evaluator(jnp.zeros(()), "a", 2)
    once = len(traces)
    evaluator(jnp.ones(()), "b", 2)
    assert len(traces) == once > 0


def test_stop_is_asked_before_every_batch():
    class Stop(Exception):
        pass

    asked = []

    def stop():
        asked.append(None)
        if len(asked) == 3:
            raise Stop

    sets = {"a": (jnp.zeros((20, 1)),)}
    with pytest.raises(Stop):
        Evaluator(coin, sets, 4, jax.random.key(0))(jnp.zeros(()), "a", 1, stop)
    assert len(asked) == 3


def test_summary():
    bounds = np.asarray([-1.0, -3.0, -5.0, -7.0])
    assert bound_summary(bounds, bounds - 0.5, 50) == {
        "nll": 4.0,
        "nll_stderr": pytest.approx(math.sqrt((9 + 1 + 1 + 9) / 3 / 4)),
        "nll_1": 4.5,
        "eval_samples": 50,
    }


def test_the_network_is_as_sharp_as_the_one_trained():
    # A slope of 3 is a coin of three times the log-odds.
    x = jnp.zeros((64, 1))
    sets, logit = {"valid": (x,)}, jnp.float32(0.4)
    sharp = Evaluator(coin, sets, 32, jax.random.key(0), estimator="slope_annealed_st")
    plain = Evaluator(coin, sets, 32, jax.random.key(0))
    bounds = sharp(logit, "valid", 2, hyper={"slope": jnp.float32(3.0)})
    assert np.array_equal(bounds, plain(3 * logit, "valid", 2))
    assert not np.array_equal(bounds, plain(logit, "valid", 2))


def test_a_run_validates_and_tests_the_network_at_the_slope_of_its_step(tmp_path):
    # 24 examples in batches of 8: three steps an epoch, a slope of 2 from step 3 on.
    config = runs.config(
        estimator="slope_annealed_st", slope__rate=1.0, slope__maximum=2.0
    )
    task = runs.task()
    result = train.train(task, config, tmp_path)
    assert result["best_step"] >= 5
    state, _ = Checkpoints(tmp_path / "checkpoints").restore(init_state(task, config))
    evaluator = Evaluator(
        task.program,
        task.evaluation,
        config.eval_batch_size,
        jax.random.fold_in(state.key, EVALUATE),
        estimator="slope_annealed_st",
    )
    nll = [
        -evaluator(state.best_params, "test", 3, hyper={"slope": slope}).mean()
        for slope in (2.0, 1.0)
    ]
    assert result["test"]["nll"] == pytest.approx(nll[0], rel=1e-6)
    assert abs(nll[0] - nll[1]) > 1e-4
