"""Type checkers find a wrong argument in a user's script, and none in a right one."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import gumbel

ROOT = Path(gumbel.__file__).parents[1]

SCRIPT = """\
import gumbel
import jax
import jax.numpy as jnp

def program(logits: jax.Array) -> gumbel.programs.Run:
    def run(draw: gumbel.programs.Draw) -> jax.Array:
        z = draw("z", gumbel.Bernoulli(logits))
        return jnp.sin(z.value).sum(1) - z.kl(gumbel.Bernoulli(jnp.zeros(3)))
    return run

key, logits = jax.random.key(0), jnp.zeros((2, 3))
f = gumbel.value_and_grad("nvil", program, num_samples=5)
state = f.init(key, logits)
bound, grads, state = f(key, logits, state=state, baseline_decay=0.9)
soft = gumbel.gumbel_softmax(key, logits, 0.5, hard=True)
exact = gumbel.evaluate(program, num_samples=10)(key, logits)
"""

WRONG = (
    ("num_samples=5", 'num_samples="5"', "value_and_grad"),
    ('draw("z", gumbel', "draw(7, gumbel", "__call__"),
    ("z.value", "z.values", '"Node" has no attribute "values"'),
    ("f.init(key, logits)", "f.start(key, logits)", '"ValueAndGrad" has no attribute'),
    ("0.5, hard=True", '0.5, hard="yes"', "gumbel_softmax"),
)


def test_mypy_finds_wrong_arguments(tmp_path):
    script, wrong = tmp_path / "right.py", tmp_path / "wrong.py"
    script.write_text(SCRIPT)
    text = SCRIPT
    for right, other, _ in WRONG:
        assert right in text
        text = text.replace(right, other, 1)
    wrong.write_text(text)
    # JAX is not what is checked, and takes longer than everything else.
    config = tmp_path / "mypy.ini"
    config.write_text("[mypy]\n[mypy-jax.*,optax.*]\nfollow_imports = skip\n")
    options = "--no-error-summary", f"--config-file={config}"
    options += "--follow-imports=silent", f"--python-executable={sys.executable}"
    result = subprocess.run(
        [sys.executable, "-m", "mypy", *options, script, wrong],
        capture_output=True,
        text=True,
        env={**os.environ, "MYPYPATH": str(ROOT), "MYPY_CACHE_DIR": str(tmp_path)},
        cwd=tmp_path,
    )
    errors = [line for line in result.stdout.splitlines() if ": error: " in line]
    assert all(line.startswith("wrong.py:") for line in errors), result.stdout
    for _, _, message in WRONG:
        assert any(message in line for line in errors), (message, result.stdout)


def test_the_package_is_marked_as_typed_and_knows_its_version():
    assert (ROOT / "gumbel" / "py.typed").exists()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["tool"]["setuptools"]["package-data"] == {"gumbel": ["py.typed"]}
    assert gumbel.__version__[0].isdigit()
