"""Structured prediction on static binarised MNIST: the lower half from the upper.

python -m experiments.structured_prediction --config=FILE            # categorical
python -m experiments.structured_prediction --config=FILE:bernoulli
python -m experiments.structured_prediction --config=FILE:392V-240H-240H-392V-4ary

with FILE = configs/structured_prediction.py. `categorical` is 392-(20×10)-(20×10)-392
and `bernoulli` 392-200-200-392, both of Jang et al. (2017). The others are written as
by Maddison et al. (2017), 392V-<units>H-…-392V[-4ary|-8ary]: one <units>H a stochastic
layer, all of the same size, of binary or of 4-ary or 8-ary variables that take 2 or 3
units each. Any such name is a variant, beside those that the paper has.
"""

import re

from ml_collections import ConfigDict, config_dict

from configs import networks
from configs.common import common_fields

GRAMMAR = (
    "392V-<units>H-…-392V[-4ary|-8ary], every layer of the same size, "
    "for example 392V-240H-240H-392V-4ary"
)


def _network(name: str) -> dict:
    """The fields of a network that is written as in Maddison et al. (2017)."""
    match = re.fullmatch(rf"392V-(([0-9]+)H(?:-\2H)*)-392V{networks.ARITY}", name)
    if not match:
        raise ValueError(
            f"config variant {name!r}: must be categorical, bernoulli or {GRAMMAR}"
        )
    layers, units, arity = match[1], int(match[2]), int(match[3] or 2)
    (num_variables,) = networks.variables(name, [units], arity)
    return networks.fields(arity) | {
        "learning_rate": 3e-4,
        "weight_decay": 1e-3,
        "model.num_layers": layers.count("H"),
        "model.num_variables": num_variables,
    }


VARIANTS = {
    "categorical": {},
    "bernoulli": {
        "model.family": "bernoulli",
        "model.num_variables": 200,
        "model.num_classes": 2,
    },
    **{
        name: _network(name)
        for layers in (2, 3)
        for arity in ("", "-4ary", "-8ary")
        for name in (f"392V-{'240H-' * layers}392V{arity}",)
    },
}


def get_config(variant: str = "categorical") -> ConfigDict:
    """The config of a variant; every field has its meaning beside it."""
    overrides = VARIANTS[variant] if variant in VARIANTS else _network(variant)
    config = common_fields()
    config.learning_rate = 3e-3  # of the optimiser
    config.objective = "analytic"  # of no effect: the bound has no KL
    config.prior_temperature = config_dict.placeholder(float)  # of no effect: no prior
    config.schedule = ConfigDict()
    config.schedule.minimum = 0.01  # floor of the temperature
    config.schedule.rate = 0.0  # temperature · exp(−rate · step); 0: fixed
    config.schedule.every = 500  # steps between updates of the temperature

    config.model = ConfigDict()
    config.model.family = "categorical"  # latents: categorical or bernoulli
    config.model.num_layers = 2  # stochastic layers
    config.model.num_variables = 20  # latent variables of a layer, N
    config.model.num_classes = 10  # classes of a variable, K (2 for bernoulli)
    config.model.code = "plain"  # what flows on: plain, or corners of {−1, 1}^(log2 K)

    config.eval_samples = 1000  # m of the final bounds L_m
    config.report_samples = (100,)  # further m of the final bounds
    config.valid_samples = 10  # m of the validation bound during training

    config.update_from_flattened_dict(overrides)
    return config.lock()
