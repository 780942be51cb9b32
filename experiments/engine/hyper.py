"""The fields of a config inside a step: traced ones, in the state, and static ones.

Runs that differ in traced fields only share one compilation.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict, FrozenConfigDict

import gumbel
from experiments.engine.fields import flatten

# The fields of a config, or groups of fields, whose values are in the state; of the
# options only floats.
_TRACED = (
    *("seed", "learning_rate", "weight_decay", "clip_norm", "temperature"),
    *("prior_temperature", "schedule", "slope", "options"),
)


def temperature_schedule(hyper: Mapping[str, Any]) -> Callable:
    """The temperature as a function of the step."""
    return gumbel.schedules.exponential(hyper["temperature"], **hyper["schedule"])


def hyper_parameters(config) -> dict[str, Any]:
    """The traced fields of a config that the estimator depends on, as arrays."""
    options = {"prior_temperature": config.prior_temperature, **config.options}
    return jax.tree.map(
        _as_array,
        {
            "temperature": config.temperature,
            "schedule": config.schedule.to_dict(),
            "slope": config.slope.to_dict(),
            # Without what is unset: the estimator has a default of its own.
            "options": {k: v for k, v in options.items() if isinstance(v, float)},
        },
    )


def _as_array(value: float) -> jax.Array:
    return jnp.asarray(value, jnp.float32 if isinstance(value, float) else jnp.int32)


def static_options(config) -> dict[str, Any]:
    """The options of the estimator that are no floats, such as those of shapes."""
    options = config.options.items()
    return {k: v for k, v in options if v is not None and not isinstance(v, float)}


def static_fields(config) -> FrozenConfigDict:
    """The config with a zero for every traced field that is set.

    Equal for configs that can share a compiled step. A field that is unset stays so: it
    is not in the state at all.
    """
    fields = flatten(config.to_dict())
    for name, value in fields.items():
        group = name.partition(".")[0]
        kinds = float if group == "options" else (float, int)
        if group in _TRACED and isinstance(value, kinds):
            fields[name] = type(value)(0)
    static = ConfigDict(config.to_dict())
    static.update_from_flattened_dict(fields)
    return FrozenConfigDict(static)


def network_hyper(
    config, num_examples: int, step, hyper: Mapping[str, Any] | None = None
) -> dict[str, jax.Array]:
    """The estimator's hyper-parameters that the evaluated network depends on, too.

    The slope of slope-annealed straight-through at a step; nothing for the others.

    Args:
        config: of the run; its static fields are read.
        num_examples: of the training set.
        step: the step.
        hyper: of the state, where it is traced; by default that of the config.
    """
    if "slope" not in gumbel.estimators.ESTIMATORS[config.estimator].hyper:
        return {}
    steps_per_epoch = num_examples // config.batch_size
    hyper = hyper_parameters(config) if hyper is None else hyper
    slope = gumbel.schedules.linear(1.0, **hyper["slope"], every=steps_per_epoch)
    return {"slope": slope(step)}
