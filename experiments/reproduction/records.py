"""Records: what finished runs wrote about themselves, each in one small JSON file."""

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments import REPOSITORY, ConfigError
from experiments.engine.fields import differences, flatten
from experiments.engine.report import read_metrics

RESULTS = REPOSITORY / "results"
# Numbers of a result that differ between equal runs.
TIMINGS = ("seconds", "evaluation_seconds")


def make_record(run: Path, experiment: str) -> dict[str, Any]:
    """The files of a finished run, as one object, and the `curve` of its validations.

    Raises:
        FileNotFoundError: if the run is not finished.
    """
    files = ("config", "result", "versions")
    parts = {name: json.loads((run / f"{name}.json").read_text()) for name in files}
    lines = [x for x in read_metrics(run / "metrics.jsonl") if "valid_nll" in x]
    curve = {name: [x[name] for x in lines] for name in ("step", "valid_nll")}
    return {"experiment": experiment, "curve": curve, **parts}


def read_record(path: Path) -> dict[str, Any]:
    """Reads a record.

    Raises:
        ConfigError: if the file is not one.
    """
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: must be a record ({error})") from None
    names = {"experiment", "config", "versions"}
    if not isinstance(record, dict) or not names <= set(record):
        raise ConfigError(
            f"{path}: must be a record, with experiment, config, result and versions"
        )
    return record


def read_records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records in a folder, by name."""
    return {path.stem: read_record(path) for path in sorted(folder.glob("*.json"))}


def link(path: Path) -> str:
    """The path of a file of results/ in the repository."""
    return f"results/{path.relative_to(RESULTS).as_posix()}"


def machine(record: Mapping[str, Any]) -> str:
    """The version of jax and the device that a record was made with."""
    versions = record["versions"]
    device, cores = versions["device_kind"], versions.get("cores")
    if device == "cpu" and cores is not None:
        device = f"{versions['cpu']}, {cores} core{'s' * (cores > 1)}"
    return f"{versions['jax']}, {device}"


def is_of(record: Mapping[str, Any], config: ConfigDict, free: Sequence[str]) -> bool:
    """Whether a record is of a config, apart from the values of its free fields.

    Fields newer than the record have their default, which is what it was made with; the
    folder of the data does not count.
    """
    _, recorded = config_of(record)
    compared = [flatten(x.to_dict()) for x in (recorded, config)]
    for fields in compared:
        for name in (*free, "dataset.data_dir"):
            fields.pop(name, None)
    return not differences(*compared)


def config_of(record: Mapping[str, Any]) -> tuple[str, ConfigDict]:
    """The experiment of a record, and its config; newer fields have their default.

    Raises:
        ConfigError: if the experiment does not have its fields.
    """
    experiment, fields = record["experiment"], flatten(record["config"])
    config = importlib.import_module(f"configs.{experiment}").get_config()
    config = config.copy_and_resolve_references()
    if unknown := sorted(set(fields) - set(flatten(config.to_dict()))):
        raise ConfigError(f"config.{unknown[0]}: must be a field of {experiment}")
    config.update_from_flattened_dict(fields)
    return experiment, config.lock()


def edges(record: Mapping[str, Any]) -> list[str]:
    """Fields whose chosen value is the smallest or largest of those that were tried.

    A wider value might have been better: nobody looked.
    """
    selection, config = record.get("selection", []), flatten(record["config"])
    fields = [name for name in selection[0] if name in config] if selection else []
    return [
        field
        for field in fields
        if field != "num_steps"
        and len(tried := {point[field] for point in selection}) > 1
        and config[field] in (min(tried), max(tried))
    ]


def seconds(record: Mapping[str, Any]) -> float:
    """The seconds of training and of evaluation of a record's run."""
    return sum(record.get("result", {}).get(name, 0.0) for name in TIMINGS)
