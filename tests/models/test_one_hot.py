"""The product of one-hot values against the product."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import gumbel
from configs import structured_prediction as sp_config
from configs import vae as vae_config
from experiments import structured_prediction, vae
from experiments.models.one_hot import sum_of_rows

AXES = (((1,), (0,)), ((), ()))


def test_it_is_the_product_also_of_what_is_undefined():
    index = np.random.default_rng(0).integers(0, 3, (2, 7, 4))
    values = jnp.asarray(np.eye(3, dtype=np.float32)[index].reshape(2, 7, 12))
    kernel = jax.random.normal(jax.random.key(0), (12, 5))
    product = functools.partial(
        sum_of_rows, kernel=kernel, dimension_numbers=AXES, num_classes=3
    )
    each = jax.jit(jax.vmap(product))
    np.testing.assert_allclose(each(values), values @ kernel, rtol=1e-5, atol=1e-6)
    undefined = each(values.at[0, 0, :3].set(jnp.nan))
    assert jnp.isnan(undefined[0, 0]).all() and jnp.isfinite(undefined[0, 1:]).all()


def test_the_evaluated_program_is_the_trained_one(noise):
    for experiment, configs in (
        (vae, vae_config),
        (structured_prediction, sp_config),
    ):
        for variant in ("categorical", "bernoulli"):
            task = experiment.make_task(configs.get_config(variant))
            params = task.init(jax.random.key(0))
            args = [array[:5] for array in task.evaluation["valid"]]
            bounds = [
                jax.jit(gumbel.evaluate(program, num_samples=3))(
                    jax.random.key(1), params, *args
                )
                for program in (task.program, task.hard_program)
            ]
            np.testing.assert_allclose(*bounds, rtol=1e-5)
