"""The command line of the experiments: parsing, help, exit codes."""

import json
import os
import pathlib
import shlex
import subprocess
import sys

import numpy as np
import pytest

import runs
from configs import vae as vae_config
from experiments import REPOSITORY, ConfigError, Interrupted, vae
from experiments.cli import launch
from experiments.data import datasets
from experiments.engine.fields import flatten
from experiments.engine.provenance import versions
from experiments.engine.run_directory import claim

CONFIG_FILE = str(REPOSITORY / "configs" / "vae.py")


def parse(*arguments):
    return launch.parse(["vae", *arguments], "vae", CONFIG_FILE)


def call(monkeypatch, capsys, *arguments, make_task=vae.make_task):
    """The exit code and output of `python -m experiments.vae`, in this process."""
    monkeypatch.setattr(sys, "argv", ["vae", *arguments])
    code = 0
    try:
        launch.launch("vae", vae.__doc__, make_task)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


MISTAKES = {
    "--config.num_step=3": "--config.num_step: unknown; did you mean --config.num_step",
    "--config.num_steps=1.5": "--config.num_steps=1.5: invalid literal for int",
    "--config.model=3": "--config.model: unknown",
    "--config.batch_size=0": "config.batch_size=0: must be an integer from 1",
    "--config.eval_every=7": "config.eval_every=7: must be a multiple of config.log",
    "--config.temperature=0.1": "config.temperature=0.1: must be at least config.sched",
    "--config.seed": "Missing value for flag --config.seed",
    "--config=configs/vae.py:foo": "config variant 'foo': must be one of categorical",
    "--config=nowhere.py": "No such file or directory: ",
    "--config=configs": "in 'configs'",
    "stray": "stray: unexpected",
    "--workdir": "Missing value for flag --workdir",
}


@pytest.mark.parametrize("argument", MISTAKES)
def test_mistakes_are_one_line_before_data_and_compilation(
    argument, monkeypatch, capsys
):
    monkeypatch.setattr(datasets, "load", None)
    with runs.counting_compilations() as compiled:
        outcome = call(monkeypatch, capsys, argument)
    runs.assert_refused(outcome, MISTAKES[argument])
    assert not compiled


@pytest.mark.parametrize(
    "source, message",
    [
        ("x = (", "SyntaxError: "),
        ("import nothing_here", "ModuleNotFoundError: No module named 'nothing_here'"),
        ("def get_config():\n    return undefined", "NameError: name 'undefined'"),
        ("def get_config():\n    raise ValueError('mine')", "mine"),
        ("def get_config():\n    return {}", "must return a ConfigDict"),
        ("x = 3", "KeyError: 'get_config'"),
    ],
)
def test_mistakes_in_a_config_file(source, message, tmp_path, monkeypatch, capsys):
    path = tmp_path / "broken.py"
    path.write_text(source)
    code, _, err = call(monkeypatch, capsys, f"--config={path}")
    assert code == 2 and err.count("\n") == 1 and message in err


def test_data_that_is_not_there(tmp_path, monkeypatch, capsys):
    missing = f"--config.dataset.data_dir={tmp_path / 'none'}"
    for name, message in (
        ("mnits", "unknown data set 'mnits': TFDS has, for example, "),
        ("mnist", "'mnist' is not prepared in"),
    ):
        code, _, err = call(
            monkeypatch, capsys, f"--config.dataset.name={name}", missing
        )
        assert code == 2 and err.count("\n") == 1 and message in err


def test_debug_shows_the_traceback(monkeypatch, capsys):
    with pytest.raises(ConfigError):
        call(monkeypatch, capsys, "--config.batch_size=0", "--debug")


def test_directories_that_are_not_ours(tmp_path, monkeypatch, capsys):
    noise = runs.dataset()
    monkeypatch.setattr(datasets, "load", lambda *args: noise)
    made = runs.config()
    arguments = [*runs.flags(made), f"--workdir={tmp_path}"]
    with claim(tmp_path, made.to_dict()):
        code, out, err = call(monkeypatch, capsys, *arguments)
    assert code == 2 and "in use by another process (pid " in err
    code, out, err = call(monkeypatch, capsys, *arguments, "--config.seed=3")
    assert code == 2 and "seed is 0 there, 3 now" in err
    assert out == "" and err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    code, _, err = call(monkeypatch, capsys, *arguments, "--tensorboard")
    assert code == 2 and "pip install tensorboardX" in err


