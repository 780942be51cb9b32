"""The generators on offer are as good as threefry; one that is not is not offered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
import runs
from experiments.engine import devices as mesh
from experiments.engine import prng
from experiments.engine.checkpoint import Checkpoints
from experiments.engine.step import init_state
from experiments.reproduction import grid
from gumbel.samplers import gumbel_noise, logistic_noise

N = 100_000
EULER = 0.5772156649015329
# Mean, variance and fourth central moment.
GUMBEL = EULER, np.pi**2 / 6, 3 * np.pi**4 / 20
LOGISTIC = 0.0, np.pi**2 / 3, 7 * np.pi**4 / 15
UNIFORM = 0.5, 1 / 12, 1 / 80
# Places of a run whose keys must have nothing in common, two a line.
PAIRS = {
    "siblings": lambda key, fold, split: (split(key)[0], split(key)[1]),
    "steps": lambda key, fold, split: (fold(key, 7), fold(key, 8)),
    "a step and what it splits": lambda key, fold, split: (
        split(fold(key, 7))[0],
        fold(split(key)[0], 7),
    ),
    "sample 3 of batch 100, 100 of 3": lambda key, fold, split: (
        fold(fold(key, 100), 3),
        fold(fold(key, 3), 100),
    ),
    "sample 3 of batch 3, the root": lambda key, fold, split: (
        fold(fold(key, 3), 3),
        key,
    ),
}


def frequency(impl):
    """z of the ones among each of 32 bits, and of each class of a categorical."""
    key, other = jax.random.split(jax.random.key(0, impl=impl))
    bits = jax.random.bits(key, (N,))
    ones = (bits[:, None] >> jnp.arange(32, dtype=jnp.uint32)[None]) & 1
    p = np.asarray([0.02, 0.08, 0.2, 0.3, 0.4])
    logits = jnp.broadcast_to(jnp.log(jnp.asarray(p, jnp.float32)), (N, 5))
    drawn = gumbel.gumbel_max(other, logits)
    p = np.concatenate([np.full(32, 0.5), p])
    counts = np.concatenate([ones.sum(axis=0), drawn.sum(axis=0)])
    return (counts / N - p) / np.sqrt(p * (1 - p) / N)


def moments(impl):
    """z of mean and variance of the noise that everything is drawn with."""
    keys = jax.random.split(jax.random.key(1, impl=impl), 3)
    zs = []
    for key, draw, (mean, variance, fourth) in zip(
        keys,
        (gumbel_noise, logistic_noise, jax.random.uniform),
        (GUMBEL, LOGISTIC, UNIFORM),
        strict=True,
    ):
        x = np.asarray(draw(key, (N,)), np.float64)
        zs.append((x.mean() - mean) / np.sqrt(variance / N))
        deviation = np.sqrt((fourth - variance**2) / N)
        zs.append((((x - mean) ** 2).mean() - variance) / deviation)
    return np.asarray(zs)


def correlations(impl):
    """z of the correlation of neighbours, of pairs of keys, of samples in a vmap."""
    key, fold = jax.random.key(2, impl=impl), jax.random.fold_in

    def uniform(key, size=N):
        return np.asarray(jax.random.uniform(key, (size,)))

    def z(a, b):
        return np.corrcoef(a, b)[0, 1] * np.sqrt(len(a))

    one = uniform(key)
    zs = [z(one[lag:], one[:-lag]) for lag in (1, 2, 16, 784)]
    for pair in PAIRS.values():
        zs.append(z(*map(uniform, pair(key, fold, jax.random.split))))
    seeds = (jax.random.key(seed, impl=impl) for seed in (0, 1))
    zs.append(z(*map(uniform, seeds)))
    samples = jax.vmap(lambda s: jax.random.uniform(fold(key, s), (N,)))(jnp.arange(3))
    zs += [z(samples[i], samples[j]) for i, j in ((0, 1), (1, 2), (0, 2))]
    return np.asarray(zs)


@pytest.fixture(autouse=True)
def keys_used_twice():
    """Whether one key is as good as another is what is tested."""
    jax.config.update("jax_debug_key_reuse", False)
    yield
    jax.config.update("jax_debug_key_reuse", True)


@pytest.mark.parametrize("impl", prng.PRNGS)
@pytest.mark.parametrize("quality", [frequency, moments, correlations])
def test_all_that_are_offered_are_good(impl, quality):
    assert np.abs(quality(impl)).max() < 5


def test_what_is_not_offered_fails():
    assert "unsafe_rbg" not in prng.PRNGS
    assert np.abs(correlations("unsafe_rbg")).max() > 100


@pytest.mark.parametrize("impl", prng.PRNGS)
def test_noise_is_the_same_on_one_device_and_on_eight(impl):
    devices = mesh.Mesh(jax.devices(), "data")
    split = jax.NamedSharding(devices, jax.P("data"))
    key = jax.random.key(3, impl=impl)
    one = jax.jit(lambda key: gumbel_noise(key, (16, 5)))
    eight = jax.jit(lambda key: gumbel_noise(key, (16, 5)), out_shardings=split)
    assert len(eight(key).sharding.device_set) == 8
    np.testing.assert_array_equal(one(key), eight(key))


def test_the_config_chooses_and_a_checkpoint_knows(tmp_path):
    keys = {impl: prng.root_key(runs.config(prng=impl)) for impl in prng.PRNGS}
    for impl, key in keys.items():
        assert jax.random.key_impl(key) == jax.random.key_impl(
            jax.random.key(0, impl=impl)
        )
    state = jax.jit(lambda: init_state(runs.task(), runs.config(prng="rbg")))()
    Checkpoints(tmp_path).save(state, 1)
    restored, _ = Checkpoints(tmp_path).restore(state)
    assert jax.random.key_impl(restored.key) == jax.random.key_impl(keys["rbg"])


def test_only_threefry_draws_the_same_in_a_vmap(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert grid.trains_as_one(runs.config())
    assert not grid.trains_as_one(runs.config(prng="rbg"))
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    assert not grid.trains_as_one(runs.config())
    for impl in prng.PRNGS:
        keys = jax.random.split(jax.random.key(0, impl=impl), 3)
        alone = np.stack([jax.random.bits(key, (4,)) for key in keys])
        same = np.array_equal(jax.vmap(lambda k: jax.random.bits(k, (4,)))(keys), alone)
        assert same == (impl == "threefry2x32")
