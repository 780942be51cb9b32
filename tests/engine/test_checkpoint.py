import contextlib
import gc
import hashlib
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from absl import logging
from jax.sharding import NamedSharding, PartitionSpec

from experiments import CheckpointError
from experiments.engine.checkpoint import CHECKSUMS, Checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[2]

# Saves w = step in all of its entries, for ever, and prints the step after each save.
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


def make_state(step: int) -> State:
    # All bits a float can have: infinities, nan payloads, -0.0 and subnormals too.
    rng = np.random.default_rng(step)
    words = rng.integers(0, 2**32, size=(200, 30), dtype=np.uint32)
    words[0, :5] = [0x7FC12345, 0xFFC00001, 0x80000000, 0x7F800000, 1]
    params = {
        "w": jnp.asarray(words.view(np.float32)),
        "half": jnp.asarray(words[0].view(jnp.bfloat16)),
        "empty": jnp.zeros((0, 3)),
    }
    keys = jax.random.split(jax.random.key(step), 3)
    return State(jnp.int32(step), params, optax.adam(1e-3).init(params), keys, ())


def bits(leaf):
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    raw = np.asarray(jax.random.key_data(leaf) if is_key else leaf)
    return leaf.dtype, leaf.shape, raw.tobytes()


def assert_same_bits(actual, expected):
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for leaves in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert bits(leaves[0]) == bits(leaves[1])


@pytest.fixture
def two(tmp_path):
    """A folder with the checkpoints of steps 1 and 2."""
    for step in (1, 2):
        Checkpoints(tmp_path).save(make_state(step), step)
    return tmp_path


def test_restores_bits_dtypes_and_structure(tmp_path):
    Checkpoints(tmp_path / "new" / "dir").save(make_state(7), 7)
    state, step = Checkpoints(tmp_path / "new" / "dir").restore(make_state(0))
    assert step == 7
    assert_same_bits(state, make_state(7))


def test_orbax_alone_restores_and_sha256sum_checks(two):
    state = make_state(2)
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore(two / "2")
    assert {*tree} == {"step", "params", "opt_state", "key"} and tree["step"] == 2
    for name, value in state.params.items():
        if value.size == 0:  # Orbax saves none.
            continue
        assert bits(tree["params"][name]) == bits(value)
        assert bits(tree["opt_state"]["0"]["mu"][name]) == bits(jnp.zeros_like(value))
    (implementation,) = tree["key"]
    key = jax.random.wrap_key_data(tree["key"][implementation], impl=implementation)
    assert bits(key) == bits(state.key)
    for line in (two / "2" / CHECKSUMS).read_text().splitlines():
        digest, name = line.split("  ")
        data = (two / "2" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest


def test_takes_key_implementation_and_sharding_from_template(tmp_path):
    mesh = jax.sharding.Mesh(jax.devices(), "data")
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    state = {
        "step": np.int32(1),
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
    (tmp_path / "4.tmp.orbax-checkpoint-tmp").mkdir()  # as a kill leaves it
    for step in (1, 5, 10):
        checkpoints.save(make_state(step), step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["10", "5"]
    with pytest.raises(CheckpointError, match="step 10 or later"):
        checkpoints.save(make_state(10), 10)


def flip(path: pathlib.Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * (len(data) - 1))] ^= 1 << int(place * 7)
    path.write_bytes(data)


def as_directory(path: pathlib.Path) -> None:
    path.unlink()
    path.mkdir()


def as_loop(path: pathlib.Path) -> None:
    path.unlink()
    path.symlink_to(path)


DAMAGES = {
    **{f"flipped at {i / 16}": lambda path, i=i: flip(path, i / 16) for i in range(17)},
    "emptied": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: len(path.name) // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "deleted": lambda path: path.unlink(),
    "a directory": as_directory,
    "a symlink loop": as_loop,
}


def test_damage_of_every_file_is_noticed(two, tmp_path_factory):
    whole = tmp_path_factory.mktemp("whole") / "2"
    shutil.copytree(two / "2", whole)
    names = [p.relative_to(whole) for p in whole.rglob("*") if p.is_file()]
    template, tried = make_state(0), 0
    for name in names:
        for damage, act in DAMAGES.items():
            act(two / "2" / name)
            with pytest.raises((ValueError, OSError)):
                pytest.fail(f"{name} {damage}: {Checkpoints(two).read(2)}")
            tried += 1
            if damage in ("flipped at 0.5", "deleted"):
                lines = []
                state, step = Checkpoints(two).restore(template, report=lines.append)
                assert step == 1 and len(lines) == 1
                assert "step 2 is damaged" in lines[0] and "using 1" in lines[0]
                assert_same_bits(state, make_state(1))
            shutil.rmtree(two / "2")
            shutil.copytree(whole, two / "2")
    assert tried >= 250
    # The copies that were damaged were not damaged before.
    assert Checkpoints(two).restore(template, report=pytest.fail)[1] == 2


def test_damaged_newest_is_saved_again(two):
    shutil.rmtree(two / "2" / "d")
    checkpoints = Checkpoints(two)
    _, step = checkpoints.restore(make_state(0), report=lambda line: None)
    assert step == 1
    checkpoints.save(make_state(2), 2)
    assert_same_bits(Checkpoints(two).restore(make_state(0))[0], make_state(2))


def test_a_folder_under_another_step_is_refused(two):
    shutil.copytree(two / "2", two / "5")
    lines = []
    _, step = Checkpoints(two).restore(make_state(0), report=lines.append)
    assert step == 2 and "step 5 is damaged (its state is that of step 2)" in lines[0]


def test_all_damaged_is_one_error_and_deletes_nothing(two):
    for step in ("1", "2"):
        (two / step / CHECKSUMS).unlink()
    with pytest.raises(CheckpointError, match="step 2 .* step 1 .*delete this dir"):
        Checkpoints(two).restore(make_state(0))
    assert sorted(path.name for path in two.iterdir()) == ["1", "2"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"params": {"w": jnp.zeros(3)}}, r"params\.half is bfloat16\[60\] not absent"),
        ({"step": jnp.float32(0)}, r"step is int32\[\] not float32\[\];"),
        (
            {"key": jax.random.key(0)},
            r"key\.threefry2x32 is uint32\[3, 2\] not uint32\[2\];",
        ),
        (
            {"key": jax.random.split(jax.random.key(0, impl="rbg"), 3)},
            r"key\.rbg is absent not uint32\[3, 4\], key\.threefry2x32 is uint32",
        ),
        ({"estimator": (jnp.zeros(2),)}, r"estimator\.0 is absent not float32\[2\]"),
    ],
)
def test_misfit_names_the_leaf_and_is_no_damage(two, change, message):
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(two).restore(make_state(0).replace(**change), pytest.fail)


