"""Convolutional networks of M2; what holds for both kinds is in test_m2.py."""

import jax
import pytest

from experiments.models import conv, conv_m2, m2


@pytest.mark.parametrize("convolve", [conv.down, conv.up])
def test_convolutions_at_their_start_keep_the_size_of_what_they_see(convolve):
    x = jax.nn.relu(jax.random.normal(jax.random.key(0), (8, 16, 16, 64)))

    def gain(init):
        layer = conv_m2.Conv(64, convolve, init)
        y, _ = jax.jit(layer.init_with_output)(jax.random.key(1), x)
        # Away from the borders, which see fewer pixels.
        y = jax.nn.relu(y)[:, 3:-3, 3:-3]
        return float((y**2).mean() / (x**2).mean())

    init = {conv.down: m2.HE, conv.up: conv_m2.HE_UP}[convolve]
    assert 0.8 < gain(init) < 1.25
    assert gain(jax.nn.initializers.glorot_uniform()) < 0.6
