"""Networks written as by Maddison, Mnih & Teh (2017): 200H~784V, 392V-240H-392V-4ary.

<units>H is a stochastic layer and <units>V pixels. A layer is of binary variables, or
with the suffix -4ary or -8ary of 4-ary or 8-ary ones, each of which takes the log2(n)
coordinates of a corner of {−1, 1}^log2(n), that many units.
"""

from collections.abc import Sequence
from typing import Any

# What may end a name; the group is the arity, None where the variables are binary.
ARITY = "(?:-([48])ary)?"

# Appendix D.5, by arity: λ1 of posteriors and of whole predictors, and λ2 of priors.
POSTERIOR_TEMPERATURES = {2: 2 / 3, 4: 1.0, 8: 2 / 3}
PRIOR_TEMPERATURES = {2: 1 / 2, 4: 2 / 3, 8: 2 / 5}


def variables(variant: str, units: Sequence[int], arity: int) -> tuple[int, ...]:
    """The number of variables in each layer of so many units.

    Raises:
        ValueError: if variables of that arity do not fill the units of a layer.
    """
    units_each = arity.bit_length() - 1  # log2
    for size in units:
        if size == 0 or size % units_each:
            raise ValueError(
                f"config variant {variant!r}: <units> must be a positive multiple of "
                f"{units_each}, the units of a {arity}-ary variable"
            )
    return tuple(size // units_each for size in units)


def fields(arity: int) -> dict[str, Any]:
    """The fields of a config that all such networks share."""
    return {
        "batch_size": 64,
        "temperature": POSTERIOR_TEMPERATURES[arity],
        "schedule.rate": 0.0,
        "schedule.minimum": 0.01,
        "model.family": "bernoulli" if arity == 2 else "categorical",
        "model.num_classes": arity,
        "model.code": "corners",
    }
