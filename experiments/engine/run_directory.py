"""A run directory: it describes itself and belongs to one configuration and process."""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from experiments import REPOSITORY, WorkdirError

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")


def default_workdir(experiment: str, variant: str, config: Mapping[str, Any]) -> Path:
    """Names the directory of a run, so that the same command finds it again.

    Args:
        experiment: name of the experiment.
        variant: the variant of its configuration; any text.
        config: the whole configuration, which JSON must be able to hold.

    Returns:
        `runs/<experiment>/<variant>-<hash of config>` in the repository.
    """
    safe = re.sub(r"[^A-Za-z0-9._=+-]+", "-", variant)
    digest = hashlib.sha256(_canonical(config).encode()).hexdigest()
    return REPOSITORY / "runs" / experiment / f"{safe}-{digest[:8]}"


@contextlib.contextmanager
def claim(workdir: str | Path, config: Mapping[str, Any]) -> Iterator[Path]:
    """Holds a directory, made if missing, for one run until the block ends.

    Args:
        workdir: the directory.
        config: the configuration of the run, written to `config.json`.

    Yields:
        The directory.

    Raises:
        WorkdirError: if another process holds it, or it has another `config.json`.
    """
    workdir = Path(workdir)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise WorkdirError(f"{workdir} is not a directory") from None
    with _lock(workdir):
        _adopt(workdir, config)
        yield workdir


def write_json(path: str | Path, value: Any) -> None:
    """Writes a JSON file, sorted and indented, that is never seen half-written.

    Args:
        path: the file.
        value: what to write.
    """
    path = Path(path)
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("w") as file:
        json.dump(value, file, indent=2, sort_keys=True)
        file.write("\n")
        # Without this, a power cut can leave the new name with no contents.
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested mappings to one with dotted names.

    Args:
        config: nested mappings; an empty one counts as a value.

    Returns:
        `{"a.b": 1}` for `{"a": {"b": 1}}`.
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{rest}": leaf for rest, leaf in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Names what differs between two flat mappings, with both its values.

    Values are compared as text, in which a tuple is the list that it becomes in a
    file, nan equals nan, and 1 differs from 1.0 and true, as in the hash of a
    configuration. Floats are equal if all their bits are.

    Args:
        theirs: the values "there".
        ours: the values "now".
    """
    there, here = (
        {name: _canonical(value) for name, value in flat.items()}
        for flat in (theirs, ours)
    )
    return [
        f"{name} is {there.get(name, 'absent')} there, {here.get(name, 'absent')} now"
        for name in sorted(there | here)
        if there.get(name) != here.get(name)
    ]


def processor() -> dict[str, Any]:
    """The processor's name, and how many of its cores this process may use.

    XLA splits sums over as many threads, so another number of cores rounds otherwise.
    """
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    models = [line.split(": ")[1] for line in lines if line.startswith("model name")]
    usable = getattr(os, "sched_getaffinity", None)  # not on a Mac
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
    }


def versions(dataset_checksum: str) -> dict[str, Any]:
    """Says what a run was made with.

    Args:
        dataset_checksum: checksum of the data of the run.

    Returns:
        The contents of `versions.json`; the git fields are None outside a checkout.
    """
    # Here and not above: what only reads or names runs need not wait for jax.
    import jax

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
        "backend": jax.default_backend(),
        "device_kind": jax.devices()[0].device_kind,
        "device_count": jax.device_count(),
        "matmul_precision": jax.config.jax_default_matmul_precision,
        "prng": jax.config.jax_default_prng_impl,
        **processor(),
        "dataset_checksum": dataset_checksum,
        **_git_state(REPOSITORY),
    }


@contextlib.contextmanager
def _lock(workdir: Path) -> Iterator[None]:
    # The kernel frees the lock however its process ends. The file stays: a process
    # that deletes it could delete the one that another has just locked.
    with (workdir / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise WorkdirError(
                f"{workdir} is in use by another process (pid {pid}): wait for it, or "
                "give another --workdir"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _adopt(workdir: Path, config: Mapping[str, Any]) -> None:
    path = workdir / "config.json"
    advice = "give another --workdir, or delete this one"
    if not path.exists():
        write_json(path, config)
        return
    try:
        existing = json.loads(path.read_text())
    except ValueError as error:
        raise WorkdirError(f"{path} is not JSON ({error}): {advice}") from None
    if different := differences(flatten(existing), flatten(config)):
        raise WorkdirError(
            f"{workdir} holds a run with another configuration: "
            f"{'; '.join(different)}: {advice}"
        )


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _git_state(root: Path) -> dict[str, Any]:
    revision = _git(root, "rev-parse", "HEAD")
    # An installed copy may lie inside a checkout of something else.
    if revision is None or _git(root, "rev-parse", "--show-toplevel") != str(root):
        return {"git_revision": None, "git_dirty": None}
    # Records of other runs change nothing in this one.
    code = ("status", "--porcelain", "--", ":!results")
    return {"git_revision": revision, "git_dirty": bool(_git(root, *code))}


def _git(root: Path, *args: str) -> str | None:
    # No optional locks: looking must not get in the way of another git command.
    command = ["git", "--no-optional-locks", "-C", str(root), *args]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
