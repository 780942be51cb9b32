"""The fields that configs have in common, with the same default in all of them."""

from ml_collections import ConfigDict, config_dict


def _unset(kind: type = float) -> config_dict.FieldReference:
    return config_dict.placeholder(kind)


def common_fields() -> ConfigDict:
    """A config of these fields, not locked; every field has its meaning beside it."""
    config = ConfigDict()
    config.seed = 0  # of parameters, batches and noise
    config.num_steps = 20_000  # training steps
    config.batch_size = 100  # images a step
    config.optimizer = "adam"  # adam, radam or sgd (momentum 0.9)
    config.learning_rate_schedule = "constant"  # or to 0 at num_steps: cosine, linear
    config.warmup_steps = 0  # in which the learning rate rises from 0, linearly
    config.weight_decay = 0.0  # L2 penalty's factor, on weights and not on biases
    config.clip_norm = _unset()  # largest norm of a gradient; unset: any

    config.estimator = "gumbel_softmax"  # a name in gumbel.estimators.ESTIMATORS
    config.num_samples = 1  # m of the training bound
    config.temperature = 1.0  # at step 0
    config.slope = ConfigDict()
    config.slope.rate = 0.04  # slope_annealed_st: slope = 1 + rate · epoch …
    config.slope.maximum = 5.0  # … up to this
    # Unset: the estimator's own default.
    config.options = ConfigDict()
    config.options.baseline_decay = _unset()  # of the running mean of the signal
    config.options.variance_decay = _unset()  # of its running variance; 1: not used
    config.options.normalise = _unset(str)  # what is divided: gradient, or signal alone
    config.options.centre = _unset(str)  # z̄ of darn's classes: 1/K, 1/2 or p
    config.options.baseline_learning_rate = _unset()  # of NVIL's learned baselines
    config.options.control_learning_rate = _unset()  # of tuned REBAR and RELAX
    config.options.scale = _unset()  # η of REBAR's control variate, or its start
    config.options.gap = _unset()  # of gapped_st, GST-gap; GST-p in the library
    config.options.inner_samples = _unset(int)  # softmaxes of gumbel_rao for a draw
    config.options.replicates = _unset(int)  # of reinforce_loo

    config.dataset = ConfigDict()
    config.dataset.name = "mnist"  # mnist, FILE.npz, omniglot_burda, or TFDS
    config.dataset.data_dir = _unset(str)  # folder of IDX files, Omniglot or TFDS
    config.dataset.side = 28  # of an image; others are averaged over areas to it
    config.dataset.binarization = "static"  # static, dynamic or threshold

    config.train_samples = 0  # m of a final bound on the training set; 0: none
    config.eval_batch_size = 100  # images evaluated together
    config.log_every = 500  # steps in one compiled call, and between log lines
    config.eval_every = 2_500  # steps between validations
    config.checkpoint_every = 2_500  # steps between checkpoints
    return config
