"""Strict JAX for every test: what is only a risk elsewhere is an error here."""

import atexit
import gc
import importlib.metadata
import os
import shutil
import tempfile

# Most of the time of the tests is compilation, of what runs for a moment. Also for the
# processes that they start. Ahead of the first import of jax.
os.environ["XLA_FLAGS"] = " ".join(
    [
        os.environ.get("XLA_FLAGS", ""),
        "--xla_backend_optimization_level=0",
        # Seconds for what is the same in each of 20,000 repeats.
        "--xla_disable_hlo_passes=constant_folding",
        *(
            ["--xla_cpu_use_fusion_emitters=false"]
            # Later ones have no such flag.
            if importlib.metadata.version("jaxlib").startswith("0.10.")
            else []
        ),
    ]
)

import jax
import pytest

import runs
from experiments.data import datasets
from experiments.engine import plots
from experiments.reproduction import records

# Tracing makes objects by the million that stay: looking for cycles among them as often
# as by default is some 6 % of the time.
gc.set_threshold(200_000, 20, 20)

jax.config.update("jax_num_cpu_devices", 8)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_legacy_prng_key", "error")

# One of them is enough but for the tests that say so.
jax.config.update("jax_default_device", jax.devices()[0])

# Many tests train the same tiny model: each program is compiled once a session.
_COMPILED = tempfile.mkdtemp(prefix="gumbel-tests-")
atexit.register(shutil.rmtree, _COMPILED, ignore_errors=True)
jax.config.update("jax_compilation_cache_dir", _COMPILED)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True, scope="module")
def forget():
    """Drops what a module compiled: the next one has other programs."""
    yield
    runs.forget_programs()


@pytest.fixture
def eight():
    """All eight devices."""
    one = jax.config.jax_default_device
    jax.config.update("jax_default_device", None)
    yield jax.devices()
    jax.config.update("jax_default_device", one)


@pytest.fixture
def noise(monkeypatch):
    """Noise images instead of a data set."""
    dataset = runs.dataset()
    monkeypatch.setattr(datasets, "load", lambda *args: dataset)
    return dataset


@pytest.fixture(scope="session")
def mnist():
    """The shipped MNIST."""
    return datasets.load("mnist")


@pytest.fixture(scope="session")
def few_digits(mnist):
    """Few real digits, 4,000 to train and 500 to test."""
    train = datasets.Split(mnist.train.images[:4000], mnist.train.labels[:4000])
    test = datasets.Split(mnist.test.images[:500], mnist.test.labels[:500])
    return datasets.Dataset("few digits", train, test, test, "of a part", 10)


@pytest.fixture
def digits(few_digits, monkeypatch):
    """Few real digits instead of the data set."""
    monkeypatch.setattr(datasets, "load", lambda *args: few_digits)
    return few_digits


@pytest.fixture
def saved(monkeypatch):
    """The figures that would be saved, by file name."""
    caught = {}
    monkeypatch.setattr(
        plots, "save", lambda figure, path: caught.update({path.name: figure})
    )
    return caught


@pytest.fixture
def results(monkeypatch, tmp_path):
    """Where the records are: a folder instead of the repository's."""
    monkeypatch.setattr(records, "RESULTS", tmp_path)
    return tmp_path
