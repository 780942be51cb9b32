"""The named networks of configs/structured_prediction.py and what it refuses."""

import jax
import numpy as np
import pytest

from configs.structured_prediction import VARIANTS, get_config
from experiments import REPOSITORY, ConfigError
from experiments import structured_prediction as sp
from experiments.cli import launch

# By hand: weights and biases of each map, from the units below to the logits above.
BERNOULLI_240 = 392 * 240 + 240, 240 * 240 + 240, 240 * 392 + 392
FOUR_ARY = 392 * 480 + 480, 240 * 480 + 480, 240 * 392 + 392
EIGHT_ARY = 392 * 640 + 640, 240 * 640 + 640, 240 * 392 + 392
PARAMETER_COUNTS = {
    "categorical": (392 * 200 + 200) + (200 * 200 + 200) + (200 * 392 + 392),
    "bernoulli": (392 * 200 + 200) + (200 * 200 + 200) + (200 * 392 + 392),
    "392V-240H-240H-392V": sum(BERNOULLI_240),
    "392V-240H-240H-392V-4ary": sum(FOUR_ARY),
    "392V-240H-240H-392V-8ary": sum(EIGHT_ARY),
    "392V-240H-240H-240H-392V": sum(BERNOULLI_240) + BERNOULLI_240[1],
    "392V-240H-240H-240H-392V-4ary": sum(FOUR_ARY) + FOUR_ARY[1],
    "392V-240H-240H-240H-392V-8ary": sum(EIGHT_ARY) + EIGHT_ARY[1],
}
TEMPERATURES = {"": 2 / 3, "-4ary": 1.0, "-8ary": 2 / 3}


def test_all_variants_have_a_count():
    assert set(PARAMETER_COUNTS) == set(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameter_counts(noise, variant):
    params = jax.eval_shape(sp.make_task(get_config(variant)).init, jax.random.key(0))
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert count == PARAMETER_COUNTS[variant]


@pytest.mark.parametrize("arity", TEMPERATURES)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_networks_written_as_in_the_paper(arity, layers):
    config = get_config(f"392V-{'240H-' * layers}392V{arity}")
    num_classes = int(arity[1:2] or 2)
    assert config.model.num_layers == layers
    assert config.model.num_classes == num_classes
    assert config.model.num_variables * np.log2(num_classes) == 240
    assert config.temperature == TEMPERATURES[arity]
    assert config.schedule.rate == 0 and config.schedule.minimum <= config.temperature
    assert (config.batch_size, config.learning_rate) == (64, 3e-4)
    assert config.weight_decay == 1e-3


@pytest.mark.parametrize(
    "variant",
    [
        "",
        "392V-240H-240H",
        "392V-392V",
        "392V-240H-200H-392V",
        "784V-240H-392V",
        "392V-240H-392V-3ary",
        "392V–240H–392V",
        "392V-240H-392V\n",
    ],
)
def test_malformed_variants_show_the_grammar(variant):
    with pytest.raises(ValueError, match=r"392V-<units>H-…-392V\[-4ary\|-8ary\]"):
        get_config(variant)


@pytest.mark.parametrize("variant", ["392V-0H-392V", "392V-200H-392V-8ary"])
def test_units_that_no_variables_fill(variant):
    with pytest.raises(ValueError, match="<units> must be a positive multiple of"):
        get_config(variant)


@pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
def test_malformed_variant_is_one_line_on_the_command_line():
    file = str(REPOSITORY / "configs" / "structured_prediction.py")
    with pytest.raises(ConfigError) as error:
        launch.parse(["", f"--config={file}:240H"], "structured_prediction", file)
    assert "'240H': must be categorical, bernoulli or 392V-" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("model.num_classes", 10, "must be a power of two for model.code='corners'"),
        ("model.num_layers", 0, "config.model.num_layers=0: must be an integer from 1"),
        ("model.code", "grey", "must be one of plain, corners"),
        ("model.family", "bernoulli", "must be 2 for model.family='bernoulli'"),
        ("report_samples", (0,), "must be a tuple of at most 100 integers from 1"),
        ("weight_decay", -1.0, "must be at least 0"),
    ],
)
def test_impossible_fields(noise, field, value, message):
    config = get_config("392V-240H-392V-4ary")
    config.update_from_flattened_dict({field: value})
    with pytest.raises(ConfigError, match=message):
        sp.make_task(config)
