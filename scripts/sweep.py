"""Trains a grid of configs and compares their discrete and relaxed bounds.

    python scripts/sweep.py --experiment=vae --config=configs/vae.py --seeds=3 \\
        --sweep=temperature=0.1,0.25,0.5,0.667,1,2,5 --sweep=learning_rate=1e-4,1e-3

Figure 4, right, of Maddison, Mnih & Teh (2017):

    python scripts/sweep.py --experiment=structured_prediction \\
        --config=configs/structured_prediction.py:392V-240H-240H-392V \\
        --sweep=temperature=1,2,5,10,20,50,100

  --experiment   module of experiments/ [vae]
  --config       config file and variant [configs/EXPERIMENT.py]; --config.FIELD=VALUE
                 changes a field of every point
  --sweep        FIELD=VALUE,VALUE,…, numbers or names; several span a grid, and the
                 first field is the x axis of the figure
  --seeds        n: every point has seeds 0 … n − 1 [1]
  --samples      m of the final bounds [100]
  --shard        i/n, i from 0: only every n-th point, for n processes; the last of them
                 to be done writes the results
  --out          folder of the results [runs/sweep/NAME-HASH OF THE SWEEP]

Every point is a run in the directory of its own command. Those that differ in
temperature, prior_temperature, learning_rate, weight_decay, schedule.*, slope.*,
options.* but for integers, or the seed, which are traced, share a compiled step: on
accelerators they train as one, on all devices and, with the flags of --multihost that
python -m experiments.vae --help explains, on all hosts; on CPU they go one after the
other. A temperature below the floor of its schedule lowers the floor to itself. At the
end the parameters of a run's best validation bound have two numbers on the validation
set, in nats; the test set is not read:

  discrete   −L_m on hard samples
  relaxed    −L_m of the program relaxed at the last temperature of the schedule, under
             the objective: a bound for relaxed_density or where there is no KL

and whatever else the experiment measures, such as accuracy.

Stopped at any point, the same command does what is left. Writes table.md, sweep.json
and sweep.png.
"""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from experiments import REPOSITORY, ConfigError, plots
from experiments.cli import launch
from experiments.cli.config import EXPERIMENTS, read_flags
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.run_directory import default_workdir, write_json
from experiments.reproduction import grid
from experiments.reproduction.sweep import (
    Point,
    check_points,
    make_points,
    read_points,
    run_points,
)


class Sweep(NamedTuple):
    """A parsed command line; `fields` maps what is swept to its values."""

    experiment: str
    path: str
    variant: str
    base: ConfigDict
    fields: dict[str, tuple]
    seeds: int
    samples: int
    out: Path
    shard: slice
    flags: flags.FlagValues


def _define_experiment(values: flags.FlagValues) -> None:
    flags.DEFINE_string("experiment", "vae", "its module", flag_values=values)


def _define_flags(values: flags.FlagValues) -> None:
    _define_experiment(values)
    flags.DEFINE_multi_string("sweep", [], "FIELD=VALUE,…", flag_values=values)
    flags.DEFINE_integer("seeds", 1, "seeds a point", 1, flag_values=values)
    flags.DEFINE_integer("samples", 100, "m of the bounds", 1, flag_values=values)
    flags.DEFINE_string("out", None, "folder of the results", flag_values=values)
    flags.DEFINE_string("shard", "0/1", "i/n", flag_values=values)
    hosts.define_flags(values)


def read_experiment(argv: list[str]) -> str:
    """The experiment of a command line, which says what its config is by default.

    Raises:
        ConfigError: if there is no such experiment.
    """
    values = flags.FlagValues()
    values.set_gnu_getopt(True)  # flags may follow a value such as that of --config
    _define_experiment(values)
    try:
        values(argv, known_only=True)
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    if values.experiment not in EXPERIMENTS:
        raise ConfigError(
            f"--experiment={values.experiment}: must be one of {', '.join(EXPERIMENTS)}"
        )
    return values.experiment


