"""Tables beside the published numbers, as Markdown and as CSV, from records alone.

The cells that a table is made of are those of one table and budget that have records.
"""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine import report
from experiments.engine.fields import flatten
from experiments.reproduction import records
from experiments.reproduction.cells import BETTER, WORSE, Cell, best, by_row, label
from experiments.reproduction.published import TABLES, Column
from gumbel.estimators import ESTIMATORS

EDGE = "◂"  # a choice at the edge of its grid


def heading(cells: Sequence[Cell]) -> str:
    """The title of a table with its conditions."""
    title, budget = TABLES[cells[0].table].title, cells[0].budget
    m = _shared(cells, "eval_samples")
    return f"{title}: {_training(cells)}, m = {m}, budget `{budget}`"


def _training(cells: Sequence[Cell]) -> str:
    fields = "num_steps", "optimizer", "batch_size"
    steps, optimizer, batch = (_shared(cells, field) for field in fields)
    return f"{steps} steps of {optimizer}, batch {batch}"


def _shared(cells: Sequence[Cell], field: str) -> str:
    """The values of a field in the configs of records, in words."""
    values = {record["config"][field] for cell in cells for record in cell.records}
    return " or ".join(x if isinstance(x, str) else f"{x:,}" for x in sorted(values))


def score(cells: Sequence[Cell]) -> str:
    """The number of a table's published numbers that ours reach, in a sentence."""
    table = TABLES[cells[0].table]
    marks = [
        cell.mark(column)
        for cell in cells
        for column in table.published_columns
        if cell.published(column) is not None
    ]
    count = sum(len(n) for row in table.rows for n in row.published.values())
    worse = marks.count(WORSE)
    left = f"; {count - len(marks)} more are not run" * (count > len(marks))
    return (
        f"**{len(marks) - worse} of {len(marks)} published numbers are within the "
        f"tolerance or better**: {marks.count('')} within it, {marks.count(BETTER)} "
        f"better ({BETTER}), {worse} worse ({WORSE}){left}."
    )


def table(cells: Sequence[Cell]) -> str:
    """A table with its conditions and its orderings, as Markdown."""
    published = TABLES[cells[0].table]
    columns, fields = published.columns, _grid_fields(cells)
    costs = {ESTIMATORS[cell.estimator].evaluations for cell in cells}
    # A column for what a step costs, where that differs.
    cost = ["evaluations"] * (len(costs) > 1)
    header = ["row", "estimator"]
    for column in columns:
        header += [column.label, *["published", "difference"] * column.is_published]
    header += [*cost, *fields, "steps", "best at", "seeds"]
    rows = []
    for cell in cells:
        texts = []
        for column in columns:
            texts.append(_number(cell, column))
            texts += _beside(cell, column) if column.is_published else []
        texts[0] = f"[{texts[0]}]({records.link(cell.files[0])})"
        texts += [ESTIMATORS[cell.estimator].evaluations] * len(cost)
        texts += [*(_choice(cell, field) for field in fields), *_steps(cell)]
        rows.append([cell.row.name, f"`{cell.estimator}`", *texts])
    notes = [f"{published.title}: {_conditions(cells)}"]
    if columns[0].name.startswith("nll"):
        notes += [_orderings(cells, columns[0])]
        notes += [_best(cells, column) for column in columns]
    return "\n\n".join([report.markdown(header, rows), *filter(None, notes)])


def _grid_fields(cells: Sequence[Cell]) -> list[str]:
    grids = cells[0].spent.grids.values()
    return list(dict.fromkeys(itertools.chain.from_iterable(grids)))


def _number(cell: Cell, column: Column) -> str:
    mean, spread = cell.mean(column), cell.spread(column)
    if mean is None:
        return "diverged"
    return f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"


def _beside(cell: Cell, column: Column) -> list[str]:
    """The published number, and our difference from it with its mark."""
    published, mean = cell.published(column), cell.mean(column)
    if published is None:
        return ["–", "–"]
    difference = [] if mean is None else [f"{mean - published:+.2f}"]
    return [f"{published}", " ".join([*difference, cell.mark(column)]).strip()]


def _choice(cell: Cell, field: str) -> str:
    """The value of a field, and whether it was chosen, and chosen at an edge."""
    first = cell.records[0]
    value = f"{flatten(first['config'])[field]:g}"
    if field not in _selection(first)[0]:
        return f"{value} (set)"
    return f"{value} {EDGE}" if field in records.edges(first) else value


