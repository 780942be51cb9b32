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

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from experiments import REPOSITORY, ConfigError
from experiments.cli import launch
from experiments.cli.config import EXPERIMENTS, read_flags, unknown_field
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.fields import flatten
from experiments.engine.run_directory import default_workdir, write_json
from experiments.reproduction import bounds, runs
from experiments.reproduction.runs import Run
from experiments.reproduction.sweep_plot import plot_sweep

# How the values of a field are read, and what they are.
_READERS: Mapping[type, tuple[Callable[[str], Any], str]] = {
    float: (float, "a number"),
    int: (int, "an integer"),
    str: (str, "a name"),
}


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A parsed command line; `fields` maps what is swept to its values."""

    experiment: str
    path: str
    variant: str
    base: ConfigDict
    fields: Mapping[str, tuple]
    seeds: int
    samples: int
    out: Path
    shard: slice
    flags: flags.FlagValues

    def points(self) -> list[tuple[dict[str, Any], Run]]:
        """The values of every point, with the seed, and its run."""
        fields = self.fields | {"seed": tuple(range(self.seeds))}
        where = self.experiment, self.variant, self.base
        return [
            (values, make_point(*where, values, self.samples))
            for values in runs.product(fields)
        ]


def make_point(
    experiment: str,
    variant: str,
    base: ConfigDict,
    values: Mapping[str, Any],
    samples: int,
) -> Run:
    """The run of a point, which is done once its bounds L_samples are there."""
    config = runs.with_fields(base, values)
    directory = runs.run_directory(experiment, variant, config)
    return Run(
        experiment,
        variant,
        config,
        f"sweep, {' '.join(f'{name}={value}' for name, value in values.items())}",
        directory / f"bounds-{samples}.json",
        functools.partial(bounds.measure, samples=samples),
    )


def read_values(base: ConfigDict, text: str) -> tuple[str, tuple]:
    """Reads FIELD=VALUE,VALUE,… with values of the field's type.

    Args:
        base: the config that has the field.
        text: for example `schedule.rate=0,1e-5,1e-4`.

    Returns:
        The field, dotted where it is nested, and the values.

    Raises:
        ConfigError: if there is no such field, it is neither a number nor a name, or a
            value is of another type or given twice.
    """
    field, _, rest = text.partition("=")
    texts = [value.strip() for value in rest.split(",")]
    if field not in flatten(base.to_dict()):
        raise ConfigError(unknown_field(field, base))
    if not all(texts):
        raise ConfigError(f"--sweep={text}: must be {field}=VALUE,VALUE,…")
    group, _, leaf = field.rpartition(".")
    kind = (base[group] if group else base).get_type(leaf)
    if kind not in _READERS:
        raise ConfigError(f"config.{field}={rest}: only numbers and names can be swept")
    read, meaning = _READERS[kind]
    values = []
    for value in texts:
        try:
            values.append(read(value))
        except ValueError:
            raise ConfigError(f"config.{field}={value!r}: must be {meaning}") from None
    for value in values:
        if values.count(value) > 1:
            raise ConfigError(f"config.{field}={value!r}: must be given once")
    return field, tuple(values)


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
    base, fields, shard = values.config, {}, runs.read_shard(values.shard)
    for text in values.sweep:
        field, choices = read_values(base, text)
        if field == "seed":
            raise ConfigError(f"--sweep={text}: seeds must be given as --seeds=NUMBER")
        if field in fields:
            raise ConfigError(f"--sweep={text}: {field} must be given once")
        fields[field] = choices
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


def table(points: Sequence[Mapping[str, Any]]) -> str:
    """A row for every combination of the swept fields: means ± std over seeds."""
    rows = []
    swept = list(points[0]["fields"])
    measured = next((list(p["measured"]) for p in points if not p["diverged"]), [])
    for values in dict.fromkeys(tuple(p["fields"].values()) for p in points):
        seeds = [p for p in points if tuple(p["fields"].values()) == values]
        whole = [p for p in seeds if not p["diverged"]]
        cells = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
        if whole:
            nlls = ([p[bound]["nll"] for p in whole] for bound in _BOUNDS)
            numbers = ([p["measured"][name] for p in whole] for name in measured)
            cells += [f"{whole[0]['temperature']:g}", *map(_mean, nlls)]
            cells += [_mean(values, 4) for values in numbers]
        else:
            cells += ["–", *["diverged"] * (2 + len(measured))]
        count = f"{len(seeds)}" if whole == seeds else f"{len(whole)} of {len(seeds)}"
        seconds = np.mean([point["seconds"] for point in seeds])
        rows.append([*cells, count, f"{seconds:.0f}"])
    header = [*swept, "last temperature", *_BOUNDS, *measured, "seeds", "seconds"]
    return report.markdown(header, rows)


_BOUNDS = ("discrete", "relaxed")


def _mean(values: Sequence[float], digits: int = 2) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def read_point(sweep: Sweep, values: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """The entry of a finished point in sweep.json."""
    fields = dict(values)
    return {
        "seed": fields.pop("seed"),
        "fields": fields,
        "run": "/".join(run.directory.parts[-3:]),
        "command": run.command(Path(sweep.path)),
        **json.loads(run.file.read_text()),
    }


def write(sweep: Sweep) -> str:
    """Writes the files of a finished sweep and returns its table."""
    points = [read_point(sweep, *pair) for pair in sweep.points()]
    title = f"{sweep.experiment}, {sweep.variant}"
    what = f"−L_{sweep.samples} on the validation set"
    text = f"{title}: {what}, in nats, mean ± std over seeds\n\n{table(points)}\n"
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
    write_json(sweep.out / "sweep.json", {**settings, "points": points})
    plot_sweep(points, [*sweep.fields], sweep.out / "sweep.png", f"{title}\n{what}")
    return text


def main(argv: list[str]) -> None:
    """Checks, trains and evaluates all points, and writes the results."""
    sweep = parse(argv)
    hosts.start(sweep.flags)
    launch.check_compiler()
    points = [run for _, run in sweep.points()]
    hosts.in_all(lambda: runs.check(points))
    selected = points[sweep.shard]

    def announce(run: Run) -> None:
        place = f"{selected.index(run) + 1}/{len(selected)}"
        print(f"[{place}] {run.name}: {run.directory}", flush=True)

    runs.complete(selected, announce)
    if not hosts.on_first(lambda: all(run.is_done for run in points)):
        return print("done; when all other points are, any --shard writes the results")
    print(hosts.on_first(lambda: write(sweep)))
    print(f"written to {sweep.out}: table.md, sweep.json, sweep.png")
