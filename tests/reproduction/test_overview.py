"""The overview of many estimators, from made-up records: cells, marks and order."""

import numpy as np

from experiments.reproduction import overview
from made_records import bound, table_lines, write

BITS, CLASSES = "later-vae-bernoulli", "later-vae-categorical"


def cells(text):
    """The cells of each estimator, without its name."""
    return {line[0]: line[1:] for line in table_lines(text)}


def made(nlls):
    for (row, estimator), values in nlls.items():
        splits = [value and {"test": bound(value)} for value in values]
        write("later_table1", row, estimator, *splits)


def test_a_row_an_estimator_and_a_column_a_network(results):
    made(
        {
            (BITS, "arm"): [106.0],
            (BITS, "gumbel_softmax"): [104.0, 105.0],
            (CLASSES, "gumbel_softmax"): [101.0],
            (CLASSES, "relax"): [None],
        }
    )
    text = overview.make("later_table1", "cpu")
    assert cells(text) == {
        "estimator": ["unbiased", "evaluations", "vae, bernoulli", "vae, categorical"],
        "---": ["---"] * 4,
        # The least of a network that has several are bold.
        "`gumbel_softmax`": ["no", "m", "**104.50** / **114.50**", "101.00 / 111.00"],
        "`arm`": ["yes", "(1 + n)·m", "106.00 / 116.00", "–"],
        "`relax`": ["yes", "(1 + n)·m", "–", "diverged"],
    }
    assert "m = 100, in nats, mean over 1 or 2 seeds. 20,000 steps of adam" in text
    assert "from 0.0003, 0.001, 0.003 on validation" in text


def test_each_number_has_its_own_best(results):
    for estimator, nll, nll_1 in (("nvil", 104.0, 116.0), ("arm", 105.0, 112.0)):
        split = {"test": bound(nll, nll_1=nll_1)}
        write("later_table1", BITS, estimator, split)
    found = cells(overview.make("later_table1", "cpu"))
    assert found["`nvil`"][-1] == "**104.00** / 116.00"
    assert found["`arm`"][-1] == "105.00 / **112.00**"


def test_the_whole_table_links_to_the_records_beside_it(results, saved):
    made({(BITS, "arm"): [106.0]})
    overview.write("later_table1", "cpu")
    folder = results / "later_table1" / "cpu"
    text = (folder / overview.TABLE).read_text()
    assert f"| [106.00 ± 0.25]({BITS}-arm-seed0.json) |" in text
    assert (folder / f"{BITS}-arm-seed0.json").exists()
    assert overview.FIGURE in saved


def test_the_plot_has_the_best_estimators_on_top(results, saved):
    made(
        {
            (BITS, "arm"): [107.0],  # 3 behind, and on one network only
            (BITS, "nvil"): [105.0],  # 1 behind, and 9
            (BITS, "gumbel_softmax"): [104.0],
            (CLASSES, "nvil"): [109.0],
            (CLASSES, "gumbel_softmax"): [100.0],
        }
    )
    overview.write("later_table1", "cpu")
    bits, classes = saved[overview.FIGURE].axes
    names = [tick.get_text() for tick in bits.get_yticklabels()]
    assert names == ["nvil", "arm", "gumbel_softmax"]  # from below
    assert bits.get_title() == "vae\nbernoulli"
    points = {line.get_label(): line.get_xydata() for line in bits.get_lines()}
    np.testing.assert_allclose(points["test nll, unbiased"], [[105, 0], [107, 1]])
    np.testing.assert_allclose(points["test nll, biased"], [[104, 2]])
    np.testing.assert_allclose(points["L_1, biased"], [[114, 2]])
    (point,) = classes.get_lines()[1].get_xydata()
    np.testing.assert_allclose(point, [109, 0])
