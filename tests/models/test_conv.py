"""Strided convolutions: the blocked forms against XLA's own, value and gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.models import conv

# Blocked and plain form, side of the input and of the output.
FORMS = {
    "down": (conv._blocked_down, conv._plain_down, 8, 4),
    "up": (conv._blocked_up, conv._plain_up, 4, 8),
}


def arrays(side, out_side):
    """x [2, S, S, 3], a kernel [5, 5, 3, 2] and a cotangent of the output."""
    rng = np.random.default_rng(0)
    shapes = (2, side, side, 3), (5, 5, 3, 2), (2, out_side, out_side, 2)
    return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


@pytest.mark.parametrize("name", FORMS)
def test_blocked_form_agrees_with_the_plain_one(name):
    blocked, plain, *sides = FORMS[name]
    x, kernel, cotangent = arrays(*sides)

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradients(form):
        value, pull = jax.vjp(form, x, kernel)
        return value, *pull(cotangent)

    ours, theirs = value_and_gradients(blocked), value_and_gradients(plain)
    assert ours[0].shape == cotangent.shape
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    # A shift of the kernel by a tap is seen.
    shifted = plain(x, jnp.roll(kernel, 1, axis=0))
    assert np.abs(ours[0] - shifted).max() > 0.1


def test_plain_form_by_a_loop_over_taps():
    x, kernel, _ = arrays(8, 4)
    padded = np.pad(np.float64(x), ((0, 0), (1, 2), (1, 2), (0, 0)))
    expected = np.zeros((2, 4, 4, 2))
    for i, j in np.ndindex(4, 4):
        window = padded[:, 2 * i : 2 * i + 5, 2 * j : 2 * j + 5]
        expected[:, i, j] = np.einsum("bhwc,hwce->be", window, kernel)
    np.testing.assert_allclose(conv.down(x, kernel), expected, atol=1e-4)


def test_blocks_and_back():
    x = jnp.arange(2 * 4 * 4 * 3.0).reshape(2, 4, 4, 3)
    blocks = conv._space_to_depth(x)
    np.testing.assert_array_equal(blocks[1, 0, 1, 6:9], x[1, 1, 2])
    np.testing.assert_array_equal(conv._depth_to_space(blocks), x)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_platforms_get_their_own_form(name, platform):
    x, kernel, _ = arrays(*FORMS[name][2:])
    traced = jax.jit(getattr(conv, name)).trace(x, kernel)
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("6x6" in text) == (platform == "cpu")


@pytest.mark.parametrize("name", FORMS)
def test_under_vmap_and_grad(name):
    _, plain, *sides = FORMS[name]
    x, kernel, _ = arrays(*sides)

    def total(form, kernel):
        return (jax.vmap(form, (0, None))(x[:, None], kernel) ** 2).sum()

    ours = jax.jit(jax.grad(functools.partial(total, getattr(conv, name))))(kernel)
    theirs = jax.jit(jax.grad(functools.partial(total, plain)))(kernel)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3)
