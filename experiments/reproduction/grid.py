"""Grids of runs: points that differ in fields of a config, each a run of its own."""

import itertools
import runpy
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from experiments import REPOSITORY, ConfigError
from experiments.cli.config import unknown_field
from experiments.engine import processes as hosts
from experiments.engine import report
from experiments.engine.devices import sweep_mesh
from experiments.engine.run_directory import flatten
from experiments.engine.task import Task
from experiments.engine.train import train, train_together

# How a value of a field is read, and what it is.
_READERS: Mapping[type, tuple[Callable[[str], Any], str]] = {
    float: (float, "a number"),
    int: (int, "an integer"),
    str: (str, "a name"),
}


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


def read_shard(text: str) -> slice:
    """Reads i/n, i from 0: every n-th of what there is to do, from the i-th on.

    Raises:
        ConfigError: if it is not that.
    """
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ConfigError(f"--shard={text}: must be i/n with i from 0 to n − 1")
    return slice(int(index), None, int(count))


def product(fields: Mapping[str, Sequence]) -> Iterator[dict[str, Any]]:
    """Every combination of the fields' values; the last field changes fastest."""
    for values in itertools.product(*fields.values()):
        yield dict(zip(fields, values, strict=True))


def point_config(base: ConfigDict, fields: Mapping[str, Any]) -> ConfigDict:
    """The config of one point of a grid."""
    config = base.copy_and_resolve_references()
    config.update_from_flattened_dict(fields)
    return config.lock()


def command(experiment: str, path: str, variant: str, config: ConfigDict) -> str:
    """The command that does the same run, and continues or evaluates it."""
    default = flatten(runpy.run_path(path)["get_config"](variant).to_dict())
    fields = "".join(
        f" {shlex.quote(f'--config.{name}={value}')}"
        for name, value in flatten(config.to_dict()).items()
        if value != default[name]
    )
    shown = Path(path).resolve()
    if shown.is_relative_to(REPOSITORY):
        shown = shown.relative_to(REPOSITORY)
    return f"python -m experiments.{experiment} --config={shown}:{variant}{fields}"


def trains_as_one(config: ConfigDict) -> bool:
    """Whether runs that share a compiled step are one vmap, split over the devices.

    That is on accelerators, which a run does not fill; on CPU a vmap takes longer than
    one after the other. And where the generator draws the same for a key in a vmap, as
    JAX's other ones do not.
    """
    threefry = jax.config.jax_default_prng_impl == "threefry2x32"
    return jax.default_backend() != "cpu" and threefry


def mesh_of(config: ConfigDict, count: int) -> Mesh:
    """The mesh of so many runs that share the compiled step of a config."""
    return sweep_mesh(count if trains_as_one(config) else 1, config.batch_size)


def train_as_one(
    task: Task,
    runs: Sequence[tuple[ConfigDict, Path]],
    mesh: Mesh,
    compiled: dict[Any, Callable],
) -> None:
    """Trains runs that share a compiled step, config and directory of each, as one.

    Where they do not train as one this is left to `trained`, which afterwards finds
    nothing to do but for runs that diverged: these do so again, by themselves.
    """
    configs, directories = zip(*runs, strict=True)
    if len(runs) > 1 and trains_as_one(configs[0]):
        print(f"training {len(runs)} runs as one on {mesh.size} devices", flush=True)
        train_together(task, configs, directories, mesh, compiled)


def trained(
    task: Task,
    config: ConfigDict,
    run: Path,
    compiled: dict[Any, Callable] | None = None,
    mesh: Mesh | None = None,
) -> dict[str, Any]:
    """Trains one point of a grid, or continues it, without reading the test set.

    Args:
        task: of the config.
        config: of the point.
        run: its directory.
        compiled, mesh: as in `train`.

    Returns:
        The `valid_…` metrics of the validation that the task chooses by, and as
        `chosen_by` the number that decides, the less the better; or only, as
        `diverged`, which metric was not finite at which step.
    """
    try:
        train(task, config, run, train_only=True, compiled=compiled, mesh=mesh)
    except FloatingPointError as error:
        print(f"diverged: {error}")
        return {"diverged": str(error).partition(";")[0]}
    lines = hosts.on_first(lambda: report.read_metrics(run / "metrics.jsonl"))
    best = min((line for line in lines if "valid_nll" in line), key=task.choose_by)
    metrics = {name: best[name] for name in best if name.startswith("valid_")}
    return metrics | {"chosen_by": task.choose_by(best)}
