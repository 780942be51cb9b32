"""Checkpoints of the training state; the only file that imports orbax.

A checkpoint is an Orbax PyTree of plain arrays, nested dictionaries of the state's
field names, which `orbax.checkpoint.StandardCheckpointer().restore(path)` reads without
this file. A typed PRNG key is stored as its key data under the name of its generator.
Beside the arrays lies SHA256SUMS, in the format of `sha256sum -c`, since Orbax does not
check what it reads. In a run of many processes, process 0 alone saves and reads: the
state is whole on all of them.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from flax import traverse_util

from experiments import CheckpointError
from experiments.engine import processes

PyTree = Any
Name = tuple[str, ...]

CHECKSUMS = "SHA256SUMS"
# The newest, and the one before to fall back to if the newest turns out damaged.
_KEEP = 2


class Checkpoints:
    """The newest checkpoints of a run, a folder named by its step each.

    Args:
        directory: where the checkpoints are; the first save creates it.
    """

    def __init__(self, directory: str | Path):
        self._directory = Path(directory).absolute()
        self._discarded: list[int] = []

    def save(self, state: PyTree, step: int) -> None:
        """Saves the state and returns once it is on disk.

        A process killed at any moment leaves the checkpoints of before or of after.

        Args:
            state: a pytree of arrays with a field `step`; PRNG keys are typed.
            step: the step of the state; higher than that of every intact checkpoint.

        Raises:
            CheckpointError: if there is an intact checkpoint of this or a later step,
                or Orbax cannot write.
            OSError: if the disk is full, or the directory cannot be written.
        """
        arrays = {name: np.asarray(leaf) for name, leaf in _named_arrays(state).items()}
        processes.on_first(lambda: self._write(step, arrays))

    def _write(self, step: int, arrays: dict[Name, np.ndarray]) -> None:
        # The run went back to before these, and saves their steps again.
        while self._discarded:
            shutil.rmtree(self._directory / str(self._discarded.pop()))
        if any(existing >= step for existing in self._steps()):
            raise CheckpointError(
                f"{self._directory} already has a checkpoint of step {step} or later: "
                "restore it first, or use another directory"
            )
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob("*.tmp*"):  # of a killed process
            shutil.rmtree(leftover)
        temporary = self._directory / f"{step}.tmp"
        try:
            with _checkpointer() as checkpointer:
                tree = traverse_util.unflatten_dict(arrays)
                checkpointer.save(temporary, args=ocp.args.PyTreeSave(tree))
            with (temporary / CHECKSUMS).open("w", encoding="utf-8") as file:
                file.write(_checksums(temporary))
                file.flush()
                os.fsync(file.fileno())
            # Until here the checkpoint has a name that no run reads.
            temporary.rename(self._directory / str(step))
        except Exception as error:
            raise self._write_error(error, step) from error
        for old in self._steps()[_KEEP:]:
            shutil.rmtree(self._directory / str(old))

    def _write_error(self, error: Exception, step: int) -> Exception:
        # TensorStore reports the errors of the operating system as text.
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            if os.strerror(number) in str(error):
                return OSError(number, os.strerror(number), str(self._directory))
        if isinstance(error, OSError):
            return error
        return CheckpointError(
            f"{self._directory}: the checkpoint of step {step} was not saved "
            f"({_first_line(error)}); the same command continues from the one before"
        )

    def restore(
        self, template: PyTree, report: Callable[[str], None] = logging.warning
    ) -> tuple[PyTree, int] | None:
        """Reads the newest checkpoint that is intact.

        Args:
            template: a state of the same structure, shapes, dtypes and shardings.
            report: gets a line naming the damaged steps and the one used instead.

        Returns:
            The state, bitwise as it was saved, and its step; None if there is none.

        Raises:
            CheckpointError: if all are damaged, or the newest intact one does not fit.
        """
        arrays: dict[Name, np.ndarray] = {}

        def newest() -> dict[str, Any] | None:
            if (step := self._newest(report, arrays)) is None:
                return None
            return {"step": step, "kinds": _kinds(arrays)}

        if (saved := processes.on_first(newest)) is None:
            return None
        expected = _named_arrays(template)
        self._check_fit(saved, _kinds(expected))
        arrays = processes.broadcast_arrays(arrays, expected)
        state = jax.tree.map_with_path(
            lambda path, leaf: (
                _like(leaf, arrays[_name(path, leaf)]) if leaf.size else leaf
            ),
            template,
        )
        return state, saved["step"]

    def read_newest(self) -> PyTree | None:
        """The newest intact checkpoint as nested dictionaries; None if there is none.

        Raises:
            CheckpointError: if all are damaged.
        """
        arrays: dict[Name, np.ndarray] = {}
        if self._newest(logging.warning, arrays) is None:
            return None
        return traverse_util.unflatten_dict(arrays)

    def _newest(
        self, report: Callable[[str], None], arrays: dict[Name, np.ndarray]
    ) -> int | None:
        """The step of the newest intact checkpoint, whose arrays it adds to a dict."""
        damage: dict[int, str] = {}
        for step in self._steps():
            try:
                arrays |= self.read(step)
            except Exception as error:  # Damage surfaces as almost any type.
                damage[step] = f"step {step} is damaged ({_first_line(error)})"
                continue
            if damage:
                report(f"{self._directory}: {'; '.join(damage.values())}; using {step}")
            self._discarded = list(damage)
            return step
        if not damage:
            return None
        raise CheckpointError(
            f"{self._directory}: {'; '.join(damage.values())}; none is left: delete "
            "this directory to start from the beginning"
        )

    def _steps(self) -> list[int]:
        """The steps of all checkpoints, intact or not, the newest first."""
        try:
            names = os.listdir(self._directory)
        except FileNotFoundError:
            return []
        numbers = (int(name) for name in names if name.isdecimal() and name.isascii())
        return sorted((n for n in numbers if str(n) in names), reverse=True)

    def read(self, step: int) -> dict[Name, np.ndarray]:
        """The arrays of a checkpoint by the path of their names.

        Raises:
            ValueError: if a file is not what was saved, or the state is of another
                step.
        """
        folder = self._directory / str(step)
        actual = _checksums(folder)
        saved = (folder / CHECKSUMS).read_bytes().decode(errors="replace")
        if actual != saved:
            lines = set(actual.splitlines()) ^ set(saved.splitlines())
            name = min((line[66:] for line in lines), default=CHECKSUMS)
            raise ValueError(f"{name} does not match its SHA-256")
        with _checkpointer() as checkpointer:
            tree = checkpointer.restore(folder, args=ocp.args.PyTreeRestore())
        if tree["step"] != step:
            raise ValueError(f"its state is that of step {tree['step']}")
        return traverse_util.flatten_dict(tree)

    def _check_fit(self, saved: dict[str, Any], expected: dict[str, str]) -> None:
        kinds = saved["kinds"]
        differences = [
            f"{name} is {kinds.get(name, 'absent')} not {expected.get(name, 'absent')}"
            for name in sorted(kinds | expected)
            if kinds.get(name) != expected.get(name)
        ]
        if differences:
            raise CheckpointError(
                f"{self._directory}: in the checkpoint of step {saved['step']} "
                f"{', '.join(differences)}; use the program and configuration that "
                "saved it, or another directory"
            )


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    # It waits for no other process: none of them comes here.
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    # Orbax logs dozens of lines for each save, and its own account of each damage.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(min(verbosity, logging.FATAL))
    try:
        handler = ocp.PyTreeCheckpointHandler(
            use_compression=False,  # The bits of weights do not compress.
            multiprocessing_options=alone,
        )
        with ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
            yield checkpointer
    finally:
        logging.set_verbosity(verbosity)


def _checksums(folder: Path) -> str:
    """A line of SHA-256 and name for each file in a folder but the checksums."""
    files = (p for p in sorted(folder.rglob("*")) if not p.is_dir())
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  "
        f"{path.relative_to(folder).as_posix()}\n"
        for path in files
        if path.name != CHECKSUMS
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200] or type(error).__name__


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _name(path: tuple[Any, ...], leaf: Any) -> Name:
    """The name of a leaf; a key's generator is part of it."""
    names = tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path)
    return (*names, str(jax.random.key_impl(leaf))) if _is_key(leaf) else names


def _named_arrays(state: PyTree) -> dict[Name, Any]:
    """The arrays of a state by name; that of a key is its data."""
    return {
        _name(path, leaf): jax.random.key_data(leaf) if _is_key(leaf) else leaf
        for path, leaf in jax.tree.leaves_with_path(state)
        if leaf.size  # Orbax saves no empty arrays, and there is nothing to save.
    }


def _kinds(arrays: dict[Name, Any]) -> dict[str, str]:
    return {".".join(n): f"{a.dtype}{list(a.shape)}" for n, a in arrays.items()}


def _like(leaf: Any, value: np.ndarray) -> Any:
    """A value with the type and sharding of a leaf of the template."""
    if not isinstance(leaf, jax.Array):
        return value
    # Committing what the template leaves open would forbid to mix it with the mesh.
    value = jax.device_put(value, leaf.sharding if leaf.committed else None)
    if _is_key(leaf):
        return jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))
    return value