def _selection(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return record.get("selection", [{}])


def _steps(cell: Cell) -> list[str]:
    """The steps, at which of them validation was best over the seeds, and the seeds."""
    seeds, whole = len(cell.records), len(cell.whole)
    best = sorted({record["result"]["best_step"] for record in cell.whole})
    ends = " to ".join(f"{step:,}" for step in [*best[:1], *best[1:][-1:]])
    steps = f"{cell.records[0]['config']['num_steps']:,}"
    return [steps, ends or "–", f"{seeds}" if whole == seeds else f"{whole} of {seeds}"]


def _conditions(cells: Sequence[Cell]) -> str:
    """The note under a table: what its records share, and its marks."""
    published = TABLES[cells[0].table]
    every = [record for cell in cells for record in cell.records]
    count = sum(cell.estimator in cell.row.published for cell in cells)
    tolerances = ", ".join(
        f"{c.tolerance:g} for {c.label}" for c in published.published_columns
    )
    edge = f" {EDGE} is a choice at the edge of its grid: further ones may be better."
    machines = " or ".join(sorted({records.machine(record) for record in every}))
    return (
        f"{count} of {sum(len(row.published) for row in published.rows)} cells at "
        f"budget `{cells[0].budget}`. {_training(cells)}; nll is −L_m with m = "
        f"{_shared(cells, 'eval_samples')}, in nats; {_choices(cells)}. "
        "Tested are the parameters of the step that is best on validation (best at). ± "
        "is the standard deviation over seeds, of a single seed the standard error "
        f"over images; {WORSE} is a mean worse and {BETTER} one better by more than "
        f"{tolerances}, our tolerance: [1] and [2] print no error bars."
        f"{edge * any(map(records.edges, every))} jax {machines}."
    )


def _choices(cells: Sequence[Cell]) -> str:
    """The values that were tried, by field, and the fraction of the steps."""
    every = [record for cell in cells for record in cell.records]
    texts, shares = [], set()
    for field in _grid_fields(cells):
        values = {p[field] for r in every for p in _selection(r) if field in p}
        if values:
            texts.append(f"{field} from {', '.join(f'{v:g}' for v in sorted(values))}")
    for record in every:
        steps = {point.get("steps") for point in _selection(record)} - {None}
        shares |= {100 * step / record["config"]["num_steps"] for step in steps}
    if not texts:
        return "no field was chosen among values"
    known = "" if all("selection" in x for x in every) else ", or (set) beforehand"
    share = " or ".join(f"{share:g}" for share in sorted(shares))
    return (
        f"{'; '.join(texts)}, by the best validation of {share} % of the steps{known}"
    )


def _best(cells: Sequence[Cell], column: Column) -> str:
    names: dict[str, list[str]] = {}
    for row, estimator in best(cells, column).items():
        names.setdefault(estimator, []).append(row)
    parts = [
        f"`{name}` in {'all rows' if len(names) == 1 else ', '.join(rows)}"
        for name, rows in names.items()
    ]
    return f"Of these, the least {column.label}: {'; '.join(parts)}." if parts else ""


def _orderings(cells: Sequence[Cell], column: Column) -> str:
    """The published orderings within the rows, and whether our records keep them."""
    holds, ties, reverse = [], [], []
    known = [c for c in cells if c.whole and c.published(column) is not None]
    for row, same in by_row(known).items():
        for better, worse in itertools.permutations(same.values(), 2):
            if worse.published(column) - better.published(column) <= column.tolerance:
                continue
            gap = worse.mean(column) - better.mean(column)
            strict = holds if gap > 0 else reverse
            kind = ties if abs(gap) <= column.tolerance else strict
            kind.append(f"{row} `{better.estimator}` before `{worse.estimator}`")
    count = len(holds) + len(ties) + len(reverse)
    text = [
        f"Within the rows: of the {count} published orderings by more than "
        f"{column.tolerance} nats, {len(holds)} hold"
    ]
    text += [f"within {column.tolerance} nats here: {', '.join(ties)}"] if ties else []
    text += [f"the other way round: {', '.join(reverse)}"] if reverse else []
    return f"{'; '.join(text)}." if count else ""


def glance(cells: Sequence[Cell]) -> str:
    """The numbers of each estimator on each network, the best of a network in bold."""
    published, rows = TABLES[cells[0].table], by_row(cells)
    columns = published.columns
    lowest = {column: best(cells, column) for column in columns}

    def show(cell: Cell | None) -> str:
        if cell is None or not cell.whole:
            return "–" if cell is None else "diverged"
        texts = []
        for column, names in lowest.items():
            bold = "**" * (names.get(cell.row.name) == cell.estimator)
            texts.append(f"{bold}{cell.mean(column):.2f}{bold}")
        return " / ".join(texts)

    lines = []
    for name, estimator in ESTIMATORS.items():
        networks = [same.get(name) for same in rows.values()]
        unbiased = "yes" if estimator.unbiased else "no"
        if any(networks):
            numbers = map(show, networks)
            lines.append([f"`{name}`", unbiased, estimator.evaluations, *numbers])
    labels = dict.fromkeys(label(cell.row) for cell in cells)
    counts = sorted({len(cell.records) for cell in cells})
    seeds = f"{' or '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    note = (
        f"{published.title}: {' / '.join(column.label for column in columns)}, nll "
        f"being −L_m with m = {_shared(cells, 'eval_samples')}, in nats, mean over "
        f"{seeds}. {_training(cells)}; {_choices(cells)}. "
        "Published numbers, standard errors, learning rates and records are in "
        f"table.md and [table.csv]({records.link(cells[0].folder)}/table.csv), "
        "beside them."
    )
    header = ["estimator", "unbiased", "evaluations", *labels]
    return f"{report.markdown(header, lines)}\n\n{note}"


def as_csv(cells: Sequence[Cell]) -> str:
    """A table as CSV, every number in a column of its own."""
    lines = []
    for cell in cells:
        line = {"row": cell.row.name, "estimator": cell.estimator}
        for column in TABLES[cell.table].columns:
            line[column.label] = _short(cell.mean(column))
            line[f"{column.label}, spread"] = _short(cell.spread(column))
            if column.is_published:
                line[f"{column.label}, published"] = cell.published(column)
        config = flatten(cell.records[0]["config"])
        line |= {field: config[field] for field in _grid_fields(cells)}
        line |= {"at an edge": " ".join(records.edges(cell.records[0]))}
        line |= {"steps": config["num_steps"], "seeds": len(cell.records)}
        line |= {"diverged": len(cell.records) - len(cell.whole)}
        line |= {"first record": cell.files[0].name}
        lines.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"
