"""What an estimator is: a pair of pure functions and what it promises.

An estimator interprets a program. `estimate` runs it with draws of its choosing and
returns a surrogate [B] whose value is the bound and whose gradient, by ordinary
differentiation, is the gradient estimate. `init` makes the state that estimators with
learned baselines or moving averages carry from step to step.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from gumbel.checks import check_choice, check_positive
from gumbel.distributions import Distribution
from gumbel.programs import KL_FORMS, Run

State = Any

# Describe the relaxation and the objective rather than an estimator: every estimator
# takes them, so that one call compares them all, and those without use ignore them.
COMMON_HYPER: Mapping[str, Any] = {
    "temperature": 1.0,
    "prior_temperature": None,
    "kl": "relaxed_density",
}


@dataclasses.dataclass(frozen=True)
class Estimator:
    """A gradient estimator for stochastic programs.

    Attributes:
        init: (key, run, hyper) -> state; `()` where there is none.
        estimate: (key, run, state, hyper) -> (surrogate [B], new state). `hyper` holds
            every hyper-parameter and `num_samples`; `run` is `program(params, *args)`.
        hyper: own hyper-parameters and their defaults, beside COMMON_HYPER.
        families: the distributions it can draw; Normal is always reparameterised.
        samples: the allowed numbers of samples, (least, most); None: no limit.
        unbiased: whether its expectation is the gradient of the bound on the hard
            program, for any program.
        cost: evaluations of the program in a step, m being the number of samples; an
            explanation may follow after a comma or a colon.
        reference: the paper and its equation.
    """

    init: Callable[[Any, Run, Mapping], State]
    estimate: Callable[[Any, Run, State, Mapping], tuple[jax.Array, State]]
    hyper: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    families: tuple[str, ...] = ("Bernoulli", "Categorical", "Normal")
    samples: tuple[int, int | None] = (1, None)
    unbiased: bool = False
    cost: str = "m"
    reference: str = ""

    @property
    def evaluations(self) -> str:
        """The cost without its explanation."""
        return self.cost.split(":")[0].split(",")[0]

    def complete(self, num_samples: int, given: Mapping[str, Any]) -> dict[str, Any]:
        """All hyper-parameters: the given ones, checked, over the defaults.

        Raises:
            ValueError: if a name is unknown, a concrete temperature is not positive and
                finite, `kl` is no form, or the number of samples is not supported.
        """
        defaults = {**COMMON_HYPER, **self.hyper}
        for name, value in given.items():
            if name not in defaults:
                raise ValueError(
                    f"{name}={value!r}: unknown hyper-parameter, "
                    f"must be one of {', '.join(defaults)}"
                )
        hyper = {**defaults, **given}
        check_choice("kl", hyper["kl"], KL_FORMS)
        for name in ("temperature", "prior_temperature"):
            if hyper[name] is not None:
                check_positive(name, hyper[name])
        return {**hyper, "num_samples": num_samples}

    def check_samples(self, name: str, num_samples: int) -> None:
        """Checks the number of samples.

        Raises:
            ValueError: if the estimator does not support that many.
        """
        least, most = self.samples
        allowed = f"≥ {least}" if most is None else f"from {least} to {most}"
        if (
            not isinstance(num_samples, int)
            or isinstance(num_samples, bool)
            or num_samples < least
            or (most is not None and num_samples > most)
        ):
            raise ValueError(
                f"num_samples={num_samples!r}: must be an integer {allowed} "
                f"for the estimator {name}"
            )

    def restrict(self, name: str, run: Run) -> Run:
        """The program, refusing draws of families the estimator cannot handle."""

        def restricted(draw):
            def checked(draw_name: str, distribution: Distribution):
                family = type(distribution).__name__
                if family in ("Bernoulli", "Categorical", "Normal"):
                    if family not in self.families:
                        raise ValueError(
                            f"draw {draw_name!r}: distribution={family}: "
                            f"the estimator {name} supports {', '.join(self.families)}"
                        )
                return draw(draw_name, distribution)

            return run(checked)

        return restricted


def stateless(key, run: Run, hyper: Mapping) -> tuple:
    """The `init` of estimators that carry nothing from step to step."""
    del key, run, hyper
    return ()
