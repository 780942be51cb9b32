"""Networks of M2: shapes, initial values, and what depends on what."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models import conv, m2

FAMILIES = {"mlp": m2.mlp, "conv": m2.convolutional}


@functools.cache
def make(family):
    """Networks of 7×7 pixels and their first parameters."""
    bias = jnp.linspace(-1.0, 1.0, 49)
    own = {"channels": (32, 64, 128)} if family == "conv" else {}
    model = FAMILIES[family](3, 4, (6, 5), 49, lambda *_: bias, **own)
    start = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 49)))
    return model, start


def outputs(model):
    """Compiles all that the networks compute."""

    @jax.jit
    def outputs(params, x, y, z):
        features = model.apply(params, x, method="look")
        return (
            model.apply(params, x, method="classify"),
            model.apply(params, features, y, method="encode"),
            model.apply(params, y, z, method="decode"),
        )

    return outputs


@pytest.mark.parametrize("family", FAMILIES)
def test_initial_values(family):
    model, params = make(family)
    x, y, z = jnp.zeros((2, 49)), jnp.zeros((2, 1, 3)), jnp.zeros((2, 4))
    logits, (loc, scale), pixels = outputs(model)(params, x, y, z)
    np.testing.assert_array_equal(logits, y)
    np.testing.assert_array_equal(loc, z)
    np.testing.assert_array_equal(scale, jnp.ones((2, 4)))
    np.testing.assert_array_equal(pixels, jnp.tile(jnp.linspace(-1, 1, 49), (2, 1)))


DEVIATIONS = {"mlp": 0.001, "conv": 0.01}


def is_of(deviation, weights):
    """Whether they are of N(0, deviation²), to five standard errors of a deviation."""
    return abs(weights.std() / deviation - 1) * np.sqrt(2 * weights.size) < 5


# Of (6, 5) hidden units, and of convolutions all but the one that makes pixels.
BETWEEN = {
    ("mlp", "style"): {"Dense_0"},
    ("mlp", "decoder"): {"Dense_1"},
    ("conv", "features"): {"Conv_0", "Conv_1", "Conv_2"},
    ("conv", "style"): {"Dense_0"},
    ("conv", "decoder"): {"Conv_0", "Conv_1"},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_which_weights_start_small(family):
    """All but the classifier's and those between the ends of a path."""
    _, params = make(family)
    for name, part in params["params"].items():
        small = {
            jax.tree_util.keystr(path, simple=True, separator="/"): is_of(
                DEVIATIONS[family], leaf
            )
            for path, leaf in jax.tree_util.tree_leaves_with_path(part)
            if path[-1].key == "kernel"
        }
        large = {path.removesuffix("/kernel") for path in small if not small[path]}
        if name != "classifier":
            assert large == BETWEEN.get((family, name), set())
        else:
            assert len(large) == len(small)


@pytest.mark.parametrize("family", FAMILIES)
def test_class_and_style_and_every_pixel_matter(family):
    model, params = make(family)
    rng = np.random.default_rng(2)
    params = jax.tree.map(
        lambda p: jnp.asarray(p + 0.2 * rng.normal(size=p.shape), p.dtype), params
    )
    keys = jax.random.split(jax.random.key(1), 3)
    x = jax.random.uniform(keys[0], (1, 49))
    y, z = jax.nn.softmax(jax.random.normal(keys[1], (1, 1, 3))), jnp.ones((1, 4))

    call = functools.partial(outputs(model), params)
    logits, (loc, scale), pixels = call(x, y, z)
    assert logits.shape == (1, 1, 3) and pixels.shape == (1, 49)
    assert loc.shape == scale.shape == (1, 4) and (scale > 0).all()
    _, (other, _), moved = call(x, y[:, :, ::-1], z)
    assert np.abs(other - loc).max() > 1e-3 and np.abs(moved - pixels).max() > 1e-3
    assert np.abs(call(x, y, -z)[2] - pixels).max() > 1e-3
    first_logit = jax.grad(lambda x: model.apply(params, x, method="classify")[0, 0, 0])
    of_pixels = jax.jit(first_logit)(x)
    # With six rectified units some pixels may reach nothing.
    assert (of_pixels != 0).mean() > 0.9


@pytest.mark.parametrize("convolve", [conv.down, conv.up])
def test_convolutions_at_their_start_keep_the_size_of_what_they_see(convolve):
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), (8, 16, 16, 64)))

    def gain(init):
        layer = m2.Conv(64, convolve, init)
        y, _ = jax.jit(layer.init_with_output)(jax.random.key(1), x)
        # Away from the borders, which see fewer pixels.
        y = jax.nn.relu(y)[:, 3:-3, 3:-3]
        return float((y**2).mean() / (x**2).mean())

    init = {conv.down: m2.HE, conv.up: m2.HE_UP}[convolve]
    assert 0.8 < gain(init) < 1.25
    assert gain(jax.nn.initializers.glorot_uniform()) < 0.6


def test_images_of_bytes_are_read():
    model, params = make("conv")
    image = jnp.arange(49, dtype=jnp.uint8)[None]
    classify = jax.jit(lambda x: model.apply(params, x, method="classify"))
    one, two = (classify(x) for x in (image, 1.0 * image))
    np.testing.assert_array_equal(one, two)
