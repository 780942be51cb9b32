"""The README: its code runs, its tables are the records', its names exist."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import gumbel
from configs import vae as vae_config
from experiments.reproduction import make_tables, other_tables
from experiments.reproduction.records import read_records

ROOT = Path(__file__).resolve().parent.parent

README = (ROOT / "README.md").read_text()


def test_every_code_block_runs():
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=(12, 6)), jnp.float32)
    scope = {
        "gumbel": gumbel,
        "params": {"prior": jnp.zeros((2, 3)), "w": weights},
        "x": jnp.ones((8, 12)),
        "encode": lambda params, x: (x @ params["w"]).reshape(-1, 2, 3),
        "decode": lambda params, z: z.reshape(-1, 6) @ params["w"].T,
        "log_likelihood": gumbel.objectives.bernoulli_log_likelihood,
    }
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 3
    jax.config.update("jax_debug_key_reuse", False)  # examples share one key
    try:
        for block in blocks:
            exec(block, scope)
    finally:
        jax.config.update("jax_debug_key_reuse", True)
    assert set(np.unique(scope["hard"])) == {0.0, 1.0}
    assert scope["bound"].shape == (8,)


def test_tables_are_made_from_the_records():
    files = make_tables.generated()
    for path, text in files.items():
        assert path.read_text() == text, path
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (path.parent / target).exists(), (path, target)
    assert {path.name for path in files} >= {"README.md", "table.csv", "table.md"}
    # A place for every table that has records, and for no other.
    places = re.findall("<!-- table: (.*) -->", README)
    assert sorted(places) == sorted(other_tables.all_tables())


def test_the_config_says_what_the_records_say():
    made = read_records("vae")
    note = " ".join(vae_config.__doc__.split())
    for name in ("categorical-20k", "categorical-50k", "bernoulli-50k"):
        result = made[name]["result"]
        assert (
            f"{result['test']['nll']:.1f} (L_{result['test']['eval_samples']})" in note
        )
        assert f"{result['steps']:,}" in note
    assert f"{made['categorical-20k']['result']['seconds']:.0f} s" in note


def test_a_stale_table_would_be_seen():
    stale = README.replace("<!-- end: vae -->", "| one row more |\n<!-- end: vae -->")
    assert make_tables.fill(stale) == README != stale


def test_every_estimator_is_documented():
    for name in gumbel.estimators.ESTIMATORS:
        assert f"| `{name}` |" in README


def test_every_path_in_the_layout_exists():
    layout = re.search(r"## Layout\n\n```\n(.*?)```", README, re.DOTALL).group(1)
    folder = ROOT
    for line in layout.splitlines():
        if not line.startswith(" "):
            folder = ROOT / line.split()[0]
            assert folder.is_dir()
        for name in re.findall(r"[a-z_]+\.(?:py|sh)", line):
            assert list(folder.rglob(name)), name
