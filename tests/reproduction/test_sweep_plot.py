"""The figure of a sweep: what is plotted are the numbers, and the axes show all."""

import pytest

from experiments.reproduction.sweep_plot import plot_sweep


def point(discrete, relaxed, measured=None, **fields):
    return {
        "diverged": False,
        "fields": fields,
        "discrete": {"nll": discrete},
        "relaxed": {"nll": relaxed},
        "measured": measured or {},
    }


def test_sweep_shows_means_and_spreads(tmp_path, saved):
    records = [
        point(60, 50, temperature=1.0, rate=0.1),
        point(70, 52, temperature=1.0, rate=0.1),
        point(300, 40, temperature=20.0, rate=0.1),
        {"diverged": True, "fields": {"temperature": 5.0, "rate": 0.1}},
        point(80, 54, temperature=1.0, rate=0.2),
    ]
    plot_sweep(records, ["temperature", "rate"], tmp_path / "s.png", "title")
    (axes,) = saved["s.png"].axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "20"]
    drawn = {c.get_label(): c.lines[0].get_xydata().tolist() for c in axes.containers}
    assert drawn == {
        "discrete, rate=0.1": [[1, 65], [20, 300]],
        "relaxed, rate=0.1": [[1, 51], [20, 40]],
        "discrete, rate=0.2": [[1, 80]],
        "relaxed, rate=0.2": [[1, 54]],
    }
    bars = axes.containers[0].lines[2][0].get_segments()
    assert bars[0][:, 1] == pytest.approx([65 - 50**0.5, 65 + 50**0.5])


def test_sweep_of_names_and_of_zero(tmp_path, saved):
    records = [point(3, 2, objective=name) for name in ("soft_mass", "analytic")]
    plot_sweep(records, ["objective"], tmp_path / "names.png", "title")
    (axes,) = saved["names.png"].axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("linear", "linear")
    for container, nll in zip(axes.containers, (3, 2), strict=True):
        line = container.lines[0]
        assert list(line.get_xdata()) == ["soft_mass", "analytic"]
        assert list(line.get_ydata()) == [nll, nll]
    records = [point(3, -2, rate=rate) for rate in (0.0, 1e-5, 1e-3)]
    plot_sweep(records, ["rate"], tmp_path / "zero.png", "title")
    (axes,) = saved["zero.png"].axes
    assert (axes.get_xscale(), axes.get_yscale()) == ("symlog", "linear")
    plot_sweep([{"diverged": True}], ["rate"], tmp_path / "none.png", "title")


def test_sweep_has_a_panel_for_what_is_measured(tmp_path, saved):
    records = [
        point(60, 50, {"accuracy": share}, alpha=alpha)
        for alpha, share in ((0.1, 0.75), (1.0, 0.875), (1.0, 0.625))
    ]
    plot_sweep(records, ["alpha"], tmp_path / "two.png", "title")
    bounds, accuracy = saved["two.png"].axes
    assert len(bounds.containers) == 2
    (drawn,) = accuracy.containers
    assert drawn.lines[0].get_xydata().tolist() == [[0.1, 0.75], [1, 0.75]]
