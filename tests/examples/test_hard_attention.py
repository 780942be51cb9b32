"""Hard attention: one cell is read, and it is the right one."""

import jax
import jax.numpy as jnp

from experiments.examples import hard_attention as example


def test_the_digit_is_found_and_classified(digits):
    found, accuracy = example.main(steps=150)
    # By chance: 1/16, and a tenth of the classes.
    assert found > 0.9
    assert accuracy > 0.6


def test_only_the_chosen_cell_is_classified():
    key = jax.random.key(0)
    keys = jax.random.split(key, 3)
    canvases = jax.random.uniform(keys[0], (50, example.CELLS, example.SIDE**2))
    params = {
        "look": example.LOOK.init(keys[1], jnp.zeros((1, 49))),
        "classify": example.CLASSIFY.init(keys[2], jnp.zeros((1, example.SIDE**2))),
    }
    chosen = jax.nn.one_hot(example.look(params, canvases).argmax(1), example.CELLS)
    seen = (chosen[..., None] * canvases).sum(1)
    labels = example.CLASSIFY.apply(params["classify"], seen).argmax(1)
    cells = chosen.argmax(1)
    assert example.evaluate(params, canvases, cells, labels) == (1.0, 1.0)
    # A pattern that the coarse view averages out, where it looks and where it does not.
    side = jnp.arange(example.SIDE)
    pattern = 50.0 * (-1.0) ** (side[:, None] + side[None]).reshape(1, 1, -1)
    elsewhere = canvases + pattern * (1 - chosen[..., None])
    there = canvases + pattern * chosen[..., None]
    assert example.evaluate(params, elsewhere, cells, labels) == (1.0, 1.0)
    found, right = example.evaluate(params, there, cells, labels)
    assert found == 1.0 and right < 0.9


def test_a_canvas_has_one_whole_digit():
    images = jax.random.uniform(jax.random.key(0), (30, example.SIDE, example.SIDE))
    labels = jnp.arange(30)
    canvases, cells, found = example.make_canvases(
        jax.random.key(1), 20, images, labels
    )
    in_cells = canvases[jnp.arange(20), cells]
    assert jnp.array_equal(in_cells, images.reshape(30, -1)[found])
    whole = (canvases[:, :, None] == images.reshape(30, -1)[None, None]).all(3).any(2)
    assert jnp.array_equal(whole.sum(1), jnp.ones(20, int))
