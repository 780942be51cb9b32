"""Budgets: the fields, grids and seeds that a reproduction spends on a table.

`paper` is the paper's own protocol; `cpu`, for two cores, and `smoke`, seconds a run,
are the same for all estimators of a table. The grids of `cpu` reach past what records
have chosen, so that the choice need not be at an edge.
"""

from collections.abc import Mapping
from fnmatch import fnmatch
from typing import Any, NamedTuple

BUDGETS = ("smoke", "cpu", "paper")


# Jang et al. normalise the variance of these; a running-mean baseline is what makes the
# score function comparable at all.
OPTIONS = {
    "score_function": {"options.baseline_decay": 0.9, "options.variance_decay": 0.9},
    "darn": {"options.variance_decay": 0.9},
    "muprop": {"options.variance_decay": 0.9},
    # Of second order at τ = 1 only.
    "reinmax": {"schedule.rate": 0.0},
}


class Budget(NamedTuple):
    """The runs of a cell.

    Attributes:
        fields: fields of the config.
        grids: values of fields among which the validation set chooses, by a pattern of
            cells; the last pattern that a cell matches counts.
        seeds: number of final runs.
        fraction: of the steps, after which the choice is made.
        options: further fields by estimator.
    """

    fields: Mapping[str, Any]
    grids: Mapping[str, Mapping[str, tuple]]
    seeds: int
    fraction: float = 0.1
    options: Mapping[str, Mapping[str, Any]] = OPTIONS

    def grid(self, cell: str) -> Mapping[str, tuple]:
        """The grid of a cell, ROW-ESTIMATOR: that of the last pattern it matches."""
        return [grid for glob, grid in self.grids.items() if fnmatch(cell, glob)][-1]


def _rates(*values: float) -> dict[str, dict[str, tuple]]:
    return {"*": {"learning_rate": values}}


