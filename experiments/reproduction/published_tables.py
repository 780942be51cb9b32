"""The papers' tables and figures beside ours, from records and nothing else."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.engine import report
from experiments.engine.run_directory import flatten
from experiments.reproduction import records
from experiments.reproduction.budgets import TABLE_BUDGETS, Budget
from experiments.reproduction.cells import make_figure
from experiments.reproduction.orderings import Orderings, orderings, said
from experiments.reproduction.published import JANG_FIGURE5, Column, Row
from experiments.reproduction.tables import FIGURES, TABLES
from gumbel.estimators import ESTIMATORS

MISS = "✗"


class Found(NamedTuple):
    """What is recorded of an estimator in a row.

    Attributes:
        row: the row.
        estimator: published there or not.
        first: the file of the first record.
        all: the records in order of their seeds.
    """

    row: Row
    estimator: str
    first: str
    all: Sequence[Mapping[str, Any]]

    @property
    def whole(self) -> list[Mapping[str, Any]]:
        """The records of runs that did not diverge."""
        return [record for record in self.all if "result" in record]

    def numbers(self, column: Column) -> list[float]:
        """The numbers of a column, one a seed."""
        results = [record["result"][column.split] for record in self.whole]
        return [column.scale * result[column.name] for result in results]


def find(table: str, budget: str) -> list[Found]:
    """The records of a table, row by row: first of the published estimators."""
    found, folder = [], records.RESULTS / table / budget
    for row in TABLES[table].rows:
        others = [e for e in ESTIMATORS if e not in row.published]
        for estimator in [*row.published, *others]:
            paths = sorted(
                folder.glob(f"{row.name}-{estimator}-seed[0-9]*.json"),
                key=lambda path: int(path.stem.rpartition("-seed")[2]),
            )
            if paths:
                read = [records.read_record(path) for path in paths]
                found.append(Found(row, estimator, paths[0].name, read))
    return found


def ours(found: Found, column: Column) -> str:
    """Mean ± standard deviation over seeds; of one, ± the standard error if known."""
    numbers = found.numbers(column)
    if not numbers:
        return "diverged"
    text = f"{np.mean(numbers):.2f}"
    if len(numbers) > 1:
        return f"{text} ± {np.std(numbers, ddof=1):.2f}"
    result = found.whole[0]["result"][column.split]
    stderr = result.get(f"{column.name}_stderr")
    return text if stderr is None else f"{text} ± {column.scale * stderr:.2f}"


def beside(found: Found, column: Column, published: float | None) -> list[str]:
    """The published number, and ours less it, marked if it misses the tolerance."""
    numbers = found.numbers(column)
    if published is None:
        return ["–", "–"]
    if not numbers:
        return [f"{published}", MISS]
    gap = float(np.mean(numbers)) - published
    mark = f" {MISS}" if abs(gap) > column.tolerance else ""
    return [f"{published}", f"{gap:+.2f}{mark}"]


def table(name: str, budget: str, links: str | None = None) -> str:
    """A table of a paper with our numbers, its conditions and its orderings.

    Args:
        name: of TABLES.
        budget: of BUDGETS.
        links: what stands before a record's file in its link; by default the folder of
            the records, from the README.
    """
    links = f"results/{name}/{budget}/" if links is None else links
    found, spent = find(name, budget), TABLE_BUDGETS[name][budget]
    columns, fields = TABLES[name].columns, _grid_fields(spent)
    header = ["row", "estimator"]
    for column in columns:
        header += [
            column.label,
            *["published", "difference"][: 2 * column.is_published],
        ]
    costs = {one.estimator: ESTIMATORS[one.estimator].evaluations for one in found}
    # A column for what a step costs, where that differs.
    cost = ["evaluations"][: len(set(costs.values())) - 1]
    header += [*cost, *fields, "steps", "best at", "seeds"]
    rows = []
    for one in found:
        published = iter(one.row.published.get(one.estimator, ()))
        cells = []
        for column in columns:
            cells.append(ours(one, column))
            if column.is_published:
                cells += beside(one, column, next(published, None))
        cells[0] = f"[{cells[0]}]({links}{one.first})"
        cells += [costs[one.estimator] for _ in cost]
        rows.append(
            [one.row.name, f"`{one.estimator}`", *cells, *_settings(one, fields)]
        )
    notes = [_conditions(name, budget, found)]
    if columns[0].name.startswith("nll"):
        notes += [_orderings(found, columns[0]), *(_best(found, c) for c in columns)]
    return "\n\n".join([report.markdown(header, rows), *filter(None, notes)])


def _grid_fields(spent: Budget) -> list[str]:
    fields = [field for grid in spent.grids.values() for field in grid]
    return list(dict.fromkeys(fields))


def _settings(found: Found, fields: Sequence[str]) -> list[str]:
    """Fields of a grid, where it has them and whether it chose them; steps, seeds.

    Between: at which steps validation was best, over the seeds.
    """
    first, flat = found.all[0], flatten(found.all[0]["config"])
    tried = first.get("selection", [{}])[0]
    cells = [
        f"{flat[field]:g}" if field in tried else f"{flat[field]:g} (set)"
        for field in fields
    ]
    seeds, whole = len(found.all), len(found.whole)
    count = f"{seeds}" if whole == seeds else f"{whole} of {seeds}"
    best = sorted({record["result"]["best_step"] for record in found.whole})
    ends = " to ".join(f"{step:,}" for step in [*best[:1], *best[1:][-1:]])
    return [*cells, f"{flat['num_steps']:,}", ends or "–", count]


def shared(some: Sequence[Mapping[str, Any]], field: str) -> str:
    """The values of a field in the configs of records, in words."""
    values = {record["config"][field] for record in some}
    return " or ".join(x if isinstance(x, str) else f"{x:,}" for x in sorted(values))


def _conditions(name: str, budget: str, found: Sequence[Found]) -> str:
    """What the records have in common, and how to read the marks."""
    every = [record for one in found for record in one.all]
    spent, title = TABLE_BUDGETS[name][budget], TABLES[name].title
    cells = sum(len(row.published) for row in TABLES[name].rows)
    published = [one for one in found if one.estimator in one.row.published]
    grid = "; ".join(
        f"{field} from {', '.join(f'{value:g}' for value in values)}"
        for field, values in spent.grids["*"].items()
    )
    known = "" if all("selection" in x for x in every) else ", or (set) beforehand"
    choice = (
        f"{grid}, by the best validation of {100 * spent.fraction:g} % of the steps"
    )
    choice = f"{choice}{known}" if grid else "no field was chosen among values"
    tolerances = ", ".join(
        f"{c.tolerance:g} for {c.label}" for c in TABLES[name].columns if c.is_published
    )
    machines = {(x["versions"]["jax"], x["versions"]["device_kind"]) for x in every}
    return (
        f"{title}: {len(published)} of {cells} cells at budget `{budget}`. "
        f"{shared(every, 'num_steps')} steps of {shared(every, 'optimizer')}, batch "
        f"{shared(every, 'batch_size')}; nll is L_m with m = "
        f"{shared(every, 'eval_samples')}, in nats; {choice}. Tested are the "
        "parameters of the step that is best on validation (best at). ± is the "
        "standard deviation over seeds, of a single seed the standard error over "
        f"images; {MISS} is a mean off by more than {tolerances}, about the noise of "
        "the papers, which print no error bars; jax "
        f"{' or '.join(', '.join(machine) for machine in sorted(machines))}."
    )


def means(found: Sequence[Found], column: Column) -> list[tuple[Row, dict]]:
    """The mean over seeds by estimator, row by row, of what did not diverge."""
    rows = {one.row.name: one.row for one in found}.values()
    return [
        (
            row,
            {
                one.estimator: float(np.mean(one.numbers(column)))
                for one in found
                if one.row is row and one.whole
            },
        )
        for row in rows
    ]


def compared(found: Sequence[Found], column: Column) -> list[tuple[Row, dict]]:
    """The means of the rows that have several, so that one of them is the least."""
    return [(row, own) for row, own in means(found, column) if len(own) > 1]


def _best(found: Sequence[Found], column: Column) -> str:
    """Which estimators have the least number of a row that has several."""
    names: dict[str, list[str]] = {}
    several = compared(found, column)
    for row, own in several:
        names.setdefault(min(own, key=own.get), []).append(row.name)
    if not names:
        return ""
    parts = [
        f"`{name}` in {'all rows' if len(rows) == len(several) else ', '.join(rows)}"
        for name, rows in names.items()
    ]
    return f"Of these, the least {column.label}: {'; '.join(parts)}."


def _orderings(found: Sequence[Found], column: Column) -> str:
    """The orderings within the rows of a table."""
    total = Orderings([], [], [])
    for row, own in means(found, column):
        part = orderings(
            {name: numbers[0] for name, numbers in row.published.items() if numbers},
            own,
            column.tolerance,
        )
        for kind, names in zip(total, part, strict=True):
            kind += [f"{row.name} {name}" for name in names]
    if not any(total):
        return ""
    return said("Within the rows", total, column.tolerance)


def figure5(budget: str) -> str:
    """Steps per second of M2 with the class marginalised and sampled."""
    drawn = make_figure("jang_figure5", budget, None)
    record = json.loads((drawn.folder / "marginalisation.json").read_text())
    names, costs = zip(*record["milliseconds"].items(), strict=True)
    rows = [
        [
            f"{k}",
            *(f"{1000 / cost:.1f}" for cost in pair),
            f"{pair[0] / pair[1]:.1f}",
            f"{JANG_FIGURE5[k]:.1f}" if k in JANG_FIGURE5 else "–",
        ]
        for k, *pair in zip(record["classes"], *costs, strict=True)
    ]
    header = ["classes", *(f"{n}, steps/s" for n in names), "speed-up", "published"]
    versions = record["versions"]
    note = f"jax {versions['jax']}, {versions['device_kind']}."
    return f"{report.markdown(header, rows)}\n\n{note}"


def sweep_table(name: str, budget: str) -> str:
    """The bounds over what was swept, as scripts/sweep.py wrote them."""
    folder = make_figure(name, budget, None).folder
    record = json.loads((folder / "sweep.json").read_text())
    config, versions = record["config"], record["points"][0]["versions"]
    note = (
        f"{config['num_steps']:,} steps of {config['optimizer']} at "
        f"{config['learning_rate']:g}, batch {config['batch_size']}, m = "
        f"{config['num_samples']}, the parameters of the best validation bound; jax "
        f"{versions['jax']}, {versions['device_kind']}."
    )
    return f"{(folder / 'table.md').read_text().strip()}\n\n{note}"


def make(name: str, budget: str) -> str:
    """The table of a paper's table or figure."""
    if name in FIGURES:
        is_sweep = FIGURES[name].script == "sweep"
        return sweep_table(name, budget) if is_sweep else figure5(budget)
    return table(name, budget)
