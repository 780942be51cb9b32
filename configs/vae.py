"""Discrete VAE on static binarised MNIST: 784-(20×10)-784, Gumbel-Softmax.

python -m experiments.vae --config=configs/vae.py            # categorical
python -m experiments.vae --config=configs/vae.py:bernoulli  # 784-200-784
python -m experiments.vae --config=configs/vae.py:mlp        # 784-512-256-(30×10)-…
python -m experiments.vae --config=configs/vae.py:200H~200H~784V

The last is written as by Maddison et al. (2017), <units>H…784V[-4ary|-8ary], and any
such name is a variant, beside those that the paper has: from the top down, one <units>H
a stochastic layer, of binary or of 4-ary or 8-ary variables that take 2 or 3 units
each. Before its right neighbour stands - for a linear connection or ~ for one with two
tanh layers.

Static binarised MNIST, Adam, batches of 100. `categorical` reaches a test nll of 108.4
(L_100) in 20,000 steps, 52 s on two CPU cores, and 104.9 (L_1000) in 50,000;
`bernoulli` 108.1 (L_1000) in 50,000. The records are in results/vae. The form of the
KL and the temperature's rate and floor were chosen on validation at 50,000 steps.
"""

import re

from ml_collections import ConfigDict, config_dict

from configs import networks
from configs.common import common_fields

GRAMMAR = (
    "<units>H…784V[-4ary|-8ary], with - (linear) or ~ (two tanh layers) after each H, "
    "for example 200H-784V or 240H~240H~784V-4ary"
)


def _network(name: str) -> dict:
    """The fields of a network that is written as in Maddison et al. (2017)."""
    match = re.fullmatch(rf"((?:[0-9]+H[-~])+)784V{networks.ARITY}", name)
    if not match:
        raise ValueError(
            f"config variant {name!r}: must be one of categorical, bernoulli, mlp or "
            f"{GRAMMAR}"
        )
    layers, arity = match[1], int(match[2] or 2)
    units = [int(size) for size in re.findall("[0-9]+", layers)]
    *higher, lowest = networks.variables(name, units, arity)
    return networks.fields(arity) | {
        "learning_rate": 1e-4 if "~" in layers else 3e-4,
        "objective": "relaxed_density",
        "prior_temperature": networks.PRIOR_TEMPERATURES[arity],
        "model.num_variables": lowest,
        "model.higher": tuple(reversed(higher)),
        "model.connections": "".join(re.findall("[-~]", layers)),
        "model.centring": 0.9,
    }


VARIANTS = {
    "categorical": {},
    "bernoulli": {
        "model.family": "bernoulli",
        "model.num_variables": 200,
        "model.num_classes": 2,
        "objective": "analytic",
        "schedule.minimum": 0.3,
        "schedule.rate": 4e-5,
    },
    "mlp": {"model.num_variables": 30, "model.hidden": (512, 256)},
    **{
        name: _network(name)
        for name in (
            *("200H-784V", "200H-200H-784V", "200H~784V", "200H~200H~784V"),
            *(
                f"{'240H~' * layers}784V{arity}"
                for layers in (1, 2)
                for arity in ("", "-4ary", "-8ary")
            ),
        )
    },
}


def get_config(variant: str = "categorical") -> ConfigDict:
    """The config of a variant; every field has its meaning beside it."""
    overrides = VARIANTS[variant] if variant in VARIANTS else _network(variant)
    config = common_fields()
    config.learning_rate = 1e-3  # of the optimiser
    config.objective = "soft_mass"  # KL: relaxed_density, soft_mass or analytic
    config.prior_temperature = config_dict.placeholder(float)  # of (20); none: the same
    config.schedule = ConfigDict()
    config.schedule.minimum = 0.5  # floor of the temperature
    config.schedule.rate = 1e-4  # temperature · exp(−rate · step)
    config.schedule.every = 500  # steps between updates of the temperature

    config.model = ConfigDict()
    config.model.family = "categorical"  # latents: categorical or bernoulli
    config.model.num_variables = 20  # latent variables next to the pixels, N
    config.model.higher = ()  # variables of the stochastic layers above, upwards
    config.model.num_classes = 10  # classes of a variable, K (2 for bernoulli)
    config.model.code = "plain"  # what flows on: plain, or corners of {−1, 1}^(log2 K)
    config.model.hidden = ()  # ReLU widths, one layer: pixels to latents, mirrored
    config.model.connections = ""  # instead of hidden: a - or ~ a layer, from the top
    config.model.centring = config_dict.placeholder(float)  # decay of encoders' centres
    config.model.prior = "learned"  # of the top layer: learned or uniform

    config.eval_samples = 100  # m of the final bounds L_m
    config.report_samples = ()  # further m of the final bounds
    config.valid_samples = 1  # m of the validation bound during training

    config.update_from_flattened_dict(overrides)
    return config.lock()