# Not 3e-2: a run of gumbel_softmax on the Bernoulli VAE was ahead with it after a tenth
# of the steps, when the choice is made, and behind 1e-2 at their end.
_JANG_CPU_RATES = _rates(3e-4, 1e-3, 3e-3, 1e-2)
_CPU_RATES = _rates(1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


_SMOKE = Budget(
    fields={
        "num_steps": 20,
        "batch_size": 8,
        "log_every": 10,
        "eval_every": 10,
        "checkpoint_every": 10,
        "eval_samples": 2,
        "report_samples": (),
        "valid_samples": 1,
    },
    grids=_rates(1e-3, 3e-3),
    seeds=2,
    fraction=0.5,
)
# Rarer than in a short run: 10⁷ steps have 200 validations.
_LONG = {"log_every": 5_000, "eval_every": 50_000, "checkpoint_every": 50_000}

_JANG_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
# Steps and batches are not in the paper; its curves end near 500,000 steps.
_JANG_PAPER = Budget(
    fields={
        "optimizer": "sgd",
        "num_steps": 500_000,
        "eval_samples": 1000,
        "report_samples": (),
        "valid_samples": 10,
        "eval_every": 5_000,
        "checkpoint_every": 5_000,
        "schedule.minimum": 0.5,  # without effect where the temperature is fixed at 1
    },
    grids={
        "*": {"learning_rate": _JANG_RATES},
        # What has a temperature; st_gumbel_softmax, too.
        **dict.fromkeys(
            ("*vae-*gumbel_softmax", "*vae-*-gumbel_rao", "*vae-*-gapped_st"),
            {
                "learning_rate": _JANG_RATES,
                "schedule.rate": (1e-5, 1e-4),
                "schedule.every": (500, 1000),
            },
        ),
    },
    seeds=3,
    fraction=1.0,
)
_JANG_CPU = Budget(
    fields={
        "optimizer": "adam",
        "num_steps": 100_000,
        "eval_samples": 1000,
        "report_samples": (),
        "valid_samples": 10,
        "eval_every": 5_000,
        "checkpoint_every": 5_000,
    },
    grids=_JANG_CPU_RATES,
    seeds=2,
)
# Every estimator, at a cost that two cores can spend in some hours.
_LATER_CPU = _JANG_CPU._replace(
    fields=_JANG_CPU.fields
    | {"num_steps": 20_000, "eval_samples": 100, "eval_every": 1_000},
    seeds=1,
    fraction=0.25,
)


def _maddison(samples: int, paper_samples: int, decays: tuple) -> dict[str, Budget]:
    """Budgets with L_samples of test and training set, of `paper` with its own m."""

    def fields(steps: int, samples: int) -> dict[str, Any]:
        bounds = {"eval_samples": samples, "train_samples": samples}
        return {"num_steps": steps, "report_samples": (), **bounds}

    rates = 1e-4, 3e-4, 1e-3
    return {
        "smoke": _SMOKE._replace(fields=_SMOKE.fields | {"train_samples": 2}),
        "cpu": Budget(fields(100_000, samples), _CPU_RATES, seeds=1),
        "paper": Budget(
            fields(10_000_000, paper_samples) | _LONG,
            {"*": {"learning_rate": rates, "weight_decay": decays}},
            seeds=1,
            fraction=1.0,
        ),
    }


_DENSITY = _maddison(1000, 50_000, (0.0, 0.01, 0.1, 1.0))


def _m2_grids(**fields: tuple) -> dict[str, dict[str, tuple]]:
    # Without unlabelled images nothing is chosen.
    return {"*": fields, "labels_only*": {}}


def _m2(cpu: Budget) -> dict[str, Budget]:
    """Budgets of M2; `paper` has as many steps as there are in no paper."""
    return {
        "smoke": _SMOKE._replace(grids=_m2_grids(alpha=(0.3, 1.0))),
        "cpu": cpu,
        "paper": Budget(
            {"num_steps": 500_000},
            _m2_grids(alpha=(0.1, 0.2, 0.3, 0.8, 1.0)),
            seeds=5,
            fraction=1.0,
        ),
    }


# Convolutions are slow on two cores, most of all a decoder for each of ten classes:
# half the channels, a fifth of the batch, few steps, and the config's learning rate.
_M2_CONV = Budget(
    {
        "num_steps": 4_000,
        "batch_size": 20,
        "model.channels": (16, 32, 64),
        "eval_samples": 1,
        "log_every": 50,
        "eval_every": 250,
        "checkpoint_every": 500,
    },
    _m2_grids(alpha=(1.0, 10.0, 100.0, 300.0)),
    seeds=5,
    fraction=0.25,
)
_M2_MLP = Budget(
    {"num_steps": 12_000, "batch_size": 50, "eval_samples": 10, "eval_every": 500},
    _m2_grids(
        alpha=(0.1, 1.0, 10.0, 100.0, 300.0), learning_rate=(3e-4, 1e-3, 3e-3, 1e-2)
    ),
    seeds=5,
)

# Both training bounds and test bounds are ELBOs.
_ELBO = {"eval_samples": 1, "train_samples": 1, "report_samples": ()}


def _relax(steps: int, **more) -> Budget:
    """Batches of RELAX, so small that a choice before the end is too early."""
    fields = {"num_steps": steps, "batch_size": 24, **_ELBO, **more}
    return Budget(fields, _CPU_RATES, seeds=1, fraction=1.0)


def _gr_mc(samples: int) -> Budget:
    """Steps and batches of GR-MC, and our learning rates."""
    fields = {"num_steps": 50_000, "batch_size": 200, "eval_samples": samples}
    return Budget(fields, _CPU_RATES, seeds=1)


def _reinmax(steps: int, **more) -> Budget:
    """ReinMax's own, except for the temperatures, of which it names one, 1.3."""
    fields = {"num_steps": steps, "learning_rate": 5e-4, **_ELBO, **more}
    temperatures = 0.25, 0.5, 1.0, 1.3, 2.0
    grids = {"*": {"temperature": temperatures}, "*-straight_through": {}}
    return Budget(fields, grids, seeds=1)


_TRAIN_SMOKE = _SMOKE._replace(fields=_SMOKE.fields | _ELBO)
_WIDE = OPTIONS | {"gumbel_rao": {"options.inner_samples": 1000}}

TABLE_BUDGETS: Mapping[str, Mapping[str, Budget]] = {
    "jang_table1": {"smoke": _SMOKE, "cpu": _JANG_CPU, "paper": _JANG_PAPER},
    "jang_table2": _m2(_M2_CONV),
    "kingma_m2": _m2(_M2_MLP),
    "maddison_table1": _DENSITY,
    "maddison_table2": _DENSITY,
    # The weight decay that the paper chose, 1e-3, is not in the grid it prints.
    "maddison_structured": _maddison(100, 100, (0.0, 1e-3, 0.01, 0.1, 1.0)),
    "later_table1": {"smoke": _SMOKE, "cpu": _LATER_CPU, "paper": _JANG_PAPER},
    "relax": {
        "smoke": _TRAIN_SMOKE,
        "cpu": _relax(100_000),
        "paper": _relax(2_000_000, **_LONG),
    },
    "gr_mc": {
        "smoke": _SMOKE,
        "cpu": _gr_mc(1000),
        "paper": _gr_mc(5000)._replace(fraction=1.0, options=_WIDE),
    },
    "reinmax": {
        "smoke": _TRAIN_SMOKE,
        "cpu": _reinmax(50_000),
        # 160 epochs of 60,000 images.
        "paper": _reinmax(96_000, optimizer="radam")._replace(fraction=1.0),
    },
}
