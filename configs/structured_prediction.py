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

# λ1 of Maddison et al. (2017): the temperature for each arity.
TEMPERATURES = {2: 2 / 3, 4: 1.0, 8: 2 / 3}
GRAMMAR = (
    "392V-<units>H-…-392V[-4ary|-8ary], every layer of the same size, "
    "for example 392V-240H-240H-392V-4ary"
)


def _network(name: str) -> dict:
    """The fields of a network that is written as in Maddison et al. (2017)."""
    match = re.fullmatch(r"392V-((\d+)H(?:-\2H)*)-392V(?:-([48])ary)?", name)
    if not match:
        raise ValueError(
            f"config variant {name!r}: must be categorical, bernoulli or {GRAMMAR}"
        )
    layers, units, arity = match[1], int(match[2]), int(match[3] or 2)
    units_each = arity.bit_length() - 1  # log2
    if units == 0 or units % units_each:
        raise ValueError(
            f"config variant {name!r}: <units> must be a positive multiple of "
            f"{units_each}, the units of a {arity}-ary variable"
        )
    return {
        "batch_size": 64,
        "learning_rate": 3e-4,
        "weight_decay": 1e-3,
        "temperature": TEMPERATURES[arity],
        "model.family": "bernoulli" if arity == 2 else "categorical",
        "model.num_layers": layers.count("H"),
        "model.num_variables": units // units_each,
        "model.num_classes": arity,
        "model.code": "corners",
    }


def _unset() -> config_dict.FieldReference:
    return config_dict.placeholder(float)


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
    config = ConfigDict()
    config.seed = 0  # of parameters, batches and noise
    config.num_steps = 20_000  # training steps
    config.batch_size = 100  # images a step
    config.learning_rate = 3e-3  # of the optimiser, constant
    config.optimizer = "adam"  # adam or sgd (momentum 0.9)
    config.weight_decay = 0.0  # L2 penalty's factor, on weights and not on biases

    config.estimator = "gumbel_softmax"  # a name in gumbel.estimators.ESTIMATORS
    config.num_samples = 1  # m of the training bound
    config.objective = "analytic"  # of no effect: the bound has no KL
    config.temperature = 1.0  # at step 0
    config.prior_temperature = config_dict.placeholder(float)  # of no effect: no prior
    config.schedule = ConfigDict()
    config.schedule.minimum = 0.01  # floor of the temperature
    config.schedule.rate = 0.0  # temperature · exp(−rate · step); 0: fixed
    config.schedule.every = 500  # steps between updates of the temperature
    config.slope = ConfigDict()
    config.slope.rate = 0.04  # slope_annealed_st: slope = 1 + rate · epoch …
    config.slope.maximum = 5.0  # … up to this
    # Unset: the estimator's own default.
    config.options = ConfigDict()
    config.options.baseline_decay = _unset()  # of the running mean of the signal
    config.options.variance_decay = _unset()  # of its running variance; 1: not used
    config.options.baseline_learning_rate = _unset()  # of NVIL's learned baselines

    config.model = ConfigDict()
    config.model.family = "categorical"  # latents: categorical or bernoulli
    config.model.num_layers = 2  # stochastic layers
    config.model.num_variables = 20  # latent variables of a layer, N
    config.model.num_classes = 10  # classes of a variable, K (2 for bernoulli)
    config.model.code = "plain"  # what flows on: plain, or corners of {−1, 1}^(log2 K)

    config.dataset = ConfigDict()
    config.dataset.name = "mnist"  # mnist is built in; others by their TFDS name
    config.dataset.data_dir = config_dict.placeholder(str)  # prepared TFDS folder
    config.dataset.binarization = "static"  # static, dynamic or threshold

    config.eval_samples = 1000  # m of the final bounds L_m
    config.train_samples = 0  # m of a final bound on the training set; 0: none
    config.report_samples = (100,)  # further m of the final bounds
    config.valid_samples = 10  # m of the validation bound during training
    config.eval_batch_size = 100  # images evaluated together
    config.log_every = 500  # steps in one compiled call, and between log lines
    config.eval_every = 2_500  # steps between validations
    config.checkpoint_every = 2_500  # steps between checkpoints

    config.update_from_flattened_dict(overrides)
    return config.lock()
