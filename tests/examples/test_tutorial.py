"""The tutorial: it runs, and what its pictures show is so."""

import runpy

import jax
import numpy as np
import pytest
from matplotlib import pyplot as plt

PNG = b"\x89PNG\r\n\x1a\n"
FIGURES = (
    *("gumbel_max", "simplex", "density", "bias_and_noise", "straight_through"),
    "training",
)


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The names that the tutorial defines, and where it was run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("tutorial"))
        # It shows what different functions make of the same noise.
        jax.config.update("jax_debug_key_reuse", False)
        try:
            names = runpy.run_module("experiments.examples.tutorial")
        finally:
            jax.config.update("jax_debug_key_reuse", True)
        yield names | {"FIGURES": names["FIGURES"].resolve()}
    plt.close("all")


def test_every_figure_is_written(tutorial):
    written = {path.stem: path.read_bytes() for path in tutorial["FIGURES"].iterdir()}
    assert set(written) == set(FIGURES)
    assert all(content.startswith(PNG) for content in written.values())


def test_relaxed_samples_are_near_corners_when_cold(tutorial):
    samples = tutorial["relaxed"].values()
    largest = [float(points.max(axis=1).mean()) for points in samples]
    assert largest == sorted(largest, reverse=True) and largest[0] > 0.9
    for points in samples:
        assert np.array_equal(points.argmax(axis=1), tutorial["winners"])


def test_bias_falls_with_the_temperature_and_noise_grows(tutorial):
    # By hand: the gradient of Σ p_k f_k in the logits is p_k (f_k − Σ p f).
    p = np.exp([0.0, 0.5, 1.0]) / np.exp([0.0, 0.5, 1.0]).sum()
    f = np.exp([-2.0, -1.0, 1.0])
    exact = p * (f - p @ f)
    np.testing.assert_allclose(tutorial["exact"], exact, rtol=1e-5)
    mean, variance = map(np.asarray, tutorial["estimates"]["Gumbel-Softmax"])
    bias = np.linalg.norm(mean - exact, axis=1)
    # The coldest are within their Monte Carlo error of each other.
    assert (np.diff(bias[1:]) > 0).all() and bias[0] < 0.1 * bias[-1]
    assert (np.diff(variance.sum(1)) < 0).all()
    mean, variance = map(np.asarray, tutorial["estimates"]["straight-through"])
    noise = np.sqrt(variance.sum(1) / 40_000)
    assert (np.linalg.norm(mean - exact, axis=1) > 5 * noise).all()


def test_straight_through_is_hard_with_the_soft_slope(tutorial):
    (hard, hard_slope), (soft, soft_slope) = (tutorial["curves"][h] for h in (1, 0))
    assert set(np.unique(hard)) == {0.0, 1.0}
    assert len(np.unique(soft)) > 100
    assert np.array_equal(hard_slope, soft_slope) and hard_slope.max() > 0.4


def test_the_cheapest_class_is_found(tutorial):
    assert tutorial["best"] == 0
    history = np.asarray(tutorial["history"])
    assert history[0].argmax() == 2 and history[-1, 0] > 0.95
