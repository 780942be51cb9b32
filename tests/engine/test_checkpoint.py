import pathlib
import random
import signal
import subprocess
import sys
import time

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl import logging
from jax.sharding import NamedSharding, PartitionSpec

from experiments import CheckpointError
from experiments.engine.checkpoint import Checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Saves w = step in all of its entries, for ever, and says so after each save.
SAVER = """
import sys, jax.numpy as jnp
from experiments.engine.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
template = {"step": jnp.int32(0), "w": jnp.zeros((300, 300))}
_, step = checkpoints.restore(template) or (template, 0)
while True:
    step += 1
    state = {"step": jnp.int32(step), "w": jnp.full((300, 300), float(step))}
    checkpoints.save(state, step)
    print(step, flush=True)
"""


@flax.struct.dataclass
class State:
    step: jax.Array
    params: dict
    opt_state: tuple
    key: jax.Array
    estimator: tuple


def make_state(seed: int) -> State:
    # All bits a float can have: infinities, nan payloads, -0.0 and subnormals too.
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**32, size=(200, 30), dtype=np.uint32)
    words[0, :5] = [0x7FC12345, 0xFFC00001, 0x80000000, 0x7F800000, 1]
    params = {
        "w": jnp.asarray(words.view(np.float32)),
        "half": jnp.asarray(words[0].view(jnp.bfloat16)),
        "empty": jnp.zeros((0, 3)),
    }
    keys = jax.random.split(jax.random.key(seed), 3)
    return State(jnp.int32(seed), params, optax.adam(1e-3).init(params), keys, ())


def bits(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    raw = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    return leaf.dtype, leaf.shape, raw.tobytes()


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for leaves in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert bits(leaves[0]) == bits(leaves[1])


def largest_file(directory: pathlib.Path) -> pathlib.Path:
    files = (path for path in directory.rglob("*") if path.is_file())
    return max(files, key=lambda path: path.stat().st_size)


def truncate(directory):
    path = largest_file(directory)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_byte(directory):
    path = largest_file(directory)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "truncated": truncate,
    "flipped": flip_byte,
    "no data": lambda directory: largest_file(directory).unlink(),
    "no metadata": lambda directory: (directory / "_CHECKPOINT_METADATA").unlink(),
}


def test_restores_bits_dtypes_and_structure(tmp_path):
    Checkpoints(tmp_path / "new" / "dir").save(make_state(7), 7)
    state, step = Checkpoints(tmp_path / "new" / "dir").restore(make_state(0))
    assert step == 7
    assert_same_bits(state, make_state(7))


def test_takes_key_implementation_and_sharding_from_template(tmp_path):
    mesh = jax.sharding.Mesh(jax.devices(), "data")
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    state = {
        "key": jax.random.key(3, impl="rbg"),
        "x": jax.device_put(jnp.arange(8.0), sharding),
        "host": np.arange(3),
    }
    Checkpoints(tmp_path).save(state, 1)
    restored, _ = Checkpoints(tmp_path).restore(state)
    assert jax.random.key_impl(restored["key"]) == jax.random.key_impl(state["key"])
    assert restored["x"].sharding == sharding
    assert not restored["key"].committed and isinstance(restored["host"], np.ndarray)
    assert_same_bits(restored, state)


def test_keeps_the_newest_two_and_never_goes_back(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.restore(make_state(0)) is None
    (tmp_path / "4.orbax-checkpoint-tmp").mkdir()  # as a kill leaves it
    for step in (1, 5, 10):
        checkpoints.save(make_state(step), step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "5"]
    with pytest.raises(CheckpointError, match="step 10 or later"):
        checkpoints.save(make_state(10), 10)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_newest_falls_back_and_is_saved_again(tmp_path, damage):
    for step in (1, 2):
        Checkpoints(tmp_path).save(make_state(step), step)
    damage(tmp_path / "2")
    lines, checkpoints = [], Checkpoints(tmp_path)
    state, step = checkpoints.restore(make_state(0), report=lines.append)
    assert step == 1 and len(lines) == 1
    assert "step 2 is damaged" in lines[0] and "using 1" in lines[0]
    assert_same_bits(state, make_state(1))
    checkpoints.save(make_state(2), 2)
    assert_same_bits(Checkpoints(tmp_path).restore(make_state(0))[0], make_state(2))


def test_all_damaged_is_one_error_and_deletes_nothing(tmp_path):
    for step in (1, 2):
        Checkpoints(tmp_path).save(make_state(step), step)
        flip_byte(tmp_path / str(step))
    with pytest.raises(CheckpointError, match="step 2 .* step 1 .*delete this dir"):
        Checkpoints(tmp_path).restore(make_state(0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"params": {"w": jnp.zeros(3)}},
            r"\.params\['half'\] is bfloat16\[60\] not ab",
        ),
        ({"step": jnp.float32(0)}, r"\.step is int32\[\] not float32\[\];"),
        ({"key": jax.random.key(0)}, r"\.key is key<fry>\[3\] not key<fry>\[\];"),
        (
            {"estimator": (jnp.zeros(2),)},
            r"\.estimator\[0\] is absent not float32\[2\]",
        ),
    ],
)
def test_misfit_names_the_leaf_and_is_no_damage(tmp_path, change, message):
    Checkpoints(tmp_path).save(make_state(1), 1)
    Checkpoints(tmp_path).save(make_state(2), 2)
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(tmp_path).restore(make_state(0).replace(**change), pytest.fail)


def test_silent_and_leaves_verbosity_alone(tmp_path, caplog):
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    Checkpoints(tmp_path).save(make_state(1), 1)
    Checkpoints(tmp_path).restore(make_state(0))
    after = logging.get_verbosity()
    logging.set_verbosity(before)
    assert after == logging.INFO and not caplog.records


def test_killed_at_any_moment_it_continues(tmp_path):
    rng, reached = random.Random(0), 0
    template = {"step": jnp.int32(0), "w": jnp.zeros((300, 300))}
    for _ in range(4):
        command = [sys.executable, "-c", SAVER, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            first = int(process.stdout.readline())
            time.sleep(rng.uniform(0.0, 0.4))
            process.send_signal(signal.SIGKILL)
            said = [first, *map(int, process.stdout.read().split())]
        assert first > reached
        # At most the save that the kill interrupted is there beyond what was said.
        state, reached = Checkpoints(tmp_path).restore(template, pytest.fail)
        assert reached in (said[-1], said[-1] + 1)
        assert state["step"] == reached and bool((state["w"] == reached).all())
