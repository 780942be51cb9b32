"""The papers' tables from made-up records: means, marks, orderings, by hand."""

import json

import pytest

from experiments.reproduction import published_tables
from experiments.reproduction.orderings import orderings, said
from made_records import bound, table_lines, write


def rows(text):
    """The rows of a table, by row name and estimator."""
    header, _, *body = table_lines(text)
    return {
        tuple(cells[:2]): list(zip(header, cells, strict=True))[2:] for cells in body
    }


VAE = "vae-categorical"


def test_mean_and_deviation_over_seeds_beside_the_published_number(results):
    tests = ({"test": bound(101.0)}, {"test": bound(102.0)})
    write("jang_table1", VAE, "gumbel_softmax", *tests)
    file = f"results/jang_table1/cpu/{VAE}-gumbel_softmax-seed0.json"
    text = published_tables.table("jang_table1", "cpu")
    assert rows(text)[VAE, "`gumbel_softmax`"] == [
        ("test nll", f"[101.50 ± 0.71]({file})"),
        ("published", "101.5"),
        ("difference", "+0.00"),
        ("L_1", "111.50 ± 0.71"),
        ("learning_rate", "0.001 (set)"),
        ("steps", "100,000"),
        ("best at", "75,000 to 80,000"),
        ("seeds", "2"),
    ]
    assert "Table 1 of [1]: 1 of 28 cells at budget `cpu`" in text
    assert "m = 1,000, in nats" in text and "jax 1.2, abacus." in text


@pytest.mark.parametrize(
    "nll, shown",
    [
        (102.0, "+0.50"),
        (102.01, "+0.51 ✗"),
        (101.0, "-0.50"),
        (100.9, "-0.60 ✗"),
        (111.5, "+10.00 ✗"),
    ],
)
def test_what_misses_the_tolerance_is_marked(results, nll, shown):
    write("jang_table1", VAE, "gumbel_softmax", {"test": bound(nll)})
    found = rows(published_tables.table("jang_table1", "cpu"))
    cells = found[VAE, "`gumbel_softmax`"]
    assert cells[2] == ("difference", shown)
    assert cells[0][1].startswith(f"[{nll:.2f} ± 0.25]")  # one seed: over images


def test_accuracy_is_in_percent_with_its_own_tolerance(results):
    def result(accuracy, nll_1):
        split = {"accuracy": accuracy, "nll": 1.0, "nll_1": nll_1, "nll_stderr": 1.0}
        return {"test": split, "valid": split | {"accuracy": 0.95}}

    write("jang_table2", "m2", "exact", result(0.9, 106.0), result(0.96, 107.0))
    write("jang_table2", "m2", "gumbel_softmax", result(0.909, 109.6))
    write("jang_table2", "m2", "muprop", result(0.5, 120.0))
    found = rows(published_tables.table("jang_table2", "cpu"))
    texts = {name: [text for _, text in cells] for name, cells in found.items()}
    exact = texts["m2", "`exact`"]
    assert exact[0].startswith("[93.00 ± 4.24]") and exact[1:3] == ["92.6", "+0.40"]
    assert exact[3:6] == ["106.50 ± 0.71", "106.8", "-0.30"]
    assert exact[6] == "95.00 ± 0.00"
    one = texts["m2", "`gumbel_softmax`"]
    assert one[0].startswith("[90.90](") and one[1:3] == ["92.4", "-1.50"]
    users = texts["m2", "`muprop`"]
    assert users[1:3] == users[4:6] == ["–", "–"]


def test_selected_fields_and_diverged_seeds(results):
    selection = [{"learning_rate": 0.001, "valid_nll": 1.0, "steps": 10_000}]
    row, split = "200H-784V-m1", {"test": bound(107.0), "train": bound(107.6)}
    given = {"selection": selection}
    write("maddison_table1", row, "gumbel_softmax", None, split, **given)
    write("maddison_table1", row, "nvil", None, **given)
    found = rows(published_tables.table("maddison_table1", "cpu"))
    cells = [text for _, text in found[row, "`gumbel_softmax`"]]
    assert cells[0].startswith("[107.00 ± 0.25]")
    assert cells[1:6] == ["107.3", "-0.30", "107.60 ± 0.25", "107.5", "+0.10"]
    assert cells[6:] == ["0.0003", "100,000", "75,000", "1 of 2"]
    cells = [text for _, text in found[row, "`nvil`"]]
    assert cells[0].startswith("[diverged](") and cells[1:3] == ["104.4", "✗"]
    assert cells[-2:] == ["–", "0 of 1"]


def test_orderings_within_the_rows(results):
    # Published: 101.5, 107.0, 107.8 and 110.6; the second and third are 0.8 apart.
    for estimator, nll in (
        ("gumbel_softmax", 104.0),
        ("muprop", 108.0),
        ("st_gumbel_softmax", 107.6),
        ("score_function", 103.0),
    ):
        write("jang_table1", VAE, estimator, {"test": bound(nll)})
    text = published_tables.table("jang_table1", "cpu")
    assert (
        "\nWithin the rows: of the 6 published orderings by more than 0.5 nats, 2 "
        f"hold; within 0.5 nats here: {VAE} `muprop` before `st_gumbel_softmax`; "
        f"the other way round: {VAE} `muprop` before `score_function`, "
        f"{VAE} `gumbel_softmax` before `score_function`, "
        f"{VAE} `st_gumbel_softmax` before `score_function`.\n"
    ) in text


