"""Made-up records of the papers' tables, for tests of what is made from them."""

from experiments.engine.run_directory import write_json
from experiments.reproduction.cells import Cell
from experiments.reproduction.published import TABLES


def write(table, row, estimator, *splits, budget="cpu", **more):
    """Records of seeds 0, 1, …, each a `test` or its {"test": …, "train": …}."""
    (row,) = (each for each in TABLES[table].rows if each.name == row)
    cell = Cell(table, row, estimator, budget, seeds=len(splits))
    for run, split in zip(cell.finals(), splits, strict=True):
        record = {
            "experiment": run.experiment,
            "config": run.config.to_dict(),
            "versions": {"jax": "1.2", "device_kind": "abacus"},
            **more,
        }
        result = {"best_step": 80_000 - 5_000 * run.config.seed} | (split or {})
        record |= {"result": result} if split else {"diverged": "step 3: nll is nan"}
        run.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(run.file, record)


def table_lines(text):
    """The cells of the lines of a Markdown table, header and rule with them."""
    return [line.strip("| ").split(" | ") for line in text.splitlines() if "|" in line]


def bound(nll, **more):
    return {"nll": nll, "nll_1": nll + 10, "nll_stderr": 0.25} | more


def write_later(nlls):
    """Records of later_table1 with the nlls of seeds 0, 1, …, by row and estimator."""
    for (row, estimator), values in nlls.items():
        splits = [value and {"test": bound(value)} for value in values]
        write("later_table1", row, estimator, *splits)
