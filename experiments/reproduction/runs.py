"""The grid engine: runs that differ in fields of their configs, each leaving one file.

What is left to do follows from the files alone, so that the same command continues
wherever the last one stopped, and several processes can share a table.
"""

import dataclasses
import importlib
import itertools
import runpy
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from experiments import REPOSITORY, ConfigError
from experiments.cli.rules import check_config
from experiments.engine import processes as hosts
from experiments.engine import provenance, report
from experiments.engine import run_directory as workdir
from experiments.engine.devices import sweep_mesh
from experiments.engine.fields import flatten
from experiments.engine.hyper import static_fields
from experiments.engine.run_directory import write_json
from experiments.engine.step import check_task
from experiments.engine.task import Task
from experiments.engine.together import most_together, train_together
from experiments.engine.train import train
from experiments.reproduction import records

TRAIN_ONLY = " --train_only"


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, and the file that it leaves when it is finished.

    Attributes:
        experiment: module of experiments/ and of configs/.
        variant: of the config.
        config: the locked config.
        name: of the run in messages.
        finish: (task, run, mesh) -> contents of the file: trains the run, or continues
            it, and measures it.
        output: the name of the file in the run directory, unless it is a record.
        record: the file of a final run, which reads the test set.
        free: fields in which a record may differ from the config.
        values: of the fields of a grid, where it is a point of one.
    """

    experiment: str
    variant: str
    config: ConfigDict
    name: str
    finish: Callable[[Task, "Run", Mesh], dict[str, Any]]
    output: str = ""
    record: Path | None = None
    free: Sequence[str] = ()
    values: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def directory(self) -> Path:
        """The run directory, that of the run's own command."""
        fields = self.config.to_dict()
        return workdir.default_workdir(self.experiment, self.variant, fields)

    @property
    def file(self) -> Path:
        """The file that exists once the run is finished."""
        return self.record or self.directory / self.output

    @property
    def is_done(self) -> bool:
        """Whether the file is there, and is of this run."""
        if self.record is None or not self.record.exists():
            return self.file.exists()
        record = records.read_record(self.record)
        return records.is_of(record, self.config, self.free)

    def command(self, path: Path | None = None) -> str:
        """The command that does the same run, and continues or evaluates it.

        Args:
            path: the config file; by default the experiment's.
        """
        path = path or REPOSITORY / "configs" / f"{self.experiment}.py"
        default = runpy.run_path(str(path))["get_config"](self.variant)
        default = flatten(default.to_dict())
        fields = "".join(
            f" {shlex.quote(f'--config.{name}={value}')}"
            for name, value in flatten(self.config.to_dict()).items()
            if value != default[name]
        )
        shown = Path(path).resolve()
        if shown.is_relative_to(REPOSITORY):
            shown = shown.relative_to(REPOSITORY)
        return (
            f"python -m experiments.{self.experiment} "
            f"--config={shown}:{self.variant}{fields}"
        )


def module_of(experiment: str) -> ModuleType:
    """The module of an experiment."""
    return importlib.import_module(f"experiments.{experiment}")


def product(fields: Mapping[str, Sequence]) -> Iterator[dict[str, Any]]:
    """Every combination of the fields' values; the last field changes fastest."""
    for values in itertools.product(*fields.values()):
        yield dict(zip(fields, values, strict=True))