def test_silent_and_leaves_verbosity_alone(tmp_path, caplog):
    before = logging.get_verbosity()
    logging.set_verbosity(logging.INFO)
    Checkpoints(tmp_path).save(make_state(1), 1)
    Checkpoints(tmp_path).restore(make_state(0))
    after = logging.get_verbosity()
    logging.set_verbosity(before)
    assert after == logging.INFO and not caplog.records


class Stopped(BaseException):
    """Stands for the kill of a process: no later file operation takes place."""


class FileOperations:
    """Counts Python's file operations, and lets none pass once some were made."""

    EVENTS = ("open", "os.", "shutil.")

    def __init__(self):
        self.allowed, self.made = None, 0
        sys.addaudithook(self._note)  # for the rest of the process

    def _note(self, event, arguments):
        if self.allowed is None or not event.startswith(self.EVENTS):
            return
        if str(arguments[:1]).endswith(".py',)"):  # a warning quotes its source
            return
        self.made += 1
        if self.made > self.allowed:
            raise Stopped

    @contextlib.contextmanager
    def only(self, allowed):
        self.allowed, self.made = allowed, 0
        try:
            yield
        finally:
            self.allowed = None


@pytest.fixture(scope="module")
def file_operations():
    return FileOperations()


# What was under way in Orbax when an operation failed is never awaited.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore:.*never awaited:RuntimeWarning")
def test_killed_at_each_file_operation_it_continues(two, tmp_path, file_operations):
    template, killed = make_state(0), 0
    Checkpoints(two).save(make_state(3), 3)  # Deletes step 1.
    step, reached = 3, set()
    while True:
        try:
            with file_operations.only(killed):
                Checkpoints(two).save(make_state(step + 1), step + 1)
        except BaseException as error:
            assert isinstance(error, Stopped) or isinstance(error.__cause__, Stopped)
        else:
            break
        killed += 1
        state, step_ = Checkpoints(two).restore(template, report=pytest.fail)
        assert step_ in (step, step + 1)
        assert_same_bits(state, make_state(step_))
        reached.add(step_ - step)
        step = step_
    gc.collect()  # That is said here, not in the test that comes next.
    assert killed > 20 and reached == {0, 1}


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
