"""Repeated runs: what a seed sets, and what is said of many results."""

import pytest

from configs.semi_supervised import get_config
from scripts import label_seeds


def result(accuracy, nll):
    numbers = {"accuracy": accuracy, "nll": nll, "nll_1": nll + 1, "eval_samples": 5}
    return {"valid": numbers, "test": numbers, "steps": 3}


def test_summary_by_hand():
    summary = label_seeds.summarise([result(0.9, 100.0), result(0.96, 104.0)])
    for split in ("valid", "test"):
        assert summary[split]["accuracy"] == pytest.approx(
            {"mean": 0.93, "std": 0.06 / 2**0.5}
        )
        assert summary[split]["nll_1"] == pytest.approx({"mean": 103.0, "std": 8**0.5})
    one = label_seeds.summarise([result(0.9, 100.0)])
    assert one["test"]["nll"] == {"mean": 100.0, "std": 0.0}


def test_rows_have_the_published_numbers_beside_ours():
    record = {
        "seeds": [0, 1],
        "summary": label_seeds.summarise([result(0.9, 100.0), result(0.96, 104.0)]),
    }
    cells = label_seeds.row("exact", record)
    assert len(cells) == len(label_seeds.HEADER)
    assert cells[:4] == ["`exact`", "2", "93.00 ± 4.24", "92.6"]
    assert cells[5:] == ["103.00 ± 2.83", "106.8"]
    assert label_seeds.row("muprop", record)[3] == "–"


def test_a_seed_is_that_of_labels_and_of_the_run():
    base = get_config()
    config = label_seeds.seed_config(base, "exact", 7)
    assert (config.seed, config.labelled.seed, config.estimator) == (7, 7, "exact")
    assert base.seed == base.labelled.seed == 0