def test_batch_larger_than_the_data(tmp_path, monkeypatch, capsys):
    noise = runs.dataset()
    monkeypatch.setattr(datasets, "load", lambda *args: noise)
    arguments = ["--config.batch_size=49", f"--workdir={tmp_path / 'run'}"]
    code, _, err = call(monkeypatch, capsys, *arguments)
    assert code == 2 and "batch_size=49: must be at most the 48" in err
    assert not (tmp_path / "run").exists()


def test_run_that_diverges_is_one_line(tmp_path, monkeypatch, capsys):
    made = runs.config(learning_rate=1e30, estimator="exact")
    arguments = [*runs.flags(made), f"--workdir={tmp_path}"]
    code, out, err = call(
        monkeypatch, capsys, *arguments, make_task=lambda config: runs.task()
    )
    assert (code, out) == (1, "")
    assert err.startswith("error: ") and err.count("\n") == 1
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    "error, code, out, err",
    [
        (KeyboardInterrupt(), 130, "", "interrupted; continue with:\n  "),
        (Interrupted("stopped at 5"), 0, "stopped at 5; continue with:\n  ", ""),
        (datasets.DataError("no data"), 2, "", "error: no data\n"),
        (FloatingPointError("step 5: nan"), 1, "", "error: step 5: nan\n"),
    ],
)
def test_exit_codes(error, code, out, err, monkeypatch, capsys):
    def fails(config):
        raise error

    outcome = call(monkeypatch, capsys, "--config.seed=3", make_task=fails)
    command = f"{sys.executable} -m experiments.vae --config.seed=3\n"
    ends = [text + command if text.endswith("  ") else text for text in (out, err)]
    assert outcome == (code, *ends)


def test_exit_code_of_an_interruption_is_its_own(monkeypatch, capsys):
    stopped = Interrupted("stopped at step 5 of 10")
    stopped.exit_code = 130
    script = type(sys)("script", "what it does")

    def main(argv):
        raise stopped

    script.main = main
    outcome = runs.call_script(script, capsys)
    assert outcome == (130, "stopped at step 5 of 10; the same command goes on\n", "")


def test_other_errors_keep_their_traceback(monkeypatch, capsys):
    def fails(config):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        call(monkeypatch, capsys, make_task=fails)


SAYS = """
import sys
from experiments.cli.launch import run_script
run_script("−", lambda argv: print("± 1" + 100_000 * " "), sys.argv)
"""


