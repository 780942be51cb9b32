"""The README and docs/: commands are accepted, links lead somewhere, code runs."""

import functools
import importlib
import re
import runpy
import shlex
from pathlib import Path
from urllib.parse import unquote

import jax
import numpy as np
import pytest

import gumbel
import runs
from configs import vae as vae_config
from experiments import vae
from experiments.cli import launch
from experiments.engine.fields import differences, flatten
from experiments.engine.train import train
from experiments.reproduction import make_tables, records
from experiments.reproduction.cells import by_row, recorded_cells
from experiments.reproduction.readme_tables import EXPERIMENTS, README_TABLES

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("results/*.md"),
        *ROOT.glob("results/**/table.md"),
    ]
)


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text):
    """The command lines of all bash blocks, split into words."""
    for block in blocks(text, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def check(words):
    """Parses a command without running it.

    Raises:
        Exception: if it would not be accepted.
    """
    while re.fullmatch("[A-Z_]+=.*", words[0]):
        words = words[1:]
    match words:
        case ["python", "-m", module, *arguments]:
            importlib.import_module(module)
            experiment = module.removeprefix("experiments.")
            config = f"configs/{experiment}.py"
            if (ROOT / config).exists() and "--help" not in arguments:
                launch.parse([module, *arguments], experiment, str(ROOT / config))
        case ["python", script, *arguments]:
            doc = help_of(script)
            for flag in re.findall("--[A-Za-z_-]+", " ".join(arguments)):
                assert flag in doc, (script, flag)
        case ["bash", script, *_]:
            assert (ROOT / script).exists(), script
        case ["pip" | "pre-commit" | "tfds" | "gcloud" | "srun" | "sbatch", *_]:
            pass
        case _:
            raise AssertionError(f"not a command that is known here: {words}")


@functools.cache
def help_of(script):
    """The docstring that --help prints, of the script or of the module it calls."""
    name = Path(script).stem
    modules = [f"experiments.reproduction.{name}", f"scripts.{name}"]
    if name == "runs":
        modules[0] = "experiments.reproduction.list_runs"
    assert (ROOT / script).exists(), script
    for module in modules:
        if (ROOT / (module.replace(".", "/") + ".py")).exists():
            return importlib.import_module(module).__doc__
    raise AssertionError(script)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_are_accepted_and_links_lead_somewhere(page, monkeypatch):
    monkeypatch.chdir(ROOT)
    text = page.read_text()
    for words in commands(text):
        check(words)
    outside_code = re.sub("^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    for target, _, anchor in re.findall(
        r"\]\(\s*(?!https?:)([^)#\s]*)(#([^)\s]*))?\s*\)", outside_code
    ):
        path = page.parent / unquote(target) if target else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), (target, anchor)


def anchors(page):
    """The anchors that GitHub gives to the headings of a page."""
    titles = re.findall("^#+ (.*)$", page.read_text(), re.MULTILINE)
    return [
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        "python -m experiments.vae --config.num_step=5",
        "python scripts/sweep.py --sweeps=temperature=1",
        "bash scripts/nothing.sh",
        "rm README.md",
    ],
)
def test_a_wrong_command_would_be_seen(wrong, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(Exception, match=r"num_step|sweeps|nothing|known"):
        check(wrong.split())


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 250
    lines = README.splitlines()
    assert max(len(line) for line in lines if line.startswith("|")) <= 160


def test_the_description_of_the_package_has_no_links_to_files():
    text = runpy.run_path(str(ROOT / "setup.py"))["description"]()
    assert len(text.splitlines()) > 200 and "(https://arxiv.org/" in text
    assert not re.search(r"\]\(\s*(?!https?:)", text)


def test_the_commands_of_the_experiments_have_the_configs_of_their_records():
    (block,) = (b for b in blocks(README, "bash") if "experiments.semi_super" in b)
    free = {"eval_every", "checkpoint_every", "valid_samples", "eval_samples", "seed"}
    free |= {"report_samples"}
    for words, (_, table, row, estimator) in zip(
        commands(f"```bash\n{block}```"), EXPERIMENTS, strict=True
    ):
        experiment = words[2].removeprefix("experiments.")
        file = str(ROOT / f"configs/{experiment}.py")
        config = flatten(launch.parse(words[2:], experiment, file).config.to_dict())
        cell = by_row(recorded_cells(table))[row][estimator]
        recorded = flatten(cell.records[0]["config"])
        same = (set(config) & set(recorded)) - free
        pairs = ({name: flat[name] for name in same} for flat in (config, recorded))
        assert not differences(*pairs)


def test_tables_are_made_from_the_records():
    files = make_tables.generated(make_tables.read_tables())
    for path, text in files.items():
        assert path.read_text() == text, path
    assert {path.name for path in files} >= {"README.md", "table.csv", "table.md"}
    places = re.findall("<!-- table: (.*) -->", README)
    assert places == list(README_TABLES)


def test_a_stale_table_would_be_seen():
    stale = README.replace("<!-- end: speed -->", "| a row |\n<!-- end: speed -->")
    assert make_tables.fill(stale, README_TABLES) == README != stale


def test_the_page_of_the_estimators_describes_all_of_them():
    page = (ROOT / "docs" / "estimators.md").read_text()
    places = re.findall("<!-- table: (.*) -->", page)
    assert sorted(places) == sorted(gumbel.estimators.ESTIMATORS)
    assert "| bias / spread | τ = 0.1: " in page


def test_the_config_says_what_the_records_say():
    every = records.read_records(records.RESULTS / "vae")
    note = " ".join(vae_config.__doc__.split())
    for name in ("categorical-20k", "categorical-50k", "bernoulli-50k"):
        result = every[name]["result"]
        assert (
            f"{result['test']['nll']:.1f} (L_{result['test']['eval_samples']})" in note
        )
        assert f"{result['steps']:,}" in note
    assert f"{every['categorical-20k']['result']['seconds']:.0f} s" in note


def run_blocks(page, scope):
    """Executes the python blocks of a page one after another, as users have JAX."""
    jax.config.update("jax_debug_key_reuse", False)
    jax.config.update("jax_numpy_rank_promotion", "allow")
    try:
        for block in blocks(page.read_text(), "python"):
            exec(block, scope)
    finally:
        jax.config.update("jax_debug_key_reuse", True)
        jax.config.update("jax_numpy_rank_promotion", "raise")
        runs.forget_programs()  # op by op they take a gigabyte
    return scope


def test_the_code_of_the_readme_runs(trained_run, monkeypatch, capsys):
    monkeypatch.chdir(trained_run)
    scope = run_blocks(ROOT / "README.md", {})
    assert set(np.unique(scope["hard"])) == {0.0, 1.0}
    assert scope["samples"].shape == scope["again"].shape == (16, 28, 28)
    assert scope["bound"].shape == (16,)
    *_, last = capsys.readouterr().out.splitlines()
    assert float(last.removesuffix(" nats")) < 3.1


@pytest.mark.parametrize("name", ["start", "library", "your_own"])
def test_the_code_of_the_documentation_runs(name, trained_run, monkeypatch):
    monkeypatch.chdir(trained_run)
    assert run_blocks(ROOT / "docs" / f"{name}.md", {})


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory):
    """A folder with the run directory runs/mine of the pages, of two steps."""
    folder = tmp_path_factory.mktemp("pages")
    config = vae_config.get_config()
    config.update(num_steps=2, log_every=1, eval_every=2, eval_samples=1)
    train(vae.make_task(config), config, folder / "runs/mine", train_only=True)
    return folder
