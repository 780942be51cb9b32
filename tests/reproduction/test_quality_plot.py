"""The figure of gradient estimators: its points, and names that cover nothing."""

import itertools

from experiments import plots
from experiments.reproduction.quality_plot import plot_gradient_quality


def test_gradient_quality_names_every_estimator_and_covers_nothing(
    tmp_path, monkeypatch
):
    def row(name, temperature, std, bias=0.5):
        numbers = {"std": std, "bias": bias, "bias_noise": 0.1}
        return {"estimator": name, "temperature": temperature, **numbers}

    rows = [row("a", 0.5, 2.0), row("a", 1, 1.0), row("b", 0.5, 3.0)]
    rows += [row("b", 1, 3.1), row("c", None, 4.0, bias=0.05), row("d", None, 4.0)]
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    plot_gradient_quality(rows, tmp_path / "quality.png")
    (axes,) = figures[0].axes
    assert [text.get_text() for text in axes.texts] == list("abcd")
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    shown = [line for line in axes.lines if line.get_xydata().size]
    hollow = [p for p in shown if p.get_markerfacecolor() == "white"]
    assert [p.get_xydata().tolist() for p in hollow] == [[[4.0, 0.1]]]
    circles = [p for p in shown if p.get_marker() == "o"]
    small, large = (p.get_markersize() for p in circles)  # b's temperature is of no use
    assert small < large
    diamonds = [p for p in shown if p.get_marker() == "D"]
    assert [p.get_xydata()[0][0] for p in diamonds] == [3.0, 4.0, 4.0]
