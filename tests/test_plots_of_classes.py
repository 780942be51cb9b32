"""Figures of a classifier: what is drawn are the numbers."""

import numpy as np

from experiments import plots as figures
from experiments import plots_of_classes as class_figures


def test_confusion_has_a_row_for_each_true_class(tmp_path, saved):
    labels, predicted = [0, 0, 0, 0, 1], [0, 1, 1, 2, 1]
    class_figures.confusion(labels, predicted, 3, tmp_path / "confusion.png")
    (axes,) = saved["confusion.png"].axes
    shown = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(shown, [[25, 50, 25], [0, 100, 0], [0, 0, 0]])
    texts = {text.get_position(): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "25.0", (1, 0): "50.0", (2, 0): "25.0", (1, 1): "100.0"}
    assert "40.00 % right" in axes.get_title()


def test_accuracy_against_step_marks_the_best(tmp_path, saved):
    lines = [{"step": 1}, *({"step": s, "valid_accuracy": s / 4} for s in (2, 3))]
    class_figures.accuracy([*lines, {"step": 4, "valid_accuracy": 0.6}], tmp_path / "a")
    (axes,) = saved["a"].axes
    curve, best = (line.get_xydata().tolist() for line in axes.lines)
    assert curve == [[2, 50], [3, 75], [4, 60]] and best == [[3, 75]]


def test_samples_are_a_row_a_class(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "image_grid", lambda *args: drawn.append(args))
    means = np.zeros((6, 4))
    class_figures.class_samples(means, 3, tmp_path / "samples.png")
    assert drawn[0][0] is means and drawn[0][1] == 3