def test_the_best_of_each_row_that_has_several(results):
    def wrote(row, estimator, nll, nll_1):
        write("jang_table1", row, estimator, {"test": bound(nll, nll_1=nll_1)})

    wrote("vae-bernoulli", "muprop", 1.0, 2.0)  # alone in its row
    wrote(VAE, "gumbel_softmax", 104.0, 116.0)
    wrote(VAE, "muprop", 105.0, 112.0)
    write("jang_table1", VAE, "darn", None)  # diverged
    *_, nll, _, nll_1 = published_tables.table("jang_table1", "cpu").splitlines()
    assert nll == "Of these, the least test nll: `gumbel_softmax` in all rows."
    assert nll_1 == "Of these, the least L_1: `muprop` in all rows."
    wrote("structured_prediction-bernoulli", "gumbel_softmax", 60.0, 61.0)
    wrote("structured_prediction-bernoulli", "darn", 59.0, 62.0)
    *_, nll, _, nll_1 = published_tables.table("jang_table1", "cpu").splitlines()
    assert nll.endswith(
        f"nll: `darn` in structured_prediction-bernoulli; `gumbel_softmax` in {VAE}."
    )
    assert "`muprop` in vae-cat" in nll_1


def test_orderings_by_hand():
    published = {"a": 1.0, "b": 2.0, "c": 2.4, "d": 4.0, "missing": 0.0}
    found = orderings(published, {"a": 3.0, "b": 3.2, "c": 9.0, "d": 1.0}, 0.5)
    assert found.holds == ["`a` before `c`"]
    assert found.ties == ["`a` before `b`"]
    assert len(found.reverse) == 3 and "`b` before `c`" not in str(found)
    assert said("x", found, 0.5).startswith("x: of the 5 published orderings by more")


def test_what_a_step_costs_is_said_where_it_differs(results):
    row = "later-vae-categorical"
    for name in ("gumbel_softmax", "disarm"):
        write("later_table1", row, name, {"test": bound(105.0)})
    found = rows(published_tables.table("later_table1", "cpu"))
    assert dict(found[row, "`disarm`"])["evaluations"] == "(1 + n)·m"
    assert dict(found[row, "`disarm`"])["published"] == "–"
    assert dict(found[row, "`gumbel_softmax`"])["evaluations"] == "m"
    assert dict(found[row, "`gumbel_softmax`"])["published"] == "101.5"


def test_orderings_of_training_bounds(results):
    for name, nll in (("relax", 110.0), ("nvil", 115.0)):
        result = {"train": bound(1.0, nll_1=nll), "test": bound(1.0)}
        write("relax", "relax-200H-784V", name, result)
    text = published_tables.table("relax", "cpu")
    assert "of the 1 published orderings by more than 0.5 nats, 1 hold" in text
    assert dict(rows(text)["relax-200H-784V", "`relax`"])["difference"] == "-1.20 ✗"


def test_a_budget_is_a_table_of_its_own(results):
    write("jang_table1", VAE, "darn", {"test": bound(1.0)}, budget="paper")
    assert published_tables.find("jang_table1", "cpu") == []
    (found,) = published_tables.find("jang_table1", "paper")
    assert (found.row.name, found.estimator) == (VAE, "darn")
    text = published_tables.table("jang_table1", "paper")
    assert "500,000 steps of sgd" in text and "schedule.rate" in text


def test_figure_5_is_a_ratio_of_steps_per_second(results):
    folder = results / "jang_figure5" / "cpu"
    folder.mkdir(parents=True)
    record = {
        "classes": [2, 10],
        "milliseconds": {"marginalisation": [4.0, 30.0], "one sample": [4.0, 10.0]},
        "versions": {"jax": "1", "device_kind": "abacus"},
    }
    (folder / "marginalisation.json").write_text(json.dumps(record))
    lines = published_tables.make("jang_figure5", "cpu").splitlines()
    assert lines[2] == "| 2 | 250.0 | 250.0 | 1.0 | – |"
    assert lines[3] == "| 10 | 33.3 | 100.0 | 3.0 | 2.0 |"


def test_a_sweep_is_shown_with_what_was_trained(results):
    folder = results / "maddison_figure4" / "cpu"
    folder.mkdir(parents=True)
    config = {"num_steps": 20000, "optimizer": "adam", "learning_rate": 3e-4}
    config |= {"batch_size": 64, "num_samples": 1}
    point = {"versions": {"jax": "1", "device_kind": "abacus"}}
    (folder / "sweep.json").write_text(
        json.dumps({"config": config, "points": [point]})
    )
    (folder / "table.md").write_text("title\n\n| a |\n| --- |\n| 1 |\n")
    lines = published_tables.make("maddison_figure4", "cpu").splitlines()
    assert lines[:5] == ["title", "", "| a |", "| --- |", "| 1 |"]
    assert "20,000 steps of adam at 0.0003, batch 64, m = 1" in lines[-1]
    assert lines[-1].endswith("jax 1, abacus.")
