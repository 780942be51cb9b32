"""Semi-supervised classification of MNIST with 100 labels: M2, Gumbel-Softmax.

python -m experiments.semi_supervised --config=FILE       # fully connected, 784-500
python -m experiments.semi_supervised --config=FILE:conv  # convolutional, as in [1]
python -m experiments.semi_supervised --config=FILE --config.estimator=exact
python -m experiments.semi_supervised --config=FILE:mlp_labels_only

with FILE = configs/semi_supervised.py. The estimator `exact` marginalises the class, as
Kingma et al. (2014); the others sample it once, as Jang et al. (2017), [1]. The
labels-only variants train the classifier on the labelled images and nothing else: what
the unlabelled ones add is measured from there.
"""

from ml_collections import ConfigDict, config_dict

from configs.common import common_fields

_CONV = {
    "model.networks": "conv",
    "model.hidden": (256,),
    "model.channels": (32, 64, 128),
}
_LABELS_ONLY = {"method": "classifier"}
VARIANTS = {
    "mlp": {},
    "conv": _CONV,
    "mlp_labels_only": _LABELS_ONLY,
    "conv_labels_only": _CONV | _LABELS_ONLY,
}


def get_config(variant: str = "mlp") -> ConfigDict:
    """The config of a variant; every field has its meaning beside it."""
    if variant not in VARIANTS:
        raise ValueError(
            f"config variant {variant!r}: must be one of {', '.join(VARIANTS)}"
        )
    config = common_fields()
    config.learning_rate = 1e-3  # of the optimiser
    config.objective = "analytic"  # KL: relaxed_density, soft_mass or analytic
    config.prior_temperature = config_dict.placeholder(float)  # of (20); none: the same
    config.schedule = ConfigDict()
    config.schedule.minimum = 0.5  # floor of the temperature
    config.schedule.rate = 3e-5  # temperature · exp(−rate · step)
    config.schedule.every = 2_000  # steps between updates of the temperature

    config.method = "m2"  # m2, or classifier: q(y|x) alone, on labelled images alone
    config.alpha = 1.0  # α of J: nats of log q(y|x) against nats of a bound
    config.labelled = ConfigDict()
    config.labelled.count = 100  # training images whose labels are seen
    config.labelled.seed = 0  # of the choice of these
    config.labelled.batch_size = 20  # of these a step: so few repeat soon anyway
    config.dataset.binarization = "dynamic"  # of training; bounds elsewhere: static

    config.model = ConfigDict()
    config.model.networks = "mlp"  # mlp or conv
    config.model.num_styles = 50  # of the normal style variable, N
    config.model.hidden = (500,)  # ReLU widths; conv: those of q(z|x, y) alone
    config.model.channels = ()  # conv: of the convolutions, from the pixels up

    config.eval_samples = 100  # m of the final bounds L_m
    config.report_samples = ()  # further m of the final bounds
    config.valid_samples = 1  # m of the validation bound during training

    config.update_from_flattened_dict(VARIANTS[variant])
    return config.lock()
