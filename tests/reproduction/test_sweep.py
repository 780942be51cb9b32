import functools
import itertools
import json
import shlex

import jax
import numpy as np
import pytest

import runs
from experiments import REPOSITORY, Interrupted, vae
from experiments.cli import launch
from experiments.engine import run_directory as workdir
from experiments.engine.devices import make_mesh
from experiments.reproduction import grid, sweep
from scripts import sweep as script

# How ml_collections loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
SAMPLES = 1  # as in the validations of training: nothing more to compile


@pytest.fixture
def root(monkeypatch, tmp_path):
    """Where the runs are: a folder instead of the repository."""
    monkeypatch.setattr(workdir, "REPOSITORY", tmp_path)
    return tmp_path


def task(config=None):
    """The tiny task without its test set: what reads it fails."""
    tiny = runs.task()
    del tiny.evaluation["test"]
    return tiny


def config():
    return runs.config(estimator="exact")  # the fastest to compile


def points(**fields):
    fields = {name.replace("__", "."): values for name, values in fields.items()}
    return sweep.make_points("vae", "categorical", config(), fields)


call = functools.partial(runs.call_script, script)


MISTAKES = {
    "--sweep=temprature=1,2": "config.temprature: unknown field; did you mean temper",
    "--sweep=temperature=1,warm": "config.temperature='warm': must be a number",
    "--sweep=temperature=1,0": "config.temperature=0.0: must be a positive finite",
    "--sweep=temperature=1,-2": "config.temperature=-2.0: must be a positive finite",
    "--sweep=estimator=vimco,foo": "config.num_samples=1: must be an integer ≥ 2",
    "--sweep=objective=soft_mass,foo": "config.objective='foo': must be one of relax",
    "--sweep=schedule.minimum=0.5,3": "config.temperature=1.0: must be at least",
    "--sweep=model.prior=uniform,foo": "config.model.prior='foo': must be one of lea",
    "--sweep=batch_size=8,64": "config.batch_size=64: must be at most the 48",
    "--sweep=seed=0,1": "must be given as --seeds=NUMBER",
    "--seeds=0": "flag --seeds=0",
    "--samples=many": "flag --samples=many",
    "--shard=3/3": "--shard=3/3: must be i/n with i from 0 to n − 1",
    "--experiment=foo": "--experiment=foo: must be one of semi_supervised, struct",
    "--workdir=here": "--workdir: unknown",
    "": "--sweep: must be given, as FIELD=VALUE",
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_mistakes_are_one_line_before_training(argument, capsys, noise, root):
    experiment = argument if "experiment" in argument else "--experiment=vae"
    others = [] if argument in ("", experiment) else [argument]
    tiny = runs.flags(runs.config())
    outcome = call(capsys, experiment, *tiny, *others)
    runs.assert_refused(outcome, MISTAKES[argument])
    assert not any(root.iterdir())


def test_points_are_the_product_in_the_directories_of_their_own_commands():
    found = points(temperature=(0.25, 2.0), learning_rate=(1e-3,), seed=(0, 1))
    fields = [tuple(point.fields.values()) for point in found]
    assert fields == [(t, 1e-3, seed) for t in (0.25, 2.0) for seed in (0, 1)]
    # A temperature below the floor is the floor; one above leaves it.
    floors = [point.config.schedule.minimum for point in found]
    assert floors == [0.25, 0.25, 0.5, 0.5]
    file = str(REPOSITORY / "configs/vae.py")
    for point in found:
        command = grid.command("vae", file, "categorical", point.config)
        python, _, module, *arguments = shlex.split(command)
        assert (python, module) == ("python", "experiments.vae")
        assert launch.parse(["", *arguments], "vae", file).workdir == point.run


def test_what_is_traced_compiles_once(root):
    given = task()
    first, *rest = points(temperature=(0.3, 3.0), learning_rate=(0.01, 0.1)) + points(
        seed=(7,), weight_decay=(0.1,), schedule__rate=(0.0,)
    )
    compiled = {}
    with runs.counting_compilations() as count:
        sweep.measure(given, first, SAMPLES, compiled, make_mesh())
    assert count
    with runs.counting_compilations() as count:
        found = [
            sweep.measure(given, point, SAMPLES, compiled, make_mesh())
            for point in rest
        ]
    assert not count
    assert len({f["relaxed"]["nll"] for f in found}) == len(rest)  # and differs


def without_seconds(found):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in found]


