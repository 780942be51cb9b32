"""Which fields of a config are traced, and hence change without a new compilation.

The others, and the types of the traced ones, are what a compiled step depends on.
"""

import json
from typing import Any

import jax
import jax.numpy as jnp

import gumbel
from experiments.engine.run_directory import flatten


def hyper_parameters(config) -> dict[str, Any]:
    """The traced fields of a config: changing them never recompiles."""
    hyper = {
        "learning_rate": config.learning_rate,
        "weight_decay": config.weight_decay,
        "schedule": {"initial": config.temperature, **config.schedule.to_dict()},
        "slope": config.slope.to_dict(),
        "options": {
            name: value
            for name, value in (
                ("prior_temperature", config.prior_temperature),
                *config.options.items(),
            )
            if isinstance(value, float)  # unset: the estimator's own default
        },
    }
    return jax.tree.map(jnp.asarray, hyper)


def static_options(config) -> dict[str, Any]:
    """The options of the estimator that are no floats, such as those of shapes."""
    options = config.options.items()
    return {k: v for k, v in options if v is not None and not isinstance(v, float)}


# The seed is not among the hyper-parameters: it enters through the state's key.
_TRACED = (
    *("learning_rate", "weight_decay", "temperature", "prior_temperature", "seed"),
    *("schedule.", "slope.", "options."),
)


def static_fields(config) -> str:
    """What a compiled step depends on: equal for configs that can share one.

    That is the config without the values of its traced fields. Their types stay: an
    option that is unset is not traced at all.
    """
    fixed = {f"options.{name}" for name in static_options(config)}
    fields = {
        name: type(value).__name__
        if name.startswith(_TRACED) and name not in fixed
        else value
        for name, value in flatten(config.to_dict()).items()
    }
    return json.dumps(fields, sort_keys=True)


def estimator_hyper(estimator: str, hyper, step, steps_per_epoch: int) -> dict:
    """What the estimator gets at a step: temperature, slope and its options."""
    given = {
        "temperature": gumbel.schedules.exponential(**hyper["schedule"])(step),
        **hyper["options"],
    }
    if "slope" in gumbel.estimators.ESTIMATORS[estimator].hyper:
        slope = gumbel.schedules.linear(1.0, **hyper["slope"], every=steps_per_epoch)
        given["slope"] = slope(step)
    return given
