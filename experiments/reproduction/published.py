"""The papers' tables as data: every row as a run of ours, and the numbers as printed.

[1] is Jang, Gu & Poole (2017), [2] is Maddison, Mnih & Teh (2017). All numbers are in
nats, on MNIST unless a row says Omniglot, but for accuracies, in %.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class Column(NamedTuple):
    """A number of a run: result[split][name], times the scale.

    The tolerance is the noise of a published number, of which the papers print no
    error bars; None where they have no such number.
    """

    label: str
    split: str
    name: str
    tolerance: float | None
    scale: float = 1.0

    @property
    def is_published(self) -> bool:
        """Whether the papers have this number."""
        return self.tolerance is not None


class Row(NamedTuple):
    """One network on one data set.

    Attributes:
        name: in the table.
        experiment: module of experiments/ and of configs/.
        variant: of its config.
        fields: what differs from that variant.
        published: by estimator, a number for each column that has a tolerance, or none.
    """

    name: str
    experiment: str
    variant: str
    fields: Mapping[str, Any]
    published: Mapping[str, tuple[float, ...]]


class Table(NamedTuple):
    """A table of a paper."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


class Figure(NamedTuple):
    """A figure of a paper, and the script of ours that makes it.

    Attributes:
        title: in the paper.
        script: of scripts/.
        out: what stands before the folder of its results in the arguments.
        file: what it leaves there.
    """

    title: str
    script: str
    out: str
    file: str


def numbers_of(block: str) -> Iterator[tuple[str, list[float]]]:
    """The lines of a block: a name, and numbers."""
    for line in block.strip().splitlines():
        name, *numbers = line.split()
        yield name, [float(number) for number in numbers]


NLL = Column("test nll", "test", "nll", 0.5)
TRAIN_NLL = Column("train nll", "train", "nll", 0.5)
_ACCURACY = Column("test accuracy, %", "test", "accuracy", 1.5, 100.0)
_VALID_ACCURACY = Column("validation accuracy, %", "valid", "accuracy", None, 100.0)

_ESTIMATORS = (
    *("score_function", "darn", "muprop", "straight_through"),
    *("slope_annealed_st", "gumbel_softmax", "st_gumbel_softmax"),
)
# [1], Table 1: L_1000 by experiment, family and estimator.
JANG = {
    tuple(name.split("-")): dict(zip(_ESTIMATORS, numbers, strict=True))
    for name, numbers in numbers_of("""
        structured_prediction-bernoulli     72.0  59.7  58.9  58.9  58.7  58.5  59.3
        structured_prediction-categorical   73.1  67.9  63.0  61.8  61.1  59.0  59.7
        vae-bernoulli                      112.2 110.9 109.7 116.0 111.5 105.0 111.5
        vae-categorical                    110.6 128.8 107.0 110.9 107.8 101.5 107.8
    """)
}


def _jang_table1() -> Iterator[Row]:
    for (experiment, family), numbers in JANG.items():
        published = {name: (number,) for name, number in numbers.items()}
        yield Row(f"{experiment}-{family}", experiment, family, {}, published)


# [1], Table 2: accuracy, and the ELBO, L_1, as an nll.
_JANG_TABLE2 = {
    "exact": (92.6, 106.8),
    "gumbel_softmax": (92.4, 109.6),
    "st_gumbel_softmax": (93.6, 110.7),
}

# Kingma et al. (2014), Table 1, 100 labels: by marginalisation.
_KINGMA = {"exact": (88.03,), "gumbel_softmax": (), "st_gumbel_softmax": ()}
# A classifier alone has no draws: any estimator is the exact one.
_NO_DRAW = {"exact": ()}

# [1], Figure 5: steps per second of one sample to those of marginalisation, by the
# number of classes.
JANG_FIGURE5 = {10: 2.0, 100: 9.9}


def _versus(m: int) -> str:
    """What [2] sets against Concrete: NVIL with one sample, VIMCO with more."""
    return "nvil" if m == 1 else "vimco"


OMNIGLOT = {"dataset.name": "omniglot_burda"}

# [2], Table 1: L_50000, Concrete and then VIMCO or NVIL, each of
#             MNIST test   MNIST train   Omniglot test Omniglot train
_MADDISON_TABLE1 = """
200H-784V-m1        107.3 104.4  107.5 104.2  118.7 115.7  117.0 112.2
200H-784V-m5        104.9 101.9  104.9 101.5  118.0 113.5  115.8 110.8
200H-784V-m50       104.3  98.8  104.2  98.3  118.9 113.0  115.8 110.0
200H-200H-784V-m1   102.1  92.9  102.3  91.7  116.3 109.2  114.4 104.8
200H-200H-784V-m5    99.9  91.7  100.0  90.8  116.0 107.5  113.5 103.6
200H-200H-784V-m50   99.5  90.7   99.4  89.7  117.0 108.1  113.9 103.6
200H~784V-m1         92.1  93.8   91.2  91.5  108.4 116.4  103.6 110.3
200H~784V-m5         89.5  91.4   88.1  88.6  107.5 118.2  101.4 102.3
200H~784V-m50        88.5  89.3   86.4  86.5  108.1 116.0  100.5 100.8
200H~200H~784V-m1    87.9  88.4   86.5  85.8  105.9 111.7  100.2 105.7
200H~200H~784V-m5    86.3  86.4   84.1  82.5  105.8 108.2   98.6 101.1
200H~200H~784V-m50   85.7  85.5   83.1  81.8  106.8 113.2   97.5  95.2
"""