def test_stopped_anywhere_the_rest_is_done(root, monkeypatch):
    grid_points = points(temperature=(0.5, 1.0), seed=(0, 1))
    trained, train = [], grid.train

    def interrupted(task, config, *args, **kwargs):
        trained.append((config.temperature, config.seed))
        if len(trained) == 3:
            raise Interrupted
        return train(task, config, *args, **kwargs)

    monkeypatch.setattr(grid, "train", interrupted)
    with pytest.raises(Interrupted):
        sweep.run_points(task, grid_points, SAMPLES)
    done = [point.found(SAMPLES) for point in grid_points[:2]]
    before = [path.stat().st_mtime_ns for path in done]
    found = sweep.run_points(task, grid_points, SAMPLES)
    assert trained[3:] == [(1.0, 0), (1.0, 1)]
    assert [path.stat().st_mtime_ns for path in done] == before
    assert sweep.run_points(task, grid_points, SAMPLES) == found
    assert len(trained) == 5
    # Nothing remembers in which order the points came.
    monkeypatch.setattr(workdir, "REPOSITORY", root / "again")
    again = sweep.run_points(task, points(seed=(0, 1), temperature=(0.5, 1.0)), SAMPLES)
    expected = [found[i] for i in (0, 2, 1, 3)]
    assert without_seconds(again) == without_seconds(expected)


def test_divergence_is_a_finding(root, capsys):
    good, bad = points(learning_rate=(0.05, 1e38))
    found = sweep.run_points(task, [bad, good], SAMPLES)
    assert [f["diverged"] for f in found] == [True, False]
    assert "discrete" not in found[0]
    assert "diverged: step 5: " in capsys.readouterr().out


def enumerated(params, x, m):
    """L_m of runs.program [B], over all m-tuples of codes."""
    log_q, log_p = log_masses(params, x)
    masses, weights = [], []
    for code in itertools.product(range(runs.CLASSES), repeat=runs.VARIABLES):
        mass = sum(log_q[:, n, k] for n, k in enumerate(code))
        prior = sum(log_p[n, k] for n, k in enumerate(code))
        z = np.eye(runs.CLASSES)[list(code)].reshape(1, -1)
        masses.append(np.exp(mass))
        weights.append(np.exp(likelihood(params, x, z) + prior - mass))
    return sum(
        np.prod([masses[i] for i in chosen], axis=0)
        * np.log(np.mean([weights[i] for i in chosen], axis=0))
        for chosen in itertools.product(range(len(masses)), repeat=m)
    )


def log_masses(params, x):
    """log q(z|x) [B, N, K] and log p(z) [N, K] of runs.program."""
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    logits = (x @ params["encoder"]).reshape(-1, runs.VARIABLES, runs.CLASSES)
    return tuple(
        a - np.log(np.exp(a).sum(axis=-1, keepdims=True))
        for a in (logits, params["prior"])
    )


def likelihood(params, x, z):
    pixels = 1 / (1 + np.exp(-z @ np.asarray(params["decoder"], np.float64)))
    return np.log(x * pixels + (1 - x) * (1 - pixels)).sum(axis=1)


def in_the_middle(params, x):
    """The objective (21) of runs.program where every relaxed value is 1 / K."""
    log_q, log_p = log_masses(params, x)
    kl = (log_q - log_p[None]).mean(axis=2).sum(axis=1)
    z = np.full((1, runs.VARIABLES * runs.CLASSES), 1 / runs.CLASSES)
    return likelihood(params, x, z) - kl


