"""The figures: what is in them, and names that cover nothing."""

import itertools
import json

import numpy as np

from experiments.reproduction import figures, make_tables
from experiments.reproduction.cells import recorded_cells
from made_records import bound, write, write_later

VAE = "vae-categorical"
BITS, CLASSES = "later-vae-bernoulli", "later-vae-categorical"


def test_the_plot_has_the_best_estimators_on_top(results, saved):
    write_later(
        {
            (BITS, "arm"): [107.0],  # 3 behind, and on one network only
            (BITS, "nvil"): [105.0],  # 1 behind, and 9
            (BITS, "gumbel_softmax"): [104.0],
            (CLASSES, "nvil"): [109.0],
            (CLASSES, "gumbel_softmax"): [100.0],
        }
    )
    figures.plot_estimators(recorded_cells("later_table1"), results / "estimators.png")
    bits, classes = saved["estimators.png"].axes
    names = [tick.get_text() for tick in bits.get_yticklabels()]
    assert names == ["nvil", "arm", "gumbel_softmax"]  # from below
    assert bits.get_title() == "vae\nbernoulli"
    points = {line.get_label(): line.get_xydata() for line in bits.get_lines()}
    np.testing.assert_allclose(points["test nll, unbiased"], [[105, 0], [107, 1]])
    np.testing.assert_allclose(points["test nll, biased"], [[104, 2]])
    np.testing.assert_allclose(points["nll_1, biased"], [[114, 2]])
    (point,) = classes.get_lines()[1].get_xydata()
    np.testing.assert_allclose(point, [109, 0])


def test_training_curves_are_means_over_the_seeds_that_have_them(results, saved):
    def write_curves(row, estimator, *curves):
        tests = [{"test": bound(105.0)}] * len(curves)
        write("jang_table1", row, estimator, *tests)
        for seed, values in enumerate(curves):
            file = results / f"jang_table1/cpu/{row}-{estimator}-seed{seed}.json"
            record = json.loads(file.read_text())
            if values:
                record["curve"] = {
                    "step": [0, 10, 20][: len(values)],
                    "valid_nll": values,
                }
            file.write_text(json.dumps(record))

    write_curves("vae-bernoulli", "darn", [200.0, 120.0, 110.0], [202.0, 124.0])
    write_curves("vae-bernoulli", "muprop", [201.0, 130.0, 120.0], None)
    write_curves(VAE, "darn", None)
    rows = figures.curves(recorded_cells("jang_table1"))
    figures.plot_curves(rows, results / "curves.png")
    (axes,) = saved["curves.png"].axes  # the only row that has some
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert lines["darn"] == [[0, 201.0], [10, 122.0]]
    assert lines["muprop"] == [[0, 201.0], [10, 130.0], [20, 120.0]]
    (band,) = axes.collections
    heights = {y for x, y in band.get_paths()[0].vertices if x == 10}
    np.testing.assert_allclose(sorted(heights), [122 - 8**0.5, 122 + 8**0.5])
    assert axes.get_ylim()[1] < 140 and axes.get_title() == "vae, bernoulli"


def test_the_page_shows_curves_once_records_have_them(results, monkeypatch):
    monkeypatch.setattr(figures.plots, "save", lambda figure, path: path.touch())
    write("jang_table1", VAE, "darn", {"test": bound(105.0)})
    folder = results / "jang_table1/cpu"
    make_tables.plot(make_tables.read_tables())
    assert not list(folder.glob("*.png"))
    curve = {"step": [0, 10], "valid_nll": [200.0, 110.0]}
    write("jang_table1", VAE, "darn", {"test": bound(105.0)}, curve=curve)
    make_tables.plot(make_tables.read_tables())
    assert [path.name for path in folder.glob("*.png")] == ["curves.png"]
    assert "jang_table1/cpu/curves.png" in make_tables.show_images(folder)


def test_gradient_quality_names_every_estimator_and_covers_nothing(tmp_path, saved):
    def row(name, temperature, std, bias=0.5):
        numbers = {"std": std, "bias": bias, "bias_noise": 0.1}
        return {"estimator": name, "temperature": temperature, **numbers}

    rows = [row("a", 0.5, 2.0), row("a", 1, 1.0), row("b", 0.5, 3.0)]
    rows += [row("b", 1, 3.1), row("c", None, 4.0, bias=0.05), row("d", None, 4.0)]
    figures.plot_gradient_quality(rows, tmp_path / "quality.png")
    (axes,) = saved["quality.png"].axes
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
