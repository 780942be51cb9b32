"""The named networks of configs/vae.py and what it refuses."""

import jax
import numpy as np
import pytest

from configs.vae import VARIANTS, get_config
from experiments import REPOSITORY, ConfigError, vae
from experiments.cli import launch


def linear(above, below):
    """Weights and biases of a linear map."""
    return above * below + below


def both(pixels_or_units, units, logits_below, logits, tanh):
    """A connection up and down: the tanh layers have the units of its upper layer."""
    inner = 2 * linear(units, units)
    if not tanh:
        return linear(pixels_or_units, logits) + linear(units, logits_below)
    up = linear(pixels_or_units, units) + linear(units, units) + linear(units, logits)
    return up + inner + linear(units, logits_below)


# By hand. 120 4-ary variables have 480 logits, 80 8-ary ones 640, all of 240 units.
PARAMETER_COUNTS = {
    "200H-784V": (784 * 200 + 200) + (200 * 784 + 784) + 200,
    "200H-200H-784V": (784 * 200 + 200) + (200 * 784 + 784) + 2 * (200 * 200 + 200)
    + 200,
    "200H~784V": (784 * 200 + 200) + 2 * (200 * 200 + 200)  # up
    + 2 * (200 * 200 + 200) + (200 * 784 + 784) + 200,
    "200H~200H~784V": (784 * 200 + 200) + 2 * (200 * 200 + 200)
    + 2 * (200 * 200 + 200) + (200 * 784 + 784)
    + 2 * 3 * (200 * 200 + 200) + 200,
    "240H~784V": both(784, 240, 784, 240, True) + 240,
    "240H~784V-4ary": both(784, 240, 784, 480, True) + 480,
    "240H~784V-8ary": both(784, 240, 784, 640, True) + 640,
    "240H~240H~784V": both(784, 240, 784, 240, True)
    + both(240, 240, 240, 240, True) + 240,
    "240H~240H~784V-4ary": both(784, 240, 784, 480, True)
    + both(240, 240, 480, 480, True) + 480,
    "240H~240H~784V-8ary": both(784, 240, 784, 640, True)
    + both(240, 240, 640, 640, True) + 640,
    # Not in the paper: different sizes, both kinds of connection, three layers.
    "12H~6H-9H~784V-8ary": both(784, 9, 784, 3 * 8, True)
    + both(9, 6, 3 * 8, 2 * 8, False) + both(6, 12, 2 * 8, 4 * 8, True) + 4 * 8,
}  # fmt: skip


def test_all_networks_have_a_count():
    others = {"categorical", "bernoulli", "mlp"}
    assert set(VARIANTS) - others <= set(PARAMETER_COUNTS)


@pytest.mark.parametrize("variant", PARAMETER_COUNTS)
def test_parameter_counts(noise, variant):
    variables = jax.eval_shape(
        vae.make_task(get_config(variant)).init, jax.random.key(0)
    )
    leaves = jax.tree.leaves(variables["params"])
    assert sum(leaf.size for leaf in leaves) == PARAMETER_COUNTS[variant]


def test_centres_have_the_sizes_of_the_encoders_inputs(noise):
    task = vae.make_task(get_config("12H~6H-9H~784V-8ary"))
    variables = jax.eval_shape(task.init, jax.random.key(0))
    sizes = {name: leaf.shape for name, leaf in variables["centres"].items()}
    assert sizes == {"x": (784,), "z": (9,), "z2": (6,)}


# Prior and posterior temperature by arity, appendix D.5.
TEMPERATURES = {2: (1 / 2, 2 / 3), 4: (2 / 3, 1.0), 8: (2 / 5, 2 / 3)}


@pytest.mark.parametrize("variant", PARAMETER_COUNTS)
def test_networks_have_the_settings_of_the_paper(variant):
    config = get_config(variant)
    arity = next((n for n in (4, 8) if variant.endswith(f"-{n}ary")), 2)
    assert config.model.num_classes == arity
    assert config.model.code == "corners" and config.model.centring == 0.9
    assert (config.prior_temperature, config.temperature) == TEMPERATURES[arity]
    assert config.schedule.rate == 0 and config.schedule.minimum <= config.temperature
    assert config.objective == "relaxed_density"
    assert (config.optimizer, config.batch_size) == ("adam", 64)
    assert config.learning_rate == (1e-4 if "~" in variant else 3e-4)
    assert config.weight_decay == 0
    counts = (config.model.num_variables, *config.model.higher)
    units = [int(part) for part in variant.replace("~", "-").split("H-")[:-1]]
    assert [n * np.log2(arity) for n in counts] == units[::-1]


@pytest.mark.parametrize(
    "variant",
    [
        "",
        "784V",
        "200H",
        "200H-",
        "200H784V",
        "200H–784V",
        "200H~~784V",
        "200H-784V-3ary",
        "200H-392V",
        "784V-200H-784V",
        "-784V",
        "200H-784V\n",
    ],
)
def test_malformed_variants_show_the_grammar(variant):
    with pytest.raises(ValueError, match=r"<units>H…784V\[-4ary\|-8ary\], with -"):
        get_config(variant)


@pytest.mark.parametrize(
    ("variant", "each"),
    [("0H-784V", 1), ("200H~784V-8ary", 3), ("4H~3H-784V-4ary", 2)],
)
def test_units_that_no_variables_fill(variant, each):
    with pytest.raises(ValueError, match=f"must be a positive multiple of {each},"):
        get_config(variant)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_malformed_variant_is_one_line_on_the_command_line():
    file = str(REPOSITORY / "configs" / "vae.py")
    with pytest.raises(ConfigError) as error:
        launch.parse(["", f"--config={file}:200H"], "vae", file)
    assert "'200H': must be one of categorical, bernoulli, mlp or" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("variant", "fields", "message"),
    [
        ("mlp", {"connections": "~"}, r"hidden=\(512, 256\): must be \(\) for"),
        ("categorical", {"higher": (3,)}, "connections='': .* each of 2 stochastic"),
        ("6H~784V", {"higher": (3,)}, "connections='~': .* each of 2 stochastic"),
        ("6H~784V", {"connections": "~~"}, "connections='~~': .* each of 1 stoch"),
        ("6H~784V-4ary", {"num_classes": 6}, "num_classes=6: must be a power of two"),
    ],
)
def test_impossible_layers(noise, variant, fields, message):
    config = get_config(variant)
    config.model.update(fields)
    with pytest.raises(ConfigError, match=message):
        vae.make_task(config)


def test_closed_form_is_refused_where_it_is_no_bound(noise):
    for variant, refused in (("6H-784V", False), ("6H-6H-784V", True)):
        config = get_config(variant)
        config.objective = "analytic"
        if not refused:
            vae.make_task(config)
            continue
        with pytest.raises(ConfigError, match="for 2 stochastic layers"):
            vae.make_task(config)
