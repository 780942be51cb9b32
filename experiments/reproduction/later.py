"""Tables beyond the two papers, as data: later estimators on [1]'s tasks and their own.

What their papers have and we do not is in a table's title; where they give no detail of
a network it is the nearest of [2]'s. RELAX is Grathwohl et al. (2018), ReinMax Liu et
al. (2023), GR-MC Paulus, Maddison & Krause (2021). All numbers are in nats.
"""

from collections.abc import Iterator

from experiments.reproduction.published import (
    JANG,
    NLL,
    OMNIGLOT,
    Column,
    Figure,
    Row,
    Table,
    numbers_of,
)
from gumbel.estimators import ESTIMATORS

_TRAIN_L1 = Column("train L_1", "train", "nll_1", 0.5)
_TEST_L1 = Column("test L_1", "test", "nll_1", None)


def _can_run(estimator: str, family: str) -> bool:
    """Whether an estimator can train on [1]'s networks with m = 1."""
    entry = ESTIMATORS[estimator]
    # 2^200 or 10^20 joint values are too many to enumerate.
    return (
        estimator != "exact"
        and entry.samples[0] == 1
        and family.capitalize() in entry.families
    )


def _table1() -> Iterator[Row]:
    for (experiment, family), known in JANG.items():
        published = {
            name: (known[name],) if name in known else ()
            for name in ESTIMATORS
            if _can_run(name, family)
        }
        name = f"later-{experiment}-{family}"
        yield Row(name, experiment, family, {}, published)


# RELAX's table of the highest training ELBOs, here as nll. Its REBAR is the one that
# learns its temperature.
_RELAX_ESTIMATORS = "gumbel_softmax", "nvil", "muprop", "tuned_rebar", "relax"
_RELAX = """
200H-784V           111.3  112.5  111.7  111.6  111.20
200H-200H-784V      99.62  99.6   99.07  98.22  98.00
omniglot-200H-784V  117.23 117.44 117.09 116.63 116.57
"""


def _relax() -> Iterator[Row]:
    for name, numbers in numbers_of(_RELAX):
        pairs = zip(_RELAX_ESTIMATORS, numbers, strict=True)
        published = {estimator: (number,) for estimator, number in pairs}
        fields = OMNIGLOT if name.startswith("omniglot") else {}
        network, published = name.removeprefix("omniglot-"), published | {"rebar": ()}
        yield Row(f"relax-{name}", "vae", network, fields, published)


# GR-MC's table of test bounds, L_5000.
_GR_MC_ESTIMATORS = (
    *("gumbel_softmax", "st_gumbel_softmax", "gumbel_rao"),
    *("straight_through", "score_function"),
)
_GR_MC = """
240H~784V        96.4 97.1 97.0 103.1 121.4
240H~784V-4ary   93.8 93.7 93.5 104.5 122.2
240H~784V-8ary   92.3 92.8 92.5 105.1 124.9
240H~784V-16ary  94.3 92.6 92.2 104.5 129.5
"""
# [2] has no 16-ary variables: the 8-ary network with others, as many units.
_SIXTEEN = {"model.num_classes": 16, "model.num_variables": 60}


def _gr_mc() -> Iterator[Row]:
    for name, numbers in numbers_of(_GR_MC):
        pairs = zip(_GR_MC_ESTIMATORS, numbers, strict=True)
        published = {estimator: (number,) for estimator, number in pairs}
        fields = _SIXTEEN if "16ary" in name else {}
        network = name.replace("16ary", "8ary")
        yield Row(f"gr_mc-{name}", "vae", network, fields, published)


# ReinMax's table of training ELBOs, here as nll.
_REINMAX = {
    "st_gumbel_softmax": (99.6,),
    "gumbel_rao": (102.0,),
    "gapped_st": (98.6,),
    "straight_through": (112.6,),
    "reinmax": (98.4,),
}
_REINMAX_FIELDS = {
    "model.prior": "uniform",
    "objective": "analytic",
    "schedule.rate": 0.0,
    "dataset.binarization": "dynamic",
}

LATER = {
    "later_table1": Table(
        "Every estimator in the experiments of Table 1 of [1], at equal budgets",
        (NLL, Column("L_1", "test", "nll_1", None)),
        tuple(_table1()),
    ),
    "relax": Table(
        "Training bounds of RELAX, there the highest of a run, here where validation "
        "is best, with the temperatures of [2]",
        (_TRAIN_L1, _TEST_L1),
        tuple(_relax()),
    ),
    "gr_mc": Table(
        "Test bounds of GR-MC, here in networks and at temperatures of [2]",
        (NLL,),
        tuple(_gr_mc()),
    ),
    "reinmax": Table(
        "Training bounds of ReinMax, there of grey pixels, here of binary ones drawn "
        "from these",
        (_TRAIN_L1, _TEST_L1),
        (Row("reinmax-mlp", "vae", "mlp", _REINMAX_FIELDS, _REINMAX),),
    ),
}

SWEEPS = {
    "vae_temperature": Figure(
        "Temperature and form of the KL of the categorical VAE of [1]",
        *("sweep", "--out=", "sweep.json"),
    ),
}
