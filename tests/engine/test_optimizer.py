import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import runs
from configs import semi_supervised as m2_config
from configs import vae as vae_config
from experiments import semi_supervised, vae
from experiments.engine.optimizer import make_optimizer, optimizer_hyper

RATE, STEPS = 0.05, 12
# Fields of a config, and the same by optax alone.
BY_OPTAX = {
    "adam": ({}, optax.adam(RATE)),
    "radam": ({"optimizer": "radam"}, optax.radam(RATE)),
    "sgd": ({"optimizer": "sgd"}, optax.sgd(RATE, momentum=0.9)),
    "L2": (
        {"weight_decay": 0.3},
        optax.chain(
            optax.add_decayed_weights(0.3, mask={"kernel": True, "bias": False}),
            optax.adam(RATE),
        ),
    ),
    "clipped": (
        {"clip_norm": 0.7, "optimizer": "sgd"},
        optax.chain(optax.clip_by_global_norm(0.7), optax.sgd(RATE, momentum=0.9)),
    ),
    "warm-up": (
        {"warmup_steps": 4},
        optax.adam(optax.warmup_constant_schedule(0.0, RATE, 4)),
    ),
    "cosine": (
        {"learning_rate_schedule": "cosine", "warmup_steps": 4},
        optax.adam(optax.warmup_cosine_decay_schedule(0.0, RATE, 4, STEPS)),
    ),
    "linear": (
        {"learning_rate_schedule": "linear"},
        optax.adam(optax.linear_schedule(RATE, 0.0, STEPS)),
    ),
}


def trained(optimizer, params):
    """The parameters after each of some steps down a bowl."""
    state, path = optimizer.init(params), []
    for step in range(STEPS):
        grads = jax.tree.map(lambda p, at=step: p - 0.1 * at, params)
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        path.append(params)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *path)


def ours(config):
    return make_optimizer(config, optimizer_hyper(config))


@pytest.mark.parametrize("name", BY_OPTAX)
def test_steps_are_those_of_optax_alone(name):
    fields, by_optax = BY_OPTAX[name]
    config = runs.config(learning_rate=RATE, num_steps=STEPS, **fields)
    params = {"kernel": jnp.asarray([[1.0, -2.0]]), "bias": jnp.asarray([0.5])}
    found = trained(ours(config), params)
    for leaf, expected in trained(by_optax, params).items():
        np.testing.assert_allclose(found[leaf], expected, rtol=1e-5, atol=1e-6)
    plain = trained(optax.adam(RATE), params)
    if name != "adam":  # and no field is without effect
        assert np.abs(found["kernel"] - plain["kernel"]).max() > 1e-3


def test_rates_are_traced_and_can_be_stacked():
    config = runs.config(clip_norm=1.0)
    params = {"kernel": jnp.asarray([[1.0, -2.0]]), "bias": jnp.asarray([0.5])}
    rates = {
        "learning_rate": jnp.asarray([0.1, 0.01]),
        "weight_decay": jnp.asarray([0.0, 0.3]),
        "clip_norm": jnp.asarray([0.5, 5.0]),
    }

    def run(rates):
        optimizer = make_optimizer(config, rates)
        state = optimizer.init(params)
        return optimizer.update(params, state, params)[0]["kernel"]

    together = jax.jit(jax.vmap(run))(rates)
    for i, found in enumerate(together):
        alone = run({name: float(value[i]) for name, value in rates.items()})
        np.testing.assert_allclose(found, alone, rtol=1e-6)


@pytest.mark.parametrize(
    "experiment, module, variant, spared",
    [
        (semi_supervised, m2_config, "conv", (1, 1, 1, 4)),  # a convolution's bias
        (vae, vae_config, "categorical", (20, 10)),  # a prior
        (vae, vae_config, "bernoulli", (200,)),  # a prior
    ],
)
def test_weights_decay_and_nothing_else(experiment, module, variant, spared, digits):
    config = module.get_config(variant)
    if variant == "conv":
        config.model.channels = (4, 8, 16)
    config.update(optimizer="sgd", learning_rate=1.0, weight_decay=0.3)
    shapes = jax.eval_shape(experiment.make_task(config).init, jax.random.key(0))
    params = jax.tree.map(lambda x: jnp.ones(x.shape, x.dtype), shapes)
    optimizer, nothing = ours(config), jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(nothing, optimizer.init(params), params)
    decayed = {}
    for path, update in jax.tree.leaves_with_path(updates):
        name = path[-1].key
        expected = -0.3 if name == "kernel" else 0.0
        np.testing.assert_allclose(update, expected, rtol=1e-6)
        decayed.setdefault(name, set()).add(update.shape)
    assert any(spared in shapes for n, shapes in decayed.items() if n != "kernel")