def test_output_that_is_ascii_or_that_nobody_reads():
    command = [sys.executable, "-c", SAYS]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"? 1 ")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_real_run_whose_streams_are_closed_and_whose_warnings_are_errors(tmp_path):
    rng = np.random.default_rng(0)
    images = {
        f"{split}_images": rng.integers(0, 256, (size, 28, 28), np.uint8)
        for split, size in (("train", 60), ("test", 40))
    }
    np.savez(tmp_path / "noise.npz", **images)
    made = runs.config(learning_rate=1e-3, model__num_variables=2)
    made.dataset.name = str(tmp_path / "noise.npz")
    command = [
        *(sys.executable, "-OO", "-W", "error", "-m", "experiments.vae"),
        *(*runs.flags(made), f"--workdir={tmp_path / 'run'}"),
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"}

    def call(closed: str):
        line = f"exec {shlex.join(command)} {closed}"
        done = subprocess.run(
            line, shell=True, env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout, done.stderr

    code, out, _ = call("2>&-")
    assert code == 0 and out.startswith("read ") and "\ntest: nll " in out
    assert (tmp_path / "run" / "figures" / "latents.png").exists()
    # It only says, to nobody, that it is complete.
    assert call("<&- >&-") == (0, "", "")


def test_train_only_says_what_is_left_to_do(tmp_path, monkeypatch, capsys):
    made = runs.config(num_steps=5, estimator="exact")
    arguments = [*runs.flags(made), f"--workdir={tmp_path}", "--train_only"]
    code, out, err = call(
        monkeypatch, capsys, *arguments, make_task=lambda config: runs.task()
    )
    assert (code, err) == (0, "")
    assert out == f"trained; without --train_only it evaluates {tmp_path}\n"
    assert not (tmp_path / "result.json").exists()


def test_help_has_every_field_with_meaning_and_default(monkeypatch, capsys):
    for flag in ("--help", "-h"):
        code, out, err = call(monkeypatch, capsys, flag)
        assert (code, err) == (0, "")
        for word in ("--workdir", "--tensorboard", *vae_config.VARIANTS):
            assert word in out
        assert all(len(line) <= 100 for line in out.splitlines())
    rows = {}
    for line in out.splitlines():
        if line.startswith("  --config."):
            name, meaning = line.strip().removeprefix("--config.").split(maxsplit=1)
            meaning, rows[name] = meaning.removesuffix("]").rsplit(" [", 1)
            assert len(meaning) > 5 and not meaning.startswith("An override")
    defaults = flatten(vae_config.get_config().to_dict())
    unset = {None: "unset", "": "unset"}
    assert rows == {name: unset.get(v, str(v)) for name, v in defaults.items()}


def test_overrides_in_any_form_and_order():
    expected = parse("--config=configs/vae.py:mlp", "--config.seed=3").config
    assert expected.seed == 3 and expected.model.hidden == (512, 256)
    for arguments in (
        ("--config.seed=3", "--config=configs/vae.py:mlp"),
        ("--config.seed", "3", "--config", "configs/vae.py:mlp"),
        ("-config.seed=3", "-config=configs/vae.py:mlp"),
    ):
        assert parse(*arguments).config.to_dict() == expected.to_dict()
    two = ("--config.seed=3", "--config.model.num_classes=4")
    assert parse(*two).workdir == parse(*two[::-1]).workdir
    assert parse(*two).config.is_locked
    assert parse("--config.prior_temperature=0.5").config.prior_temperature == 0.5
    assert parse("--config.learning_rate=1").config.learning_rate == 1.0


def test_default_directory_is_a_function_of_the_command():
    first = parse("--config=configs/vae.py:mlp").workdir
    assert first == parse("--config=configs/vae.py:mlp").workdir
    assert first.parent == REPOSITORY / "runs" / "vae"
    assert first.name.startswith("mlp-")
    assert parse("--config=configs/vae.py:mlp", "--config.seed=1").workdir != first
    assert parse().workdir.name.startswith("categorical-")


def test_config_and_workdir_from_another_directory(tmp_path, monkeypatch):
    here = parse("--config=configs/vae.py:mlp")
    monkeypatch.chdir(tmp_path)
    there = parse("--config=configs/vae.py:mlp", "--workdir=run")
    assert there.config.to_dict() == here.config.to_dict()
    assert there.workdir == tmp_path / "run"
    # A file that is there comes first.
    (tmp_path / "configs").mkdir()
    source = pathlib.Path(CONFIG_FILE).read_text().replace("rate = 1e-3", "rate = 9.0")
    (tmp_path / "configs" / "vae.py").write_text(source)
    assert parse("--config=configs/vae.py").config.learning_rate == 9


def test_finished_run_says_so_and_gives_the_same_summary(tmp_path, monkeypatch, capsys):
    noise = runs.dataset()
    monkeypatch.setattr(datasets, "load", lambda *args: noise)
    made = runs.config()
    split = {"nll": 1.0, "nll_stderr": 2.0, "nll_1": 3.0, "eval_samples": 4}
    result = {"steps": 20, "seconds": 1.0, "valid": split, "test": split}
    with claim(tmp_path, made.to_dict(), versions(noise.checksum)):
        (tmp_path / "result.json").write_text(json.dumps(result))
    arguments = [*runs.flags(made), f"--workdir={tmp_path}"]
    code, out, err = call(monkeypatch, capsys, *arguments)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"this run is complete: {tmp_path}"
    assert "test: nll 1.00 ± 2.00 nats (L_4" in out
