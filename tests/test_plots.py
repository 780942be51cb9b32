import numpy as np
import pytest

from experiments import plots as figures

PNG = b"\x89PNG\r\n\x1a\n"


def lines(steps):
    return [
        {"step": step, "objective": -step, "temperature": 1.0} for step in range(steps)
    ]


def test_files_are_written_and_figures_closed(tmp_path):
    figures.curves([*lines(3), {**lines(1)[0], "valid_nll": 2.0}], tmp_path / "c.png")
    figures.image_grid(np.zeros((4, 784)), 2, tmp_path / "g.png", "title")
    figures.latent_usage(np.full((5, 3, 2), 0.5), tmp_path / "l.png")
    for name in ("c.png", "g.png", "l.png"):
        assert (tmp_path / name).read_bytes().startswith(PNG)
    assert figures.plt.get_fignums() == []


def test_curves_show_the_metrics(tmp_path, saved):
    metrics = lines(4)
    metrics[1]["valid_nll"], metrics[3]["valid_nll"] = 7.0, 5.0
    figures.curves(metrics, tmp_path / "curves.png")
    top, bottom = saved["curves.png"].axes
    objective, valid = (line.get_xydata().tolist() for line in top.lines)
    assert objective == [[0, 0], [1, -1], [2, -2], [3, -3]]
    assert valid == [[1, -7], [3, -5]]
    assert bottom.lines[0].get_ydata().tolist() == [1.0] * 4


def test_curves_far_apart_are_both_seen_to_their_ends(tmp_path, saved):
    metrics = [
        {"step": t, "objective": -500.0 / (t + 1) - 100, "temperature": 1.0}
        for t in range(40)
    ]
    for line in metrics[4::5]:
        line["valid_nll"] = 125.0 + 300 / (line["step"] + 1)
    figures.curves(metrics, tmp_path / "curves.png")
    low, high = saved["curves.png"].axes[0].get_ylim()
    ends = metrics[-1]["objective"], -metrics[-1]["valid_nll"]
    assert low < min(ends) and max(ends) < high
    assert low > metrics[0]["objective"], "the first steps would flatten the rest"


def test_tiles_are_row_major_with_borders():
    images = np.arange(1, 25).reshape(6, 4)  # six images of 1 × 4
    picture = figures._tile(images, 2, (1, 4))
    edge = [0] * 18

    def row(*numbers):
        return [x for n in numbers for x in [0, *range(4 * n - 3, 4 * n + 1), 0]]

    expected = [edge, row(1, 2, 3), edge, edge, row(4, 5, 6), edge]
    assert picture.tolist() == expected


def test_latent_usage_numbers(tmp_path, saved):
    determined = np.tile(np.eye(4)[[0, 1, 2, 3]], (2, 1))  # log 4 nats
    collapsed = np.full((8, 4), 0.25)  # nothing, though every class is used
    two = np.eye(4)[[0, 0, 0, 0, 3, 3, 3, 3]]  # log 2 nats
    figures.latent_usage(np.stack([collapsed, two, determined], 1), tmp_path / "l.png")
    left, right = saved["l.png"].axes[:2]
    heights = [bar.get_height() for bar in right.patches]
    np.testing.assert_allclose(heights, [np.log(4), np.log(2), 0], atol=1e-12)
    assert f"{np.log(8):.1f} nats" in right.get_title()
    shown = np.asarray(left.images[0].get_array())  # [K, N], most informative first
    expected = np.stack([[0.25] * 4, [0.5, 0, 0, 0.5], [0.25] * 4], axis=1)
    np.testing.assert_allclose(shown, expected, atol=1e-12)
    assert right.lines[0].get_ydata()[0] == pytest.approx(np.log(4))
    assert "about the image:" in right.get_title()
    figures.latent_usage(two[:, None], tmp_path / "two.png", "a sample of z")
    assert "about a sample of z: 0.7 nats" in saved["two.png"].axes[1].get_title()


def test_gradient_quality_labels_what_the_temperature_changes(saved, tmp_path):
    def row(name, temperature, std, bias=0.5):
        numbers = {"std": std, "bias": bias, "bias_noise": 0.1}
        return {"estimator": name, "temperature": temperature, **numbers}

    rows = [row("a", 0.5, 2.0), row("a", 1, 1.0), row("b", 0.5, 3.0)]
    rows += [row("b", 1, 3.1), row("c", None, 4.0, bias=0.05)]
    figures.gradient_quality(rows, tmp_path / "quality.png")
    (axes,) = saved["quality.png"].axes
    assert [text.get_text() for text in axes.texts] == ["0.5", "1"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list("abc")
    points = [line for line in axes.lines if line.get_marker() == "o"]
    hollow = [p for p in points if p.get_markerfacecolor() == "white"]
    assert [p.get_xydata().tolist() for p in hollow] == [[[4.0, 0.1]]]
