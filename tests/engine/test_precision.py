"""Products in bfloat16: these and nothing else, and bounds that stay close."""

import importlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from experiments import ConfigError
from experiments.engine.precision import COMPUTE_DTYPES
from experiments.engine.step import init_state
from experiments.models.nets import Mlp, product_in
from scripts.benchmarks.floor import equations

NETWORKS = [
    ("vae", "categorical"),
    ("vae", "200H~784V"),
    ("structured_prediction", "categorical"),
    ("semi_supervised", "mlp"),
    ("semi_supervised", "conv"),
]
# Halves of the distance between neighbouring numbers, relative to them.
EPSILON = float(jnp.finfo(jnp.bfloat16).eps) / 2


def config_and_task(experiment, variant, **fields):
    config = importlib.import_module(f"configs.{experiment}").get_config(variant)
    config.update_from_flattened_dict(fields)
    return config, importlib.import_module(f"experiments.{experiment}").make_task(
        config
    )


def products(jaxpr):
    """The dtypes of the operands of all products and convolutions in a jaxpr."""
    found = set()
    for equation in equations(jaxpr):
        if equation.primitive.name in ("dot_general", "conv_general_dilated"):
            found |= {str(variable.aval.dtype) for variable in equation.invars}
    return found


def traced_estimate(config, task, params, args):
    """Of (params, args) -> the bound and its gradient: the trace."""
    estimate = gumbel.value_and_grad(config.estimator, task.program)

    def bound_and_grads(params, args):
        return estimate(
            jax.random.key(0),
            params,
            *args,
            temperature=config.temperature,
            kl=config.objective,
        )[:2]

    return jax.jit(bound_and_grads).trace(params, args)


def test_a_product_is_that_of_rounded_operands():
    rng = np.random.default_rng(0)
    left, right = (rng.normal(size=shape) for shape in ((5, 7), (7, 3)))
    single = [jnp.asarray(a, jnp.float32) for a in (left, right)]
    found = product_in(jnp.bfloat16)(*single, (((1,), (0,)), ((), ())))
    assert found.dtype == jnp.float32
    rounded = (
        np.float64(np.asarray(a.astype(jnp.bfloat16), np.float32)) for a in single
    )
    np.testing.assert_allclose(found, np.matmul(*rounded), rtol=2 * EPSILON, atol=1e-2)


def test_its_gradients_are_products_of_rounded_operands_too():
    def total(x, w):
        y = product_in(jnp.bfloat16)(x, w, (((1,), (0,)), ((), ())))
        return (y**2).sum()

    rng = np.random.default_rng(1)
    x, w = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((5, 7), (7, 3)))
    gradient = jax.grad(total, argnums=(0, 1))
    assert products(jax.make_jaxpr(gradient)(x, w).jaxpr) == {"bfloat16"}
    of_x, of_w = gradient(x, w)
    assert of_x.dtype == of_w.dtype == jnp.float32
    y = 2 * (x @ w)
    scale = float(jnp.abs(y).max()) * 7
    np.testing.assert_allclose(of_x, y @ w.T, atol=4 * EPSILON * scale)
    np.testing.assert_allclose(of_w, x.T @ y, atol=4 * EPSILON * scale)


def test_float32_is_what_flax_does_by_itself():
    ours, theirs = Mlp((4,), 3), nn.Sequential([nn.Dense(4), nn.relu, nn.Dense(3)])
    x = jnp.ones((2, 5))
    params = ours.init(jax.random.key(0), x)["params"]
    renamed = {"layers_0": params["Dense_0"], "layers_2": params["Dense_1"]}

    def compiled(model, params):
        def total(params):
            return model.apply({"params": params}, x).sum()

        jaxpr = jax.make_jaxpr(jax.value_and_grad(total))(params).jaxpr
        return [equation.primitive.name for equation in equations(jaxpr)]

    assert compiled(ours, params) == compiled(theirs, renamed)
    assert COMPUTE_DTYPES["float32"] is None


@pytest.mark.parametrize("experiment, variant", NETWORKS)
def test_only_products_are_narrow_and_the_bound_is_close(experiment, variant, digits):
    few = {"model.channels": (4, 8, 16)} if variant == "conv" else {}
    single, task = config_and_task(experiment, variant, **few)
    few["compute_dtype"] = "bfloat16"
    narrow, narrow_task = config_and_task(experiment, variant, **few)
    state = jax.jit(lambda: init_state(narrow_task, narrow))()
    rows = {name: array[:32] for name, array in task.data.items()}
    args = task.batch(jax.random.key(1), rows)
    for leaf in jax.tree.leaves((state.params, state.opt_state.mu)):
        assert leaf.dtype == jnp.float32
    of_narrow, of_single = (
        traced_estimate(*made, state.params, args)
        for made in ((narrow, narrow_task), (single, task))
    )
    assert "bfloat16" in products(of_narrow.jaxpr.jaxpr)
    # Codes on the corners of a cube are no part of a network.
    assert products(of_single.jaxpr.jaxpr) == {"float32"}
    bound, grads = of_narrow.lower().compile()(state.params, args)
    expected, exact = of_single.lower().compile()(state.params, args)
    assert {x.dtype for x in jax.tree.leaves((bound, grads))} == {jnp.dtype("float32")}
    # The same noise: what differs is rounding. In nats.
    assert abs(float(bound.mean() - expected.mean())) < 0.2
    for one, other in zip(jax.tree.leaves(grads), jax.tree.leaves(exact), strict=True):
        assert jnp.linalg.norm(one - other) < 0.1 * jnp.linalg.norm(other) + 1e-4


@pytest.mark.parametrize("experiment, variant", NETWORKS[::2])
def test_an_unknown_dtype_is_one_line(experiment, variant):
    with pytest.raises(ConfigError) as caught:
        config_and_task(experiment, variant, compute_dtype="float16")
    assert str(caught.value) == (
        "config.compute_dtype='float16': must be one of float32, bfloat16"
    )
