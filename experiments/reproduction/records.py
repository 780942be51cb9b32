"""Records: what finished runs wrote about themselves, each in one small JSON file."""

import importlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from experiments import REPOSITORY, ConfigError
from experiments.cli.config import EXPERIMENTS
from experiments.engine.run_directory import differences, flatten

RESULTS = REPOSITORY / "results"
# Of a result: how long it took, which no run repeats.
TIMINGS = ("seconds", "evaluation_seconds")


def make_record(run: Path) -> dict[str, Any]:
    """What a finished run wrote about itself, as one object.

    Raises:
        FileNotFoundError: if the run is not finished.
    """
    files = ("config", "result", "versions")
    return {name: json.loads((run / f"{name}.json").read_text()) for name in files}


def read_record(path: Path) -> dict[str, Any]:
    """Reads a record.

    Raises:
        ConfigError: if the file is not one.
    """
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: must be a record ({error})") from None
    if not isinstance(record, dict) or not {"config", "versions"} <= set(record):
        raise ConfigError(f"{path}: must be a record, with config, result and versions")
    return record


def read_records(folder: str) -> dict[str, dict[str, Any]]:
    """The records of a folder of results/, by name."""
    paths = sorted((RESULTS / folder).glob("*.json"))
    return {path.stem: read_record(path) for path in paths}


def is_of(record: Mapping[str, Any], config: ConfigDict, free: Sequence[str]) -> bool:
    """Whether a record is of a config, but for the values of its free fields.

    Fields that are in one of the two only, newer or older than the record, do not
    count, and neither does the folder of the data.
    """
    theirs, ours = flatten(record["config"]), flatten(config.to_dict())
    shared = set(theirs) & set(ours) - {*free, "dataset.data_dir"}
    return not differences(*({n: flat[n] for n in shared} for flat in (theirs, ours)))


def config_of(record: Mapping[str, Any]) -> tuple[str, ConfigDict]:
    """The experiment of a record, and its config; newer fields have their default.

    Raises:
        ConfigError: if no experiment has its fields.
    """
    fields = flatten(record["config"])
    for experiment in EXPERIMENTS:
        base = importlib.import_module(f"configs.{experiment}").get_config()
        if set(fields) <= set(flatten(base.to_dict())):
            config = base.copy_and_resolve_references()
            config.update_from_flattened_dict(fields)
            return experiment, config.lock()
    raise ConfigError(
        f"config: its fields must be those of one of {', '.join(EXPERIMENTS)}"
    )


def other_numbers(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The numbers of two results that are not equal to the last bit, timings aside."""
    return differences(
        *(
            {name: value for name, value in flatten(x).items() if name not in TIMINGS}
            for x in (old, new)
        )
    )
