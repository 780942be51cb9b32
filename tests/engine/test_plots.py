"""Figures: what is plotted are the numbers, and the axes show all of them."""

import subprocess
import sys

import numpy as np
import pytest

from experiments.engine import plots

PNG = b"\x89PNG\r\n\x1a\n"


def lines(steps):
    return [
        {"step": step, "objective": -step, "temperature": 1.0} for step in range(steps)
    ]


def test_a_figure_is_written_without_pyplot(tmp_path):
    code = f"""
import pathlib, sys
import numpy as np
from experiments.engine import plots
path = pathlib.Path({str(tmp_path)!r}, "a.png")
plots.plot_image_grid(np.zeros((4, 784)), 2, path, "")
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def test_curves_start_at_the_first_validation(tmp_path, saved):
    metrics = [{"step": 0, "valid_nll": 9.0}, *lines(4)[1:]]
    metrics[1]["valid_nll"], metrics[3]["valid_nll"] = 7.0, 5.0
    for first, name in ((0, "all.png"), (1, "later.png")):
        plots.plot_curves(metrics[first:], tmp_path / name, "the run")
        top, bottom = saved[name].axes
        training, valid = (line.get_xydata().tolist() for line in top.lines)
        assert training == [[1, 1], [2, 2], [3, 3]]
        assert valid == [[0, 9], [1, 7], [3, 5]][first:]
        assert bottom.lines[0].get_ydata().tolist() == [1.0] * 3
        assert top.get_title() == "the run"
    plots.plot_curves(lines(3), tmp_path / "none.png", "never validated")
    assert len(saved["none.png"].axes[0].lines[0].get_xdata()) == 3


def test_curves_far_apart_are_both_seen_to_their_ends(tmp_path, saved):
    metrics = [
        {"step": t, "objective": -500.0 / (t + 1) - 100, "temperature": 1.0}
        for t in range(40)
    ]
    for line in metrics[0::5]:
        line["valid_nll"] = 125.0 + 300 / (line["step"] + 1)
    plots.plot_curves(metrics, tmp_path / "curves.png", "")
    low, high = saved["curves.png"].axes[0].get_ylim()
    ends = -metrics[-1]["objective"], metrics[-5]["valid_nll"]
    assert low < min(ends) and max(ends) < high
    assert high < -metrics[0]["objective"], "the first steps would flatten the rest"


def test_accuracy_marks_the_best(tmp_path, saved):
    metrics = lines(4)
    for line, accuracy in zip(metrics[1:], (0.5, 0.75, 0.6), strict=True):
        line |= {"valid_nll": 1.0, "valid_accuracy": accuracy}
    plots.plot_curves(metrics, tmp_path / "a", "")
    _, axes, _ = saved["a"].axes
    curve, best = (line.get_xydata().tolist() for line in axes.lines)
    assert curve == [[1, 50], [2, 75], [3, 60]] and best == [[2, 75]]


def test_tiles_are_row_major_with_borders():
    images = np.arange(1, 25).reshape(6, 4)  # six images of 2 × 2
    picture = plots._tile(images, 2)
    assert picture.shape == (8, 12)
    for i, image in enumerate(images):
        row, column = 4 * (i // 3), 4 * (i % 3)
        tile = picture[row : row + 4, column : column + 4]
        np.testing.assert_array_equal(tile, np.pad(image.reshape(2, 2), 1))


def test_latent_usage_numbers(tmp_path, saved):
    determined = np.tile(np.eye(4)[[0, 1, 2, 3]], (2, 1))  # log 4 nats
    collapsed = np.full((8, 4), 0.25)  # nothing, though every class is used
    two = np.eye(4)[[0, 0, 0, 0, 3, 3, 3, 3]]  # log 2 nats
    plots.plot_latent_usage(
        np.stack([collapsed, two, determined], 1), tmp_path / "l.png"
    )
    left, right = saved["l.png"].axes[:2]
    heights = [bar.get_height() for bar in right.patches]
    np.testing.assert_allclose(heights, [np.log(4), np.log(2), 0], atol=1e-12)
    assert f"{np.log(8):.1f} nats" in right.get_title()
    shown = np.asarray(left.images[0].get_array())  # [K, N], most informative first
    expected = np.stack([[0.25] * 4, [0.5, 0, 0, 0.5], [0.25] * 4], axis=1)
    np.testing.assert_allclose(shown, expected, atol=1e-12)
    assert right.lines[0].get_ydata()[0] == pytest.approx(np.log(4))
    assert "about the image:" in right.get_title()
    plots.plot_latent_usage(two[:, None], tmp_path / "two.png", "a sample of z")
    assert "about a sample of z: 0.7 nats" in saved["two.png"].axes[1].get_title()


def test_style_usage_counts_and_sorts(tmp_path, saved):
    plots.plot_style_usage(np.array([0.05, 3.0, 0.0, 1.0]), 0.1, tmp_path / "s.png")
    (axes,) = saved["s.png"].axes
    assert [bar.get_height() for bar in axes.patches] == [3.0, 1.0, 0.05, 0.0]
    assert "2 of 4" in axes.get_title() and "4.0 nats" in axes.get_title()


def test_confusion_has_a_row_for_each_true_class(tmp_path, saved):
    labels, predicted = [0, 0, 0, 0, 1], [0, 1, 1, 2, 1]
    plots.plot_confusion(labels, predicted, 3, tmp_path / "confusion.png")
    (axes,) = saved["confusion.png"].axes
    shares = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shares, [[25, 50, 25], [0, 100, 0], [0, 0, 0]])
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "25.0", (1, 0): "50.0", (2, 0): "25.0", (1, 1): "100.0"}
    assert "40.00 % right" in axes.get_title()