def parse(argv: list[str]) -> Sweep:
    """Parses a command line.

    Raises:
        ConfigError: in one line, for anything that cannot be parsed.
    """
    experiment = read_experiment(argv)
    default = str(REPOSITORY / "configs" / f"{experiment}.py")
    values, path, variant = read_flags(argv, default, _define_flags)
    base, fields, shard = values.config, {}, grid.read_shard(values.shard)
    for text in values.sweep:
        field, read = grid.read_values(base, text)
        if field == "seed":
            raise ConfigError(f"--sweep={text}: seeds must be given as --seeds=NUMBER")
        if field in fields:
            raise ConfigError(f"--sweep={text}: {field} must be given once")
        fields[field] = read
    if not fields:
        raise ConfigError("--sweep: must be given, as FIELD=VALUE,VALUE,…")
    settings = {"config": base.to_dict(), "fields": fields}
    settings |= {"seeds": values.seeds, "samples": values.samples}
    name = "-".join([experiment, variant, *fields])
    out = Path(values.out) if values.out else default_workdir("sweep", name, settings)
    return Sweep(
        *(experiment, path, variant, base, fields, values.seeds, values.samples, out),
        shard=shard,
        flags=values,
    )


def table(records: Sequence[dict[str, Any]]) -> str:
    """A row for every combination of the swept fields: means ± std over seeds."""
    rows = []
    swept = list(records[0]["fields"])
    measured = next((list(r["measured"]) for r in records if not r["diverged"]), [])
    for values in dict.fromkeys(tuple(r["fields"].values()) for r in records):
        own = [r for r in records if tuple(r["fields"].values()) == values]
        good = [r for r in own if not r["diverged"]]
        cells = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
        if good:
            nlls = ([r[b]["nll"] for r in good] for b in ("discrete", "relaxed"))
            cells += [f"{good[0]['temperature']:g}", *map(_mean, nlls)]
            cells += [
                _mean([r["measured"][name] for r in good], 4) for name in measured
            ]
        else:
            cells += ["–", *["diverged"] * (2 + len(measured))]
        seeds = str(len(own)) if good == own else f"{len(good)} of {len(own)}"
        seconds = np.mean([record["seconds"] for record in own])
        rows.append([*cells, seeds, f"{seconds:.0f}"])
    header = [*swept, "last temperature", "discrete", "relaxed", *measured]
    header += ["seeds", "seconds"]
    return report.markdown(header, rows)


def _mean(values: Sequence[float], digits: int = 2) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def make_record(sweep: Sweep, point: Point, found: dict[str, Any]) -> dict[str, Any]:
    """What sweep.json holds of a point."""
    fields = dict(point.fields)
    return {
        "seed": fields.pop("seed"),
        "fields": fields,
        "run": "/".join(point.run.parts[-3:]),
        "command": grid.command(
            sweep.experiment, sweep.path, sweep.variant, point.config
        ),
        **found,
    }


def write(sweep: Sweep, records: Sequence[dict[str, Any]]) -> str:
    """Writes the files of a sweep and returns its table."""
    title = f"{sweep.experiment}, {sweep.variant}"
    what = f"−L_{sweep.samples} on the validation set"
    text = f"{title}: {what}, in nats, mean ± std over seeds\n\n{table(records)}\n"
    sweep.out.mkdir(parents=True, exist_ok=True)
    (sweep.out / "table.md").write_text(text)
    settings = {
        "experiment": sweep.experiment,
        "variant": sweep.variant,
        "config": sweep.base.to_dict(),
        "sweep": [{"field": f, "values": v} for f, v in sweep.fields.items()],
        "seeds": sweep.seeds,
        "samples": sweep.samples,
    }
    write_json(sweep.out / "sweep.json", {**settings, "points": records})
    plots.plot_sweep(
        records, [*sweep.fields], sweep.out / "sweep.png", f"{title}\n{what}"
    )
    return text


def main(argv: list[str]) -> None:
    """Checks, trains and evaluates all points, and writes the results."""
    sweep = parse(argv)
    hosts.start(sweep.flags)
    launch.check_compiler()
    make_task = importlib.import_module(f"experiments.{sweep.experiment}").make_task
    fields = sweep.fields | {"seed": tuple(range(sweep.seeds))}
    points = make_points(sweep.experiment, sweep.variant, sweep.base, fields)
    hosts.in_all(lambda: check_points(make_task, points))
    run_points(make_task, points[sweep.shard], sweep.samples)
    found = read_points(points, sweep.samples)
    if found is None:
        return print("done; when all other points are, any --shard writes the results")
    records = [make_record(sweep, *pair) for pair in zip(points, found, strict=True)]
    print(hosts.on_first(lambda: write(sweep, records)))
    print(f"written to {sweep.out}: table.md, sweep.json, sweep.png")


if __name__ == "__main__":
    launch.run_script(__doc__, main, sys.argv)
