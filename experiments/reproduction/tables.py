"""Tables beside the published numbers, as Markdown and as CSV, from records alone."""

import csv
import io
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.engine import report
from experiments.engine.fields import flatten
from experiments.reproduction import records
from experiments.reproduction.budgets import TABLE_BUDGETS
from experiments.reproduction.entries import (
    BETTER,
    EDGE,
    WORSE,
    Entry,
    best,
    label,
    means,
    read,
)
from experiments.reproduction.published import TABLES, Column
from gumbel.estimators import ESTIMATORS


def heading(name: str, budget: str) -> str:
    """The title of a table with its conditions."""
    every = [record for entry in read(name, budget) for record in entry.records]
    return (
        f"{TABLES[name].title}: {shared(every, 'num_steps')} steps of "
        f"{shared(every, 'optimizer')}, batch {shared(every, 'batch_size')}, m = "
        f"{shared(every, 'eval_samples')}, budget `{budget}`"
    )


def score(name: str, budget: str) -> str:
    """The number of a table's published numbers that ours reach, in a sentence."""
    columns = [column for column in TABLES[name].columns if column.is_published]
    marks = [
        entry.mark(column)
        for entry in read(name, budget)
        for column in columns
        if entry.published(column) is not None
    ]
    count = sum(len(n) for row in TABLES[name].rows for n in row.published.values())
    text = (
        f"**{len(marks) - marks.count(WORSE)} of {len(marks)} published numbers are "
        f"within the tolerance or better**: {marks.count('')} within it, "
        f"{marks.count(BETTER)} better ({BETTER}), {marks.count(WORSE)} worse ({WORSE})"
    )
    left = f"; {count - len(marks)} more are not run" * (count > len(marks))
    return f"{text}{left}."


def table(name: str, budget: str) -> str:
    """A table with its conditions and its orderings, as Markdown."""
    columns, entries = TABLES[name].columns, read(name, budget)
    fields = _grid_fields(name, budget)
    costs = {e.estimator: ESTIMATORS[e.estimator].evaluations for e in entries}
    # A column for what a step costs, where that differs.
    cost = ["evaluations"] * (len(set(costs.values())) > 1)
    header = ["row", "estimator"]
    for column in columns:
        header += [column.label, *["published", "difference"] * column.is_published]
    header += [*cost, *fields, "steps", "best at", "seeds"]
    rows = []
    for entry in entries:
        cells = []
        for column in columns:
            cells.append(_number(entry, column))
            cells += _beside(entry, column) if column.is_published else []
        cells[0] = f"[{cells[0]}](results/{name}/{budget}/{entry.files[0].name})"
        cells += [costs[entry.estimator]] * len(cost)
        cells += [*(_choice(entry, field) for field in fields), *_steps(entry)]
        rows.append([entry.row.name, f"`{entry.estimator}`", *cells])
    notes = [f"{TABLES[name].title}: {conditions(name, budget, entries)}"]
    if columns[0].name.startswith("nll"):
        notes += [
            _orderings(entries, columns[0]),
            *(_best(entries, c) for c in columns),
        ]
    return "\n\n".join([report.markdown(header, rows), *filter(None, notes)])


def _grid_fields(name: str, budget: str) -> list[str]:
    grids = TABLE_BUDGETS[name][budget].grids.values()
    return list(dict.fromkeys(itertools.chain.from_iterable(grids)))


def _number(entry: Entry, column: Column) -> str:
    mean, spread = entry.mean(column), entry.spread(column)
    if mean is None:
        return "diverged"
    return f"{mean:.2f}" if spread is None else f"{mean:.2f} ± {spread:.2f}"


def _beside(entry: Entry, column: Column) -> list[str]:
    """The published number, and our difference from it with its mark."""
    published, mean = entry.published(column), entry.mean(column)
    if published is None:
        return ["–", "–"]
    difference = [] if mean is None else [f"{mean - published:+.2f}"]
    return [f"{published}", " ".join([*difference, entry.mark(column)]).strip()]


def _choice(entry: Entry, field: str) -> str:
    """The value of a field, and whether it was chosen, and chosen at an edge."""
    first = entry.records[0]
    value = f"{flatten(first['config'])[field]:g}"
    if field not in _selection(first)[0]:
        return f"{value} (set)"
    return f"{value} {EDGE}" if field in records.edges(first) else value


