"""The optimiser of a config: an optax chain whose hyper-parameters are traced."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

# The scaling of the gradient by its history, without the learning rate.
OPTIMIZERS: Mapping[str, Callable[[], optax.GradientTransformation]] = {
    "adam": optax.scale_by_adam,
    "radam": optax.scale_by_radam,
    "sgd": lambda: optax.trace(decay=0.9),
}
# Steps after the warm-up -> the factor of the learning rate at each of them.
LEARNING_RATE_SCHEDULES: Mapping[str, Callable[[int], optax.Schedule]] = {
    "constant": lambda steps: optax.constant_schedule(1.0),
    "cosine": lambda steps: optax.cosine_decay_schedule(1.0, steps),
    "linear": lambda steps: optax.linear_schedule(1.0, 0.0, steps),
}


def optimizer_hyper(config) -> dict[str, float]:
    """The fields of a config that the optimiser takes as traced values."""
    fields = {name: config[name] for name in ("learning_rate", "weight_decay")}
    if config.clip_norm is not None:
        fields["clip_norm"] = config.clip_norm
    return fields


def make_optimizer(
    config, hyper: Mapping[str, Any]
) -> optax.GradientTransformationExtraArgs:
    """The optimiser: clipping, an L2 penalty on the weights, scaling, learning rate.

    Args:
        config: of the run; its static fields are read.
        hyper: `learning_rate`, `weight_decay` and, where gradients are clipped,
            `clip_norm`. `init` keeps them in the state, and `update` reads them there.
    """
    decay = LEARNING_RATE_SCHEDULES[config.learning_rate_schedule]
    schedule = decay(config.num_steps - config.warmup_steps)
    if config.warmup_steps:
        rise = optax.linear_schedule(0.0, 1.0, config.warmup_steps)
        schedule = optax.join_schedules([rise, schedule], [config.warmup_steps])

    @optax.inject_hyperparams
    def optimizer(learning_rate, weight_decay, clip_norm=None):
        clips = () if clip_norm is None else (optax.clip_by_global_norm(clip_norm),)
        return optax.chain(
            *clips,
            optax.add_decayed_weights(weight_decay, mask=weights),
            OPTIMIZERS[config.optimizer](),
            optax.scale_by_schedule(schedule),
            optax.scale_by_learning_rate(learning_rate),
        )

    return optimizer(**hyper)


def weights(params) -> Any:
    """Whether each parameter is a weight, called `kernel`: no bias, prior or centre."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) == "kernel", params
    )
