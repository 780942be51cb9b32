"""Checkpoints of the training state; the only file that imports orbax.

Orbax makes a save atomic: it writes to a temporary directory and renames it. It gets
the state as one array of bytes, which halves the time of a save; what the bytes are is
in the checkpoint's metadata, with a SHA-256, since orbax does not check what it reads.
Of many processes the first alone saves and reads: the state is whole on all of them.
"""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from experiments import CheckpointError
from experiments.engine import processes as hosts

PyTree = Any

# The newest, and the one before to fall back to if the newest turns out damaged.
_KEEP = 2


class Checkpoints:
    """The newest checkpoints of one run; many processes may restore, one may save.

    Args:
        directory: where the checkpoints are; made by the first save.
    """

    def __init__(self, directory: str | Path):
        self._directory = Path(directory).absolute()
        self._damaged: list[int] = []

    def save(self, state: PyTree, step: int) -> None:
        """Saves the state and returns once it is on disk.

        A process killed meanwhile leaves the checkpoints of before or of after.

        Args:
            state: a pytree of arrays, typed PRNG keys among them.
            step: its number; higher than that of every intact checkpoint.

        Raises:
            CheckpointError: if there is an intact checkpoint of this or a later step.
        """
        leaves = _named_leaves(state)
        kinds, data = _kinds(leaves), _pack(leaves)
        hosts.on_first(lambda: self._write(step, kinds, data))

    def _write(self, step: int, kinds: dict[str, str], data: np.ndarray) -> None:
        # Restoring went back to before these; the run saves their steps again.
        while self._damaged:
            shutil.rmtree(self._directory / str(self._damaged.pop()))
        self._directory.mkdir(parents=True, exist_ok=True)
        with _manager(self._directory, cleanup_tmp_directories=True) as manager:
            saved = manager.save(
                step,
                args=ocp.args.StandardSave({"data": data}),
                custom_metadata={"leaves": kinds, "sha256": _digest(kinds, data)},
            )
        if not saved:
            raise CheckpointError(
                f"{self._directory} already has a checkpoint of step {step} or later: "
                "restore it first, or use another directory"
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
        newest = hosts.on_first(lambda: self._newest(report))
        if newest is None:
            return None
        step, kinds, data = newest
        return self._fit(step, kinds, data, template), step

    def _newest(
        self, report: Callable[[str], None]
    ) -> tuple[int, dict[str, str], np.ndarray] | None:
        damage: dict[int, str] = {}
        for step in self._steps():
            try:
                kinds, data = self._read(step)
            except Exception as error:  # Damage surfaces as almost any type.
                reason = str(error).partition("\n")[0][:200]
                damage[step] = f"step {step} is damaged ({reason})"
                continue
            if damage:
                report(f"{self._directory}: {'; '.join(damage.values())}; using {step}")
            self._damaged = list(damage)
            return step, kinds, data
        if not damage:
            return None
        raise CheckpointError(
            f"{self._directory}: {'; '.join(damage.values())}; none is left: delete "
            "this directory to start from the beginning"
        )

    def _steps(self) -> list[int]:
        # Orbax's own list leaves out what it takes for unfinished saves.
        names = (path.name for path in self._directory.glob("*"))
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def _read(self, step: int) -> tuple[dict[str, str], np.ndarray]:
        with _manager(self._directory) as manager:
            metadata = manager.metadata(step).custom_metadata
            data = manager.restore(step, args=ocp.args.StandardRestore())["data"]
        kinds = metadata.get("leaves", {})
        if _digest(kinds, data) != metadata.get("sha256"):
            raise ValueError("its contents do not match their SHA-256")
        return kinds, data

    def _fit(
        self, step: int, kinds: dict[str, str], data: np.ndarray, template: PyTree
    ) -> PyTree:
        leaves = _named_leaves(template)
        expected = _kinds(leaves)
        differences = [
            f"{name} is {kinds.get(name, 'absent')} not {expected.get(name, 'absent')}"
            for name in sorted(kinds | expected)
            if kinds.get(name) != expected.get(name)
        ]
        if differences:
            raise CheckpointError(
                f"{self._directory}: in the checkpoint of step {step} "
                f"{', '.join(differences)}; use the program and configuration that "
                "saved it, or another directory"
            )
        ends = np.cumsum([_raw(leaves[name]).nbytes for name in kinds])
        parts = dict(zip(kinds, np.split(data, ends[:-1]), strict=True))
        restored = [_like(leaf, parts[name]) for name, leaf in leaves.items()]
        return jax.tree.unflatten(jax.tree.structure(template), restored)


@contextlib.contextmanager
def _manager(directory: Path, **options: Any) -> Iterator[ocp.CheckpointManager]:
    options = ocp.CheckpointManagerOptions(
        preservation_policy=ocp.checkpoint_managers.LatestN(_KEEP),
        enable_async_checkpointing=False,
        create=False,
        # It waits for no other process: none of them comes here.
        multiprocessing_options=ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}
        ),
        **options,
    )
    # Orbax logs dozens of lines for each save, and its own account of each damage.
    verbosity = logging.get_verbosity()
    logging.set_verbosity(min(verbosity, logging.FATAL))
    try:
        with ocp.CheckpointManager(directory, options=options) as manager:
            yield manager
    finally:
        logging.set_verbosity(verbosity)


def _named_leaves(state: PyTree) -> dict[str, Any]:
    leaves = jax.tree.leaves_with_path(state)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _kinds(leaves: dict[str, Any]) -> dict[str, str]:
    # The dtype of a key names its implementation: key<fry>[].
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in leaves.items()}


def _pack(leaves: dict[str, Any]) -> np.ndarray:
    arrays = jax.device_get([_raw(leaf) for leaf in leaves.values()])
    return np.concatenate([np.ravel(array).view(np.uint8) for array in arrays])


def _like(leaf: Any, data: np.ndarray) -> Any:
    raw = _raw(leaf)
    # A copy: the array is aligned then, and does not keep the whole state alive.
    value = data.copy().view(raw.dtype).reshape(raw.shape)
    if not isinstance(leaf, jax.Array):
        return value
    # Committing what the template leaves open would forbid to mix it with the mesh.
    value = jax.device_put(value, raw.sharding if raw.committed else None)
    if _is_key(leaf):
        return jax.random.wrap_key_data(value, impl=jax.random.key_impl(leaf))
    return value


def _digest(kinds: dict[str, str], data: np.ndarray) -> str:
    digest = hashlib.sha256(json.dumps(kinds).encode())
    digest.update(data)
    return digest.hexdigest()