def _selection(record: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return record.get("selection", [{}])


def _steps(entry: Entry) -> list[str]:
    """The steps, at which of them validation was best over the seeds, and the seeds."""
    seeds, whole = len(entry.records), len(entry.whole)
    best = sorted({record["result"]["best_step"] for record in entry.whole})
    ends = " to ".join(f"{step:,}" for step in [*best[:1], *best[1:][-1:]])
    steps = f"{entry.records[0]['config']['num_steps']:,}"
    return [steps, ends or "–", f"{seeds}" if whole == seeds else f"{whole} of {seeds}"]


def shared(every: Sequence[Mapping[str, Any]], field: str) -> str:
    """The values of a field in the configs of records, in words."""
    values = {record["config"][field] for record in every}
    return " or ".join(x if isinstance(x, str) else f"{x:,}" for x in sorted(values))


def conditions(name: str, budget: str, entries: Sequence[Entry]) -> str:
    """The note under a table: what its records share, and its marks."""
    every = [record for entry in entries for record in entry.records]
    cells = sum(len(row.published) for row in TABLES[name].rows)
    published = [entry for entry in entries if entry.estimator in entry.row.published]
    tolerances = ", ".join(
        f"{c.tolerance:g} for {c.label}" for c in TABLES[name].columns if c.is_published
    )
    edge = ""
    if any(map(records.edges, every)):
        edge = (
            f" {EDGE} is a choice at the edge of its grid: further ones may be better."
        )
    return (
        f"{len(published)} of {cells} cells at budget `{budget}`. "
        f"{shared(every, 'num_steps')} steps of {shared(every, 'optimizer')}, batch "
        f"{shared(every, 'batch_size')}; nll is L_m with m = "
        f"{shared(every, 'eval_samples')}, in nats; {_choices(name, budget, every)}. "
        "Tested are the parameters of the step that is best on validation (best at). ± "
        "is the standard deviation over seeds, of a single seed the standard error "
        f"over images; {WORSE} is a mean worse and {BETTER} one better by more than "
        f"{tolerances}, about the noise of the papers, which print no error bars."
        f"{edge} {_machines(every)}."
    )


def _choices(name: str, budget: str, every: Sequence[Mapping[str, Any]]) -> str:
    """The values that were tried, by field, and the fraction of the steps."""
    texts, shares = [], set()
    for field in _grid_fields(name, budget):
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


def _machines(every: Sequence[Mapping[str, Any]]) -> str:
    machines = {(x["versions"]["jax"], x["versions"]["device_kind"]) for x in every}
    return f"jax {' or '.join(', '.join(machine) for machine in sorted(machines))}"


def _best(entries: Sequence[Entry], column: Column) -> str:
    names: dict[str, list[str]] = {}
    for row, estimator in best(entries, column).items():
        names.setdefault(estimator, []).append(row)
    parts = [
        f"`{name}` in {'all rows' if len(names) == 1 else ', '.join(rows)}"
        for name, rows in names.items()
    ]
    return f"Of these, the least {column.label}: {'; '.join(parts)}." if parts else ""


def _orderings(entries: Sequence[Entry], column: Column) -> str:
    """The published orderings within the rows, and whether our records keep them."""
    holds, ties, reverse = [], [], []
    for row, ours in means(entries, column).items():
        same_row = [entry for entry in entries if entry.row.name == row]
        published = {entry.estimator: entry.published(column) for entry in same_row}
        names = [name for name in ours if published[name] is not None]
        for better, worse in itertools.permutations(names, 2):
            if published[worse] - published[better] <= column.tolerance:
                continue
            gap = ours[worse] - ours[better]
            strict = holds if gap > 0 else reverse
            kind = ties if abs(gap) <= column.tolerance else strict
            kind.append(f"{row} `{better}` before `{worse}`")
    count = len(holds) + len(ties) + len(reverse)
    text = [
        f"Within the rows: of the {count} published orderings by more than "
        f"{column.tolerance} nats, {len(holds)} hold"
    ]
    text += [f"within {column.tolerance} nats here: {', '.join(ties)}"] if ties else []
    text += [f"the other way round: {', '.join(reverse)}"] if reverse else []
    return f"{'; '.join(text)}." if count else ""


def glance(name: str, budget: str) -> str:
    """The numbers of each estimator on each network, the best of a network in bold."""
    entries, columns = read(name, budget), TABLES[name].columns
    lowest = [best(entries, column) for column in columns]
    networks = {entry.row.name: entry.row for entry in entries}
    rows = []
    for estimator, kind in ESTIMATORS.items():
        by_row = {e.row.name: e for e in entries if e.estimator == estimator}
        cells = [_glance_cell(by_row.get(n), columns, lowest) for n in networks]
        unbiased = "yes" if kind.unbiased else "no"
        if by_row:
            rows.append([f"`{estimator}`", unbiased, kind.evaluations, *cells])
    header = ["estimator", "unbiased", "evaluations", *map(label, networks.values())]
    every = [record for entry in entries for record in entry.records]
    counts = sorted({len(entry.records) for entry in entries})
    seeds = f"{' or '.join(map(str, counts))} seed{'s' * (counts != [1])}"
    note = (
        f"{TABLES[name].title}: {' / '.join(column.label for column in columns)}, nll "
        f"being L_m with m = {shared(every, 'eval_samples')}, in nats, mean over "
        f"{seeds}. {shared(every, 'num_steps')} steps of {shared(every, 'optimizer')}, "
        f"batch {shared(every, 'batch_size')}; {_choices(name, budget, every)}. "
        "Published numbers, standard errors, learning rates and records are in "
        f"table.md and [table.csv](results/{name}/{budget}/table.csv), beside them."
    )
    return f"{report.markdown(header, rows)}\n\n{note}"


def _glance_cell(entry: Entry | None, columns, lowest) -> str:
    if entry is None or not entry.whole:
        return "–" if entry is None else "diverged"
    texts = []
    for column, names in zip(columns, lowest, strict=True):
        is_best = names.get(entry.row.name) == entry.estimator
        mean = f"{entry.mean(column):.2f}"
        texts.append(f"**{mean}**" if is_best else mean)
    return " / ".join(texts)


def as_csv(name: str, budget: str) -> str:
    """A table as CSV, every number in a column of its own."""
    lines = []
    for entry in read(name, budget):
        line = {"row": entry.row.name, "estimator": entry.estimator}
        for column in TABLES[name].columns:
            line[column.label] = _short(entry.mean(column))
            line[f"{column.label}, spread"] = _short(entry.spread(column))
            if column.is_published:
                line[f"{column.label}, published"] = entry.published(column)
        config = flatten(entry.records[0]["config"])
        line |= {field: config[field] for field in _grid_fields(name, budget)}
        line |= {"at an edge": " ".join(records.edges(entry.records[0]))}
        line |= {"steps": config["num_steps"], "seeds": len(entry.records)}
        line |= {"diverged": len(entry.records) - len(entry.whole)}
        line |= {"first record": entry.files[0].name}
        lines.append(line)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"