def with_fields(base: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """A locked copy of a config with other values of some fields.

    A temperature below the floor of its schedule lowers the floor to itself.
    """
    config = base.copy_and_resolve_references()
    if "temperature" in fields and "schedule.minimum" not in fields:
        floor = min(base.schedule.minimum, fields["temperature"])
        fields = {**fields, "schedule.minimum": floor}
    config.update_from_flattened_dict(fields)
    return config.lock()


def read_shard(text: str) -> slice:
    """Reads i/n, i from 0: every n-th of what there is to do, from the i-th on.

    Raises:
        ConfigError: if it is not that.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ConfigError(f"--shard={text}: must be i/n with i from 0 to n − 1")
    return slice(int(index), None, int(count))


def check(runs: Iterable[Run]) -> None:
    """Checks runs before any training; those of one compiled step share their task.

    Raises:
        ConfigError: if a run is impossible.
        DataError: if a data set cannot be read.
    """
    for group in _groups(runs):
        module = module_of(group[0].experiment)
        for run in group:
            check_config(run.config, module.rules())
        check_task(module.make_task(group[0].config), group[0].config)


def complete(runs: Sequence[Run], announce: Callable[[Run], None]) -> None:
    """Does the runs that are not done, and writes their files.

    Args:
        runs: of one grid, done or not.
        announce: called with each run before it begins.

    Raises:
        Interrupted: on SIGTERM or Ctrl-C in training, with the state saved.
    """
    for group in _groups(runs):
        done = hosts.on_first(lambda group=group: [run.is_done for run in group])
        if all(done):
            continue
        config, size = group[0].config, len(group) if trains_as_one() else 1
        task = module_of(group[0].experiment).make_task(config)
        mesh = sweep_mesh(size, config.batch_size)
        group = [run for run, is_done in zip(group, done, strict=True) if not is_done]
        if len(group) > 1 and trains_as_one():
            most = most_together(task, config, mesh) or len(group)
            for start in range(0, len(group), most):
                part = group[start : start + most]
                print(f"training {len(part)} runs as one on {mesh.size} devices")
                configs = [run.config for run in part]
                directories = [run.directory for run in part]
                train_together(task, configs, directories, mesh)
        for run in group:
            announce(run)
            # Tells it from single runs.
            _write(run.directory / "grid.json", {"name": run.name})
            _write(run.file, run.finish(task, run, mesh))


def _write(path: Path, contents: Mapping[str, Any]) -> None:
    def write() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, contents)

    hosts.on_first(write)


def _groups(runs: Iterable[Run]) -> list[list[Run]]:
    """The runs, those together that share a compiled step."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        key = run.experiment, run.record is None, static_fields(run.config)
        groups.setdefault(key, []).append(run)
    return list(groups.values())


def trains_as_one() -> bool:
    """Whether runs that share a compiled step are one vmap, split over the devices.

    They are on accelerators, which one run does not fill, where the generator draws the
    same for a key in a vmap, as JAX's other ones do not. On a CPU a vmap takes longer
    than one run after the other.
    """
    threefry = jax.config.jax_default_prng_impl == "threefry2x32"
    return jax.default_backend() != "cpu" and threefry


def validate(task: Task, run: Run, mesh: Mesh) -> dict[str, Any]:
    """Trains a run, or continues it, without reading the test set.

    Returns:
        The steps and the `valid_…` metrics of the best validation, and as `chosen_by`
        the number that decides, lower being better; or as `diverged` which metric was
        not finite at which step.
    """
    steps = {"steps": run.config.num_steps}
    try:
        train(task, run.config, run.directory, train_only=True, mesh=mesh)
    except FloatingPointError as error:
        print(f"diverged: {error}")
        return steps | {"diverged": _reason(error)}
    lines = hosts.on_first(lambda: report.read_metrics(run.directory / "metrics.jsonl"))
    best = min((line for line in lines if "valid_nll" in line), key=task.choose_by)
    metrics = {name: best[name] for name in best if name.startswith("valid_")}
    print("  " + ", ".join(f"{name} {value}" for name, value in metrics.items()))
    return steps | metrics | {"chosen_by": task.choose_by(best)}


def _reason(error: FloatingPointError) -> str:
    return str(error).partition(";")[0]


def evaluate(
    task: Task, run: Run, mesh: Mesh, *, selection: Sequence[Mapping[str, Any]] = ()
) -> dict[str, Any]:
    """Trains and evaluates a final run, whose record has what it was chosen from."""
    try:
        result = train(task, run.config, run.directory, mesh=mesh)
        record = records.make_record(run.directory, run.experiment)
        print(report.summary(result, run.directory), flush=True)
    except FloatingPointError as error:
        print(f"diverged: {error}")
        record = {
            "experiment": run.experiment,
            "config": run.config.to_dict(),
            "diverged": _reason(error),
            "versions": provenance.versions(task.checksum),
        }
    if selection:
        shown = [dict(point) for point in selection]
        for point in shown:
            point.pop("chosen_by", None)
        record["selection"] = shown
    return record
