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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from absl import flags
from ml_collections import ConfigDict

from experiments import REPOSITORY, ConfigError
from experiments.cli import launch
from experiments.cli.config import EXPERIMENTS, read_flags
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.fields import flatten
from experiments.engine.run_directory import default_workdir, write_json
from experiments.reproduction import bounds, runs
from experiments.reproduction.arguments import parse_flags
from experiments.reproduction.runs import Run
from experiments.reproduction.sweep_plot import plot_sweep


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A parsed command line.

    Attributes:
        experiment: module of experiments/ and of configs/.
        path: of the config file.
        variant: of the config.
        fields: what is swept, and its values.
        shard: of the points.
        flags: the other flags, and the config of all points.
    """

    experiment: str
    path: str
    variant: str
    fields: Mapping[str, tuple]
    shard: slice
    flags: flags.FlagValues

    def points(self) -> list[Run]:
        """The run of every point."""
        fields = self.fields | {"seed": tuple(range(self.flags.seeds))}
        where = self.experiment, self.variant, self.flags.config
        return [
            make_point(*where, values, self.flags.samples)
            for values in runs.product(fields)
        ]

    @property
    def out(self) -> Path:
        """The folder of the results."""
        if self.flags.out:
            return Path(self.flags.out)
        settings = {"config": self.flags.config.to_dict(), "fields": self.fields}
        settings |= {"seeds": self.flags.seeds, "samples": self.flags.samples}
        name = "-".join([self.experiment, self.variant, *self.fields])
        return default_workdir("sweep", name, settings)


def make_point(
    experiment: str,
    variant: str,
    base: ConfigDict,
    values: Mapping[str, Any],
    samples: int,
) -> Run:
    """The run of a point, which is done once its bounds L_samples are there."""
    return Run(
        experiment,
        variant,
        runs.with_fields(base, values),
        f"sweep, {' '.join(f'{name}={value}' for name, value in values.items())}",
        functools.partial(bounds.measure, samples=samples),
        f"bounds-{samples}.json",
        values=values,
    )


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


def parse(argv: list[str]) -> Sweep:
    """Parses a command line.

    Raises:
        ConfigError: in one line, for anything that cannot be parsed.
    """
    # It says what the config is by default.
    experiment = parse_flags(argv, _define_experiment, known_only=True)[0].experiment
    if experiment not in EXPERIMENTS:
        raise ConfigError(
            f"--experiment={experiment}: must be one of {', '.join(EXPERIMENTS)}"
        )
    default = str(REPOSITORY / "configs" / f"{experiment}.py")
    values, path, variant = read_flags(argv, default, _define_flags)
    shard, fields = runs.read_shard(values.shard), {}
    for text in values.sweep:
        field, _, choices = text.partition("=")
        if field == "seed":
            raise ConfigError(f"--sweep={text}: seeds must be given as --seeds=NUMBER")
        if field in fields:
            raise ConfigError(f"--sweep={text}: {field} must be given once")
        fields[field] = ()
        for choice in choices.split(","):
            # Read as the flag of the field.
            point = [*argv, f"--config.{field}={choice.strip()}"]
            config = read_flags(point, default, _define_flags)[0].config
            value = flatten(config.to_dict())[field]
            if not isinstance(value, int | float | str):
                raise ConfigError(f"--sweep={text}: must be numbers or names")
            if value in fields[field]:
                raise ConfigError(f"--sweep={text}: {choice} must be given once")
            fields[field] += (value,)
    if not fields:
        raise ConfigError("--sweep: must be given, as FIELD=VALUE,VALUE,…")
    return Sweep(experiment, path, variant, fields, shard, values)


_BOUNDS = ("discrete", "relaxed")


def table(points: Sequence[Mapping[str, Any]]) -> str:
    """A row for every combination of the swept fields: means ± std over seeds."""
    swept = list(points[0]["fields"])
    measured = next((list(p["measured"]) for p in points if not p["diverged"]), [])
    groups: dict[tuple, list[Mapping[str, Any]]] = {}
    for point in points:
        groups.setdefault(tuple(point["fields"].values()), []).append(point)
    rows = []
    for values, seeds in groups.items():
        whole = [p for p in seeds if not p["diverged"]]
        cells = [f"{v:g}" if isinstance(v, float) else str(v) for v in values]
        if whole:
            cells.append(f"{whole[0]['temperature']:g}")
            cells += [_mean([p[bound]["nll"] for p in whole]) for bound in _BOUNDS]
            cells += [_mean([p["measured"][n] for p in whole], 4) for n in measured]
        else:
            cells += ["–", *["diverged"] * (2 + len(measured))]
        count = f"{len(seeds)}" if whole == seeds else f"{len(whole)} of {len(seeds)}"
        seconds = np.mean([point["seconds"] for point in seeds])
        rows.append([*cells, count, f"{seconds:.0f}"])
    header = [*swept, "last temperature", *_BOUNDS, *measured, "seeds", "seconds"]
    return report.markdown(header, rows)


def _mean(values: Sequence[float], digits: int = 2) -> str:
    spread = f" ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else ""
    return f"{np.mean(values):.{digits}f}{spread}"


def read_point(sweep: Sweep, run: Run) -> dict[str, Any]:
    """The entry of a finished point in sweep.json."""
    fields = dict(run.values)
    return {
        "seed": fields.pop("seed"),
        "fields": fields,
        "run": "/".join(run.directory.parts[-3:]),
        "command": run.command(Path(sweep.path)),
        **json.loads(run.file.read_text()),
    }


def write(sweep: Sweep) -> str:
    """Writes the files of a finished sweep and returns its table."""
    points = [read_point(sweep, run) for run in sweep.points()]
    title = f"{sweep.experiment}, {sweep.variant}"
    what = f"−L_{sweep.flags.samples} on the validation set"
    text = f"{title}: {what}, in nats, mean ± std over seeds\n\n{table(points)}\n"
    sweep.out.mkdir(parents=True, exist_ok=True)
    (sweep.out / "table.md").write_text(text)
    settings = {
        "experiment": sweep.experiment,
        "variant": sweep.variant,
        "config": sweep.flags.config.to_dict(),
        "sweep": [{"field": f, "values": v} for f, v in sweep.fields.items()],
        "seeds": sweep.flags.seeds,
        "samples": sweep.flags.samples,
    }
    write_json(sweep.out / "sweep.json", {**settings, "points": points})
    plot_sweep(points, [*sweep.fields], sweep.out / "sweep.png", f"{title}\n{what}")
    return text


def main(argv: list[str]) -> None:
    """Checks, trains and evaluates all points, and writes the results."""
    sweep = parse(argv)
    points = sweep.points()
    selected = points[sweep.shard]
    hosts.start(sweep.flags)
    launch.check_compiler()
    hosts.in_all(lambda: runs.check(points))

    def announce(run: Run) -> None:
        place = f"{selected.index(run) + 1}/{len(selected)}"
        print(f"[{place}] {run.name}: {run.directory}", flush=True)

    runs.complete(selected, announce)
    if not hosts.on_first(lambda: all(run.is_done for run in points)):
        return print("done; when all other points are, any --shard writes the results")
    print(hosts.on_first(lambda: write(sweep)))
    print(f"written to {sweep.out}: table.md, sweep.json, sweep.png")
