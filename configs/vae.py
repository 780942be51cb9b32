"""Discrete VAE on static binarised MNIST: 784-(20×10)-784, Gumbel-Softmax.

python -m experiments.vae --config=configs/vae.py            # categorical
python -m experiments.vae --config=configs/vae.py:bernoulli  # 784-200-784
python -m experiments.vae --config=configs/vae.py:mlp        # 784-512-256-(30×10)-…
"""

from ml_collections import ConfigDict, config_dict


def _unset() -> config_dict.FieldReference:
    return config_dict.placeholder(float)


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
}


def get_config(variant: str = "categorical") -> ConfigDict:
    """The config of a variant; every field has its meaning beside it."""
    if variant not in VARIANTS:
        raise ValueError(
            f"config variant {variant!r}: must be one of {', '.join(VARIANTS)}"
        )
    config = ConfigDict()
    config.seed = 0  # of parameters, batches and noise
    config.num_steps = 20_000  # training steps
    config.batch_size = 100  # images a step
    config.learning_rate = 1e-3  # of the optimiser, constant
    config.optimizer = "adam"  # adam or sgd (momentum 0.9)
    config.weight_decay = 0.0  # L2 penalty's factor, on weights and not on biases

    config.estimator = "gumbel_softmax"  # a name in gumbel.estimators.ESTIMATORS
    config.num_samples = 1  # m of the training bound
    config.objective = "soft_mass"  # KL: relaxed_density, soft_mass or analytic
    config.temperature = 1.0  # at step 0
    config.prior_temperature = config_dict.placeholder(float)  # of (20); none: the same
    config.schedule = ConfigDict()
    config.schedule.minimum = 0.5  # floor of the temperature
    config.schedule.rate = 1e-4  # temperature · exp(−rate · step)
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
    config.model.num_variables = 20  # latent variables, N
    config.model.num_classes = 10  # classes of a variable, K (2 for bernoulli)
    config.model.code = "plain"  # of the latents for the decoder: plain or corners, ±1
    config.model.hidden = ()  # encoder widths; the decoder mirrors them; (): linear
    config.model.prior = "learned"  # learned or uniform

    config.dataset = ConfigDict()
    config.dataset.name = "mnist"  # mnist is built in; others by their TFDS name
    config.dataset.data_dir = config_dict.placeholder(str)  # prepared TFDS folder
    config.dataset.binarization = "static"  # static, dynamic or threshold

    config.eval_samples = 100  # m of the final bounds L_m
    config.train_samples = 0  # m of a final bound on the training set; 0: none
    config.report_samples = ()  # further m of the final bounds
    config.valid_samples = 1  # m of the validation bound during training
    config.eval_batch_size = 100  # images evaluated together
    config.log_every = 500  # steps in one compiled call, and between log lines
    config.eval_every = 2_500  # steps between validations
    config.checkpoint_every = 2_500  # steps between checkpoints

    config.update_from_flattened_dict(VARIANTS[variant])
    return config.lock()
