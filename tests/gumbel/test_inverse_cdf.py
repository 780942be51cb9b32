"""Integer shares of classes against their probabilities, exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gumbel import inverse_cdf


def total_variation(logits):
    """Between softmax(logits) and the law that `categorical` draws from, exactly."""
    exact = np.exp(np.float64(logits) - np.float64(logits).max())
    exact /= exact.sum()
    probabilities = jax.nn.softmax(jnp.asarray(logits, jnp.float32))

    @jax.jit
    def masses(probabilities):
        if len(logits) <= inverse_cdf._MOST_CLASSES:
            return [inverse_cdf._integer_masses(probabilities)]
        return list(
            map(inverse_cdf._integer_masses, inverse_cdf._in_groups(probabilities))
        )

    drawn, *within = (np.float64(mass) / 2**31 for mass in masses(probabilities))
    for shares in within:  # of the classes of each group
        drawn = (drawn[:, None] * shares).reshape(-1)[: len(logits)]
    assert abs(drawn.sum() - 1) < 1e-12
    return np.abs(drawn - exact).sum() / 2


@pytest.mark.parametrize("classes", [2, 10, 2000, 2001, 50_000, 200_000])
@pytest.mark.parametrize("kind", ["equal", "normal", "one large"])
def test_many_classes_have_their_probabilities(classes, kind):
    rng = np.random.default_rng(classes)
    logits = {
        "equal": np.zeros(classes),
        "normal": rng.normal(size=classes),
        "one large": np.eye(1, classes, 3 % classes)[0] * 5,
    }[kind]
    assert total_variation(np.float32(logits)) < 1e-6


def test_one_stage_is_not_enough_for_many_classes(monkeypatch):
    # The control: all rounding would go to one class.
    monkeypatch.setattr(inverse_cdf, "_MOST_CLASSES", 10**6)
    assert total_variation(np.zeros(200_000, np.float32)) > 1e-5


def test_classes_of_two_stages_are_drawn_as_often_as_they_should():
    logits = jnp.broadcast_to(jnp.log(jnp.arange(1.0, 3001.0)), (4000, 3000))
    drawn = np.asarray(inverse_cdf.categorical(jax.random.key(0), logits))
    np.testing.assert_array_equal(drawn.sum(1), 1)
    # The mean of the class's number, whose law is known.
    p = np.arange(1, 3001) / np.arange(1, 3001).sum()
    mean = (p * np.arange(3000)).sum()
    std = np.sqrt((p * np.arange(3000) ** 2).sum() - mean**2)
    z = (drawn.argmax(1).mean() - mean) / (std / 4000**0.5)
    assert abs(z) < 5
    assert abs(drawn.argmax(1).mean() - 1499.5) / (std / 4000**0.5) > 5
