"""A run directory: it describes itself and belongs to one configuration and process.

Its `config.json` and `versions.json` are written once, by the command that starts the
run; a finished run has a `result.json`.
"""

import contextlib
import errno
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments import REPOSITORY, WorkdirError
from experiments.engine.fields import canonical, differences, flatten
from experiments.engine.provenance import DECISIVE

_RESTART = "move the directory away, as --restart does, or give another --workdir"


def default_workdir(experiment: str, variant: str, config: Mapping[str, Any]) -> Path:
    """Names the directory of a run, so that the same command finds it again.

    Args:
        experiment: name of the experiment.
        variant: the variant of its configuration; any text.
        config: the whole configuration, which JSON must be able to hold.

    Returns:
        `runs/<experiment>/<variant>-<hash of config>` in the repository.
    """
    safe = re.sub(r"[^A-Za-z0-9._=+-]+", "-", variant)[:100]
    digest = hashlib.sha256(canonical(config).encode()).hexdigest()
    return REPOSITORY / "runs" / experiment / f"{safe}-{digest[:8]}"


@contextlib.contextmanager
def claim(
    workdir: str | Path,
    config: Mapping[str, Any],
    versions: Mapping[str, Any] | None = None,
    announce: Callable[[str], None] = print,
) -> Iterator[Path]:
    """Holds a directory, made if missing, for one run until the block ends.

    A directory whose run has fewer `num_steps` and is otherwise the same becomes that
    of the longer run. An error of the operating system in the block is a WorkdirError.

    Args:
        workdir: the directory.
        config: the configuration of the run, written to `config.json`.
        versions: what the run is made with, written to `versions.json`.
        announce: gets a line where the run is extended, or was begun by other code or
            on another machine.

    Yields:
        The directory.

    Raises:
        WorkdirError: if another process holds it, or it has another `config.json` or
            was made from other data, or it cannot be read or written.
    """
    workdir = Path(workdir)
    with _os_errors(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        with _lock(workdir):
            _adopt_config(workdir, config, announce)
            if versions is not None:
                _adopt_versions(workdir, versions, announce)
            yield workdir


def set_aside(workdir: str | Path, announce: Callable[[str], None] = print) -> None:
    """Moves a run directory, if there is one, to the first free name `DIR.old-<n>`.

    Args:
        workdir: the directory.
        announce: gets a line with the new name.

    Raises:
        WorkdirError: if another process holds it, or it cannot be moved.
    """
    workdir = Path(workdir)
    # A directory of anything else is not moved.
    if not (os.path.lexists(workdir / "config.json") or _has_run(workdir)):
        return
    with _os_errors(workdir), _lock(workdir):
        names = (f"{workdir.name}.old-{n}" for n in itertools.count(1))
        free = next(n for n in names if not os.path.lexists(workdir.with_name(n)))
        workdir.rename(workdir.with_name(free))
    announce(f"moved the old run to {workdir.with_name(free)}")


def read_result(workdir: Path, num_steps: int) -> dict[str, Any] | None:
    """The contents of `result.json`; None if the run is not finished.

    Args:
        workdir: the run directory.
        num_steps: of the run.

    Raises:
        WorkdirError: if it is not the result of a run of so many steps.
    """
    path = workdir / "result.json"
    advice = "move this file away, and the same command evaluates again"
    if (result := read_json(path, advice)) is None:
        return None
    try:
        numbers = [result["steps"] - num_steps, result["seconds"]]
        for split in ("valid", "test"):
            names = {"nll", "nll_stderr", "nll_1", "eval_samples"} | {*result[split]}
            numbers += [result[split][name] for name in names]
        if numbers[0] == 0 and all(isinstance(n, int | float) for n in numbers):
            return result
    except (KeyError, TypeError):
        pass
    raise WorkdirError(
        f"{path} is damaged (not the numbers of a run of {num_steps} steps): {advice}"
    )


def read_json(path: Path, advice: str = _RESTART) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is no file.

    Args:
        path: the file.
        advice: what to do where it is damaged.

    Raises:
        WorkdirError: if the file cannot be read or holds anything else.
    """
    if not os.path.lexists(path):
        return None
    with _os_errors(path):
        data = path.read_bytes()
    try:
        value = json.loads(data.decode("utf-8"))
        reason = "" if isinstance(value, dict) else "no JSON object"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    if reason:
        raise WorkdirError(f"{path} is damaged ({reason}): {advice}")
    return value


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file, sorted and indented, that is never seen half-written.

    Args:
        path: the file.
        value: what to write.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")
        # Without this, a power cut can leave the new name with no contents.
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


@contextlib.contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    """Turns errors of the operating system into a WorkdirError of one line."""
    try:
        yield
    except BrokenPipeError:  # of the output, not of a file
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).partition("\n")[0].lower()
        advice = "give another --workdir"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "make room, and the same command continues the run"
        name = os.fsdecode(error.filename or path)
        raise WorkdirError(f"{reason}: {name}: {advice}") from error


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[None]:
    # The kernel frees the lock however its process ends. The file stays: a process
    # that deletes it could delete the one that another has just locked.
    with (workdir / "lock").open("a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read(20).strip() or "unknown"
            raise WorkdirError(
                f"{workdir} is in use by another process (pid {pid}): wait for it, or "
                "give another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _adopt_config(
    workdir: Path, config: Mapping[str, Any], announce: Callable[[str], None]
) -> None:
    path = workdir / "config.json"
    existing = read_json(path)
    if existing is None and _has_run(workdir):
        raise WorkdirError(f"{workdir} holds a run without its {path.name}: {_RESTART}")
    if existing is None:
        write_json(path, config)
        return
    there, here = flatten(existing), flatten(config)
    if not (different := differences(there, here)):
        return
    steps = there.get("num_steps")
    if differences(there | {"num_steps": here.get("num_steps")}, here) or not (
        isinstance(steps, int) and steps < here["num_steps"]
    ):
        raise WorkdirError(
            f"{workdir} holds a run with another configuration: "
            f"{'; '.join(different)}: {_RESTART}"
        )
    schedule = here.get("learning_rate_schedule", "constant")
    if schedule != "constant":
        raise WorkdirError(
            f"{workdir} holds a run of {steps} steps, which cannot be extended: its "
            f"learning rates, of learning_rate_schedule={schedule!r}, depend on "
            f"num_steps: {_RESTART}"
        )
    _extend(workdir, steps, config)
    announce(f"extending the run of {steps} steps in {workdir} to {here['num_steps']}")


def _extend(workdir: Path, steps: int, config: Mapping[str, Any]) -> None:
    """Makes the directory that of a longer run, in an order that may be broken off."""
    with contextlib.suppress(FileNotFoundError):
        (workdir / "result.json").rename(workdir / f"result-{steps}.json")
    # The last step is validated at any rate, and its chunk may be a short one; a longer
    # run does neither there, and goes on from the checkpoint before.
    if steps % config["eval_every"]:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(workdir / "checkpoints" / str(steps))
    write_json(workdir / "config.json", config)


def _adopt_versions(
    workdir: Path, versions: Mapping[str, Any], announce: Callable[[str], None]
) -> None:
    path = workdir / "versions.json"
    existing = read_json(path)
    if existing is None and not _has_run(workdir):
        write_json(path, versions)
        return
    restart = "the same command with --restart starts afresh"
    if existing is None:
        announce(f"{workdir} does not say what it was made with, in {path}; {restart}")
        return
    if existing.get("dataset_checksum") != versions["dataset_checksum"]:
        raise WorkdirError(
            f"{workdir} was made from other data, as {path} says "
            f"(dataset_checksum): use the same data, or {_RESTART}"
        )
    there, here = ({n: v.get(n) for n in DECISIVE} for v in (existing, versions))
    other = ["other code"] if there.pop("code") != here.pop("code") else []
    if other := [*other, *differences(there, here)]:
        announce(f"{workdir} was made with {'; '.join(other)}; {restart}")


def _has_run(workdir: Path) -> bool:
    """Whether more than the description of a run is there."""
    return any(os.path.lexists(workdir / n) for n in ("checkpoints", "result.json"))