def _maddison_table1() -> Iterator[Row]:
    for name, numbers in numbers_of(_MADDISON_TABLE1):
        network, _, m = name.rpartition("-m")
        samples = {"num_samples": int(m), "valid_samples": int(m)}
        for prefix, fields, (c, v, train_c, train_v) in (
            ("", {}, numbers[:4]),
            ("omniglot-", OMNIGLOT, numbers[4:]),
        ):
            published = {"gumbel_softmax": (c, train_c), _versus(int(m)): (v, train_v)}
            yield Row(f"{prefix}{name}", "vae", network, samples | fields, published)


# [2], Table 2: Concrete, MNIST test and train and Omniglot test and train for each of
#                    m = 1                    m = 5                    m = 50
_MADDISON_TABLE2 = """
240H~784V            91.9 90.7 108.0  102.2   89.0 87.1 107.7 100.0   88.4 85.7 109.0  99.1
240H~784V-4ary       91.4 89.7 110.7  102.7   89.4 87.0 110.5 100.2   89.7 86.5 113.0 100.0
240H~784V-8ary       92.5 89.9 119.61 105.3   90.5 87.0 120.7 102.7   90.5 86.7 121.7 101.0
240H~240H~784V       87.9 86.0 106.6   99.0   86.6 83.7 106.9  97.1   86.0 82.7 108.7  95.9
240H~240H~784V-4ary  87.4 85.0 106.6   97.8   86.7 83.3 108.3  97.3   86.7 83.0 109.4  96.8
240H~240H~784V-8ary  88.2 85.9 111.3  102.5   87.4 84.6 110.5 100.5   87.2 84.0 111.1  99.5
"""  # noqa: E501


def _maddison_table2() -> Iterator[Row]:
    for network, numbers in numbers_of(_MADDISON_TABLE2):
        for index, m in enumerate((1, 5, 50)):
            test, train, omniglot, omniglot_train = numbers[4 * index : 4 * index + 4]
            for prefix, fields, pair in (
                ("", {}, (test, train)),
                ("omniglot-", OMNIGLOT, (omniglot, omniglot_train)),
            ):
                fields = {"num_samples": m, "valid_samples": m} | fields
                published = {"gumbel_softmax": pair}
                yield Row(f"{prefix}{network}-m{m}", "vae", network, fields, published)


# [2], figure 4, left: L_100, Concrete and then VIMCO or NVIL, test and train for
#                         m = 1                m = 5                m = 50
_STRUCTURED = """
392V-240H-240H-392V       58.5 61.4 54.2 59.3  54.3 54.5 49.2 52.7  53.4 51.8 48.2 49.6
392V-240H-240H-240H-392V  56.3 59.7 51.6 58.4  52.7 53.5 46.9 51.6  52.0 50.2 45.9 47.9
"""
# Concrete with m = 1, test and train.
_STRUCTURED_ARITY = """
392V-240H-240H-240H-392V-4ary  55.4 46.0
392V-240H-240H-240H-392V-8ary  54.7 44.8
"""


def _maddison_structured() -> Iterator[Row]:
    def row(network, m, published):
        fields = {"num_samples": m, "valid_samples": m}
        experiment = "structured_prediction"
        return Row(f"{network}-m{m}", experiment, network, fields, published)

    for network, numbers in numbers_of(_STRUCTURED):
        for index, m in enumerate((1, 5, 50)):
            c, v, train_c, train_v = numbers[4 * index : 4 * index + 4]
            published = {"gumbel_softmax": (c, train_c), _versus(m): (v, train_v)}
            yield row(network, m, published)
    for network, (test, train) in numbers_of(_STRUCTURED_ARITY):
        yield row(network, 1, {"gumbel_softmax": (test, train)})


PAPERS = {
    "jang_table1": Table(
        "Table 1 of [1]",
        (NLL, Column("L_1", "test", "nll_1", None)),
        tuple(_jang_table1()),
    ),
    "jang_table2": Table(
        "Table 2 of [1]",
        (_ACCURACY, Column("test L_1", "test", "nll_1", 0.5), _VALID_ACCURACY),
        (
            Row("m2", "semi_supervised", "conv", {}, _JANG_TABLE2),
            Row("labels_only", "semi_supervised", "conv_labels_only", {}, _NO_DRAW),
        ),
    ),
    "kingma_m2": Table(
        "M2 of Kingma et al. (2014), fully connected",
        (_ACCURACY, Column("test L_1", "test", "nll_1", None), _VALID_ACCURACY),
        (
            Row("m2_mlp", "semi_supervised", "mlp", {}, _KINGMA),
            Row("labels_only_mlp", "semi_supervised", "mlp_labels_only", {}, _NO_DRAW),
        ),
    ),
    "maddison_table1": Table(
        "Table 1 of [2]", (NLL, TRAIN_NLL), tuple(_maddison_table1())
    ),
    "maddison_table2": Table(
        "Table 2 of [2]", (NLL, TRAIN_NLL), tuple(_maddison_table2())
    ),
    "maddison_structured": Table(
        "Figure 4, left, of [2]", (NLL, TRAIN_NLL), tuple(_maddison_structured())
    ),
}

FIGURES = {
    "jang_figure5": Figure("Figure 5 of [1]", "benchmark", "", "marginalisation.json"),
    "maddison_figure4": Figure(
        "Figure 4, right, of [2]", "sweep", "--out=", "sweep.json"
    ),
}
