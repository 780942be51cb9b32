"""The packages, device, code and data of a run, for `versions.json`."""

import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from experiments import REPOSITORY

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy")
# What of experiments/ computes nothing that a run logs.
_NOT_COMPUTING = ("cli", "examples", "plots.py", "reproduction")


def versions(dataset_checksum: str) -> dict[str, Any]:
    """The contents of `versions.json`; the git fields are None outside a checkout.

    Args:
        dataset_checksum: SHA-256 of the data of the run.
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
        "code": code_checksum(),
        **_git_state(REPOSITORY),
    }


# Those that a number may depend on; git's are not among them, as its revision changes
# without the code, and the code without its revision.
DECISIVE = (
    *_PACKAGES,
    *("backend", "device_kind", "device_count", "matmul_precision", "prng"),
    *("cpu", "cores", "code"),
)


def code_checksum() -> str:
    """SHA-256 of the sources that compute: `gumbel`, and `experiments` in part."""
    digest = hashlib.sha256()
    for package in ("gumbel", "experiments"):
        # The folder that is imported, be it a checkout or an installed copy.
        (folder,) = importlib.util.find_spec(package).submodule_search_locations
        for path in sorted(Path(folder).rglob("*.py")):
            name = path.relative_to(folder)
            computes = package == "gumbel" or name.parts[0] not in _NOT_COMPUTING
            if computes and path.is_file():  # Some editors leave dangling links.
                digest.update(f"{package}/{name.as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def processor() -> dict[str, Any]:
    """The processor's name, and how many of its cores this process may use.

    XLA splits sums over as many threads, so another number of cores rounds otherwise.
    """
    path, models = Path("/proc/cpuinfo"), []
    if path.exists():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        models = [line.split(": ")[1] for line in lines if line.startswith("model n")]
    usable = getattr(os, "sched_getaffinity", None)  # not on a Mac
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(usable(0)) if usable else os.cpu_count(),
    }


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
        result = subprocess.run(
            command, capture_output=True, check=True, encoding="utf-8", errors="replace"
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()