def test_bounds_agree_with_enumeration():
    given, x = runs.task(), np.ones((1, runs.PIXELS))
    # One image many times: the standard error over examples is that of the noise.
    given.evaluation["valid"] = (np.repeat(np.float32(x), 20_000, axis=0),)
    state = runs.init_state(given, runs.config())
    params = state.best_params

    def found(temperature):
        config = runs.config(
            temperature=temperature,
            schedule__minimum=temperature,
            schedule__rate=0.0,
            objective="soft_mass",
            eval_batch_size=5000,
        )
        return sweep.bounds(given, config, state, 2)

    def z(found, truth):
        return abs(found["nll"] + truth) / found["nll_stderr"]

    cold = found(1e-4)
    truth = enumerated(params, x, 2).item()
    assert z(cold["discrete"], truth) < 5
    assert z(cold["discrete"], enumerated(params, x, 1).item()) > 5
    assert cold["temperature"] == pytest.approx(1e-4)
    # Almost all samples are at the corners: the relaxed program is the discrete one.
    assert z(cold["relaxed"], truth) < 5
    warm = found(1.0)
    assert warm["discrete"] == cold["discrete"]
    assert z(warm["relaxed"], truth) > 5
    hot = found(1e5)
    middle = in_the_middle(params, x).item()
    assert -hot["relaxed"]["nll"] == pytest.approx(middle, abs=1e-3)
    assert abs(middle - truth) > 0.1


def test_relaxed_temperature_is_the_last_of_the_schedule(root):
    # 20 steps, an update every 3: the last is at step 18.
    (point,) = points(schedule__minimum=(0.01,))
    (found,) = sweep.run_points(task, [point], SAMPLES)
    assert found["temperature"] == pytest.approx(np.exp(-0.05 * 18))


def test_script_writes_table_json_and_figure(root, monkeypatch, capsys):
    monkeypatch.setattr(vae, "make_task", task)
    arguments = [
        *("--sweep=temperature=0.5,5", "--sweep=learning_rate=0.01,0.1"),
        *("--seeds=2", f"--samples={SAMPLES}", f"--out={root / 'out'}"),
        *runs.flags(config()),
    ]
    code, out, err = call(capsys, *arguments, "--shard=1/3")
    assert (code, err) == (0, "") and "any --shard writes the results" in out
    # Three points of eight.
    assert len(list(root.rglob("bounds-1.json"))) == 3
    assert not (root / "out").exists()
    assert call(capsys, *arguments, "--shard=0/3")[0] == 0
    code, out, err = call(capsys, *arguments, "--shard=2/3")
    assert (code, err) == (0, "")
    text = (root / "out/table.md").read_text()
    assert text in out
    *_, head, _, first, _, _, last = text.strip().splitlines()
    assert head.split(" | ")[:3] == [
        "| temperature",
        "learning_rate",
        "last temperature",
    ]
    saved = json.loads((root / "out/sweep.json").read_text())
    assert saved["sweep"] == [
        {"field": "temperature", "values": [0.5, 5.0]},
        {"field": "learning_rate", "values": [0.01, 0.1]},
    ]
    assert [p["seed"] for p in saved["points"]] == [0, 1] * 4
    for point in saved["points"]:
        assert point["steps"] == 20 and point["seconds"] > 0
        assert point["versions"]["jax"] == jax.__version__
        assert (root / point["run"] / "metrics.jsonl").exists()
    nlls = [p["discrete"]["nll"] for p in saved["points"][:2]]
    mean, spread = sum(nlls) / 2, abs(nlls[0] - nlls[1]) / np.sqrt(2)
    assert first.startswith("| 0.5 | 0.01 | 0.5 | " + f"{mean:.2f} ± {spread:.2f}")
    assert last.startswith("| 5 | 0.1 | ") and " | 2 | " in last
    assert (root / "out/sweep.png").stat().st_size > 0
