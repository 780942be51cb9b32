"""The sentences of results/notes.md, README and docs hold for the records."""

import json
import re

import pytest

from experiments import REPOSITORY
from experiments.reproduction import records
from experiments.reproduction.cells import by_row, means, recorded_cells
from experiments.reproduction.published import TABLES
from gumbel.estimators import ESTIMATORS


def numbers(table, column=0):
    """The means of a column of a table, by row and estimator."""
    return means(recorded_cells(table), TABLES[table].columns[column])


def first(row, count):
    """The estimators of a row with the lowest numbers."""
    return set(sorted(row, key=row.get)[:count])


def difference(table, row, estimator):
    """Our mean minus the published number."""
    cell = by_row(recorded_cells(table))[row][estimator]
    column = TABLES[table].columns[0]
    return cell.mean(column) - cell.published(column)


def test_table_1_of_jang():
    nll, nll_1 = numbers("jang_table1"), numbers("jang_table1", 1)
    for row, values in nll.items():
        assert first(values, 1) == {"gumbel_softmax"}
        single = nll_1[row]
        assert single["st_gumbel_softmax"] < single["gumbel_softmax"]
    bits = nll_1["vae-bernoulli"]
    assert bits["darn"] < bits["gumbel_softmax"]
    behind = {
        (row, name): difference("jang_table1", row, name)
        for row, values in nll.items()
        for name in values
    }
    assert max(behind, key=behind.get) == ("vae-categorical", "score_function")
    assert behind["vae-bernoulli", "slope_annealed_st"] < -0.5
    assert behind["vae-categorical", "darn"] < -10


def test_all_estimators():
    nll, nll_1 = numbers("later_table1"), numbers("later_table1", 1)
    for row, values in nll.items():
        unbiased = {n: v for n, v in values.items() if ESTIMATORS[n].unbiased}
        assert first(unbiased, 2) == {"relax", "tuned_rebar"}
        assert max(unbiased, key=unbiased.get) == "score_function"
        assert values["st_gumbel_softmax"] - min(values.values()) < 2
        others = {"muprop"} | {"arm"} & set(values)
        if "structured" in row:
            assert first(values, 1) == {"gumbel_softmax"}
            biased = set(values) - set(unbiased)
            biased -= {"darn"} if "categorical" in row else set()
            assert max(values[n] for n in biased) < min(unbiased.values())
            assert 1.5 < values["reinmax"] - values["st_gumbel_softmax"] < 2.5
            assert all(values["nvil"] > 5 + values[name] for name in others)
        else:
            assert all(values["nvil"] < values[name] for name in others)
    bits, classes = nll["later-vae-bernoulli"], nll["later-vae-categorical"]
    assert first(bits, 4) == {"darn", "reinmax", "tuned_rebar", "relax"}
    for name in ("straight_through", "slope_annealed_st", "gapped_st"):
        assert bits[name] - max(bits[n] for n in first(bits, 4)) > 5
    best = {"st_gumbel_softmax", "gumbel_softmax", "gumbel_rao"}
    assert first(classes, 3) == best
    assert 0.5 < classes["relax"] - max(classes[name] for name in best) < 1.5
    assert first(nll_1["later-vae-categorical"], 1) == {"relax"}


@pytest.mark.parametrize("table", ["maddison_table1", "maddison_structured"])
def test_concrete_against_nvil_and_vimco(table):
    for row, values in numbers(table).items():
        (other,) = set(values) - {"gumbel_softmax"}
        is_linear = table == "maddison_table1" and "~" not in row
        assert (values[other] < values["gumbel_softmax"]) == is_linear


def test_reinmax_and_relax():
    (row,) = numbers("reinmax").values()
    assert row["gumbel_rao"] < min(row["reinmax"], row["st_gumbel_softmax"])
    for name in row:
        off = abs(difference("reinmax", "reinmax-mlp", name))
        near = name in ("gapped_st", "gumbel_rao")
        assert off < 0.5 if near else 5 < off <= 7, name
    (row,) = numbers("relax").values()
    rest = min(value for name, value in row.items() if name not in first(row, 2))
    assert first(row, 2) == {"relax", "tuned_rebar"}
    assert rest - max(row["relax"], row["tuned_rebar"]) > 9


def test_temperatures_of_the_vae():
    path = records.RESULTS / "vae_temperature" / "cpu" / "sweep.json"
    means = {"discrete": {}, "relaxed": {}}
    for point in json.loads(path.read_text())["points"]:
        where = point["fields"]["objective"], point["fields"]["temperature"]
        for bound, values in means.items():
            values.setdefault(where, []).append(point[bound]["nll"])
    discrete, relaxed = (
        {where: sum(values) / len(values) for where, values in bound.items()}
        for bound in means.values()
    )
    for form in ("soft_mass", "analytic"):
        best = min(discrete[form, 0.25], discrete[form, 0.5])
        assert 1.0 < discrete[form, 0.1] - best < 2.0
        assert 6 < discrete[form, 1.0] - best < 7.5
        assert 11 < discrete[form, 2.0] - best < 14.5
    soft = {t: n for (form, t), n in relaxed.items() if form == "soft_mass"}
    assert min(soft, key=soft.get) == 2.0
    assert 37 < discrete["soft_mass", 2.0] - soft[2.0] < 38.5
    for (form, temperature), nll in discrete.items():
        if form == "relaxed_density":
            assert nll - discrete["soft_mass", temperature] > 19


def test_bias_and_spread():
    path = records.RESULTS / "gradient_quality" / "quality.json"
    rows = json.loads(path.read_text())["rows"]
    at = {(row["estimator"], row["temperature"]): row for row in rows}
    for name in ("gumbel_softmax", "st_gumbel_softmax", "gumbel_rao"):
        own = [row for row in rows if row["estimator"] == name]
        assert sorted(own, key=lambda row: row["bias"]) == own
        assert sorted(own, key=lambda row: -row["std"]) == own
        assert own[0]["zero_rows"] > 0
    straight, second = at["straight_through", None], at["reinmax", 1.0]
    assert 0.3 < second["bias"] / straight["bias"] < 0.37
    assert 1.7 < second["std"] / straight["std"] < 2
    assert all(
        row["bias"] > straight["bias"]
        for row in rows
        if row["estimator"] == "reinmax" and row["temperature"] != 1.0
    )
    learned, plain = at["nvil", None], at["score_function", None]
    assert 0.5 < learned["std"] / plain["std"] < 0.6
    close = [at["disarm", None], at["reinforce_loo", None], at["relax", 0.5]]
    close += [at["tuned_rebar", 0.5]]
    assert max(row["std"] for row in close) < learned["std"] / 2**0.5
    rebars = [row["std"] for row in rows if row["estimator"] == "rebar"]
    assert max(row["std"] for row in close) < min(at["muprop", None]["std"], *rebars)


def test_the_captions_of_samples():
    path = REPOSITORY / "docs" / "images" / "captions.json"
    captions = json.loads(path.read_text()).values() if path.exists() else ()
    for _, text in captions:
        number, file = re.fullmatch(r"\[.* ([\d.]+) .*\]\((.*)\)", text).groups()
        test = json.loads((REPOSITORY / file).read_text())["result"]["test"]
        value = 100 * test["accuracy"] if "accuracy" in test else test["nll"]
        assert number == f"{value:.2f}"
