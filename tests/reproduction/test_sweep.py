"""Sweeps: values, mistakes, bounds against enumeration, and the files they leave."""

import functools
import itertools
import json

import jax
import numpy as np
import pytest

import runs
from experiments import Interrupted, vae
from experiments.engine import run_directory as workdir
from experiments.engine.step import init_state
from experiments.reproduction import bounds, sweep
from experiments.reproduction import runs as engine

# How ml_collections loads a config file.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
SAMPLES = 1  # as in the validations of training: nothing more to compile


@pytest.fixture
def root(monkeypatch, tmp_path):
    """Where the runs are: a folder instead of the repository."""
    monkeypatch.setattr(workdir, "REPOSITORY", tmp_path)
    return tmp_path


@pytest.fixture
def tiny(monkeypatch):
    """The tiny task without its test set: what reads it fails."""
    task = runs.task()
    del task.evaluation["test"]
    monkeypatch.setattr(vae, "make_task", lambda config: task)
    return task


def config():
    return runs.config(estimator="exact")  # the fastest to compile


def points(**fields):
    fields = {name.replace("__", "."): values for name, values in fields.items()}
    return [
        sweep.make_point("vae", "categorical", config(), values, SAMPLES)
        for values in engine.product(fields)
    ]


def complete(points):
    """Trains and evaluates points; the contents of their files."""
    engine.complete(points, lambda run: None)
    return [json.loads(point.file.read_text()) for point in points]


call = functools.partial(runs.call_script, sweep)


@pytest.mark.parametrize(
    "text, field, values",
    [
        ("temperature=0.1,1,2e0", "temperature", (0.1, 1.0, 2.0)),
        ("schedule.rate=0, 1e-5", "schedule.rate", (0.0, 1e-5)),
        ("prior_temperature=1", "prior_temperature", (1.0,)),  # unset in the config
        ("num_samples=1,5", "num_samples", (1, 5)),
        ("objective=soft_mass,analytic", "objective", ("soft_mass", "analytic")),
    ],
)
def test_values_have_the_type_of_their_field(text, field, values):
    result = sweep.parse(["", f"--sweep={text}"]).fields[field]
    assert result == values
    assert [type(value) for value in result] == [type(value) for value in values]


MISTAKES = {
    "--sweep=temprature=1,2": "--config.temprature: unknown; did you mean --config.tem",
    "--sweep=slope=1": "--config.slope: unknown",
    "--sweep=temperature=1,warm": "flag --config.temperature=warm: could not convert",
    "--sweep=temperature=1,": "flag --config.temperature=: could not convert",
    "--sweep=temperature": "flag --config.temperature=: could not convert",
    "--sweep=temperature=1,1.0": "--sweep=temperature=1,1.0: 1.0 must be given once",
    "--sweep=temperature=1,0": "config.temperature=0.0: must be a positive finite",
    "--sweep=num_samples=1,2.5": "flag --config.num_samples=2.5: invalid literal for",
    "--sweep=report_samples=8": "--sweep=report_samples=8: must be numbers or names",
    "--sweep=estimator=vimco,foo": "config.num_samples=1: must be an integer ≥ 2",
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


def test_points_have_a_temperature_below_its_floor_as_the_floor():
    points_ = points(temperature=(0.25, 2.0), learning_rate=(1e-3,), seed=(0, 1))
    floors = [point.config.schedule.minimum for point in points_]
    assert floors == [0.25, 0.25, 0.5, 0.5]
    assert points_[1].name == "sweep, temperature=0.25 learning_rate=0.001 seed=1"


def test_what_is_traced_compiles_once(root, tiny):
    first, *rest = points(temperature=(0.3, 3.0), learning_rate=(0.01, 0.1)) + points(
        seed=(7,), weight_decay=(0.1,), schedule__rate=(0.0,)
    )
    counts = []

    def announce(run):
        counts.append(len(count))

    with runs.counting_compilations() as count:
        engine.complete([first, *rest], announce)
    assert counts[1] > 0 and count[counts[1] :] == []
    results = [json.loads(point.file.read_text()) for point in rest]
    assert len({r["relaxed"]["nll"] for r in results}) == len(rest)  # and differs


def test_what_is_done_is_not_done_again(root, tiny, monkeypatch):
    every = points(temperature=(0.5, 1.0), seed=(0, 1))
    trained, train = [], engine.train

    def interrupted(task, config, *args, **kwargs):
        trained.append((config.temperature, config.seed))
        if len(trained) == 3:
            raise Interrupted
        return train(task, config, *args, **kwargs)

    monkeypatch.setattr(engine, "train", interrupted)
    with pytest.raises(Interrupted):
        complete(every)
    results = complete(every)
    assert trained[3:] == [(1.0, 0), (1.0, 1)]
    # Nothing remembers in which order the points came.
    monkeypatch.setattr(workdir, "REPOSITORY", root / "again")
    again = complete(points(seed=(0, 1), temperature=(0.5, 1.0)))
    for ours, theirs in zip(again, [results[i] for i in (0, 2, 1, 3)], strict=True):
        assert ours | {"seconds": None} == theirs | {"seconds": None}


def test_divergence_is_a_result(root, tiny, capsys):
    bad, good = complete(points(learning_rate=(1e38, 0.05)))
    assert (bad["diverged"], good["diverged"]) == (True, False)
    assert "discrete" not in bad
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
    task, x = runs.task(), np.ones((1, runs.PIXELS))
    # One image many times: the standard error over examples is that of the noise.
    task.evaluation["valid"] = (np.repeat(np.float32(x), 20_000, axis=0),)
    state = init_state(task, runs.config())
    params = state.best_params

    def bounds_at(temperature):
        config = runs.config(
            temperature=temperature,
            schedule__minimum=temperature,
            schedule__rate=0.0,
            objective="soft_mass",
            eval_batch_size=5000,
        )
        return bounds.bounds(task, config, state, 2)

    def z(bound, truth):
        return abs(bound["nll"] + truth) / bound["nll_stderr"]

    cold = bounds_at(1e-4)
    truth = enumerated(params, x, 2).item()
    assert z(cold["discrete"], truth) < 5
    assert z(cold["discrete"], enumerated(params, x, 1).item()) > 5
    assert cold["temperature"] == pytest.approx(1e-4)
    # Almost all samples are at the corners: the relaxed program is the discrete one.
    assert z(cold["relaxed"], truth) < 5
    warm = bounds_at(1.0)
    assert warm["discrete"] == cold["discrete"]
    assert z(warm["relaxed"], truth) > 5
    hot = bounds_at(1e5)
    middle = in_the_middle(params, x).item()
    assert -hot["relaxed"]["nll"] == pytest.approx(middle, abs=1e-3)
    assert abs(middle - truth) > 0.1


def test_relaxed_temperature_is_the_last_of_the_schedule(root, tiny):
    # 20 steps, an update every 3: the last is at step 18.
    (result,) = complete(points(schedule__minimum=(0.01,)))
    assert result["temperature"] == pytest.approx(np.exp(-0.05 * 18))


def test_script_writes_table_json_and_figure(root, tiny, capsys):
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
