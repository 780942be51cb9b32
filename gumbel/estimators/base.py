"""The estimator record: a pair of pure functions, and what they promise.

An estimator interprets a program. `estimate` runs it with draws of its choice and
returns a surrogate [B] whose value is the bound and whose gradient, by ordinary
differentiation, is the gradient estimate. `init` makes the state that estimators with
learned baselines or moving averages carry from step to step.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax

from gumbel.checks import check_choice, check_positive, is_integer
from gumbel.distributions import Bernoulli, Distribution
from gumbel.logits import bit_logits, class_logits
from gumbel.nodes import KL_FORMS
from gumbel.programs import Run
from gumbel.samplers import of_variables

State = Any
Hyper = Mapping[str, Any]

# Describe the relaxation and the objective rather than an estimator: every estimator
# takes them, so that one call compares them all, and those without use ignore them.
COMMON_HYPER: Hyper = {
    "temperature": 1.0,
    "prior_temperature": None,
    "kl": "relaxed_density",
}


def logits_of(distribution: Distribution) -> jax.Array:
    """A discrete distribution's logits in float32, those of impossible values −inf."""
    if isinstance(distribution, Bernoulli):
        return bit_logits(distribution.logits)
    return class_logits(distribution.logits)


def squash(distribution: Distribution, logits: jax.Array, temperature=1.0) -> jax.Array:
    """sigmoid or softmax of logits / τ, with τ a scalar or one a variable."""
    if isinstance(distribution, Bernoulli):
        return jax.nn.sigmoid(logits / of_variables(temperature, logits))
    return jax.nn.softmax(logits / of_variables(temperature, logits, axis=-1))


def stateless(key: jax.Array, run: Run, hyper: Hyper) -> tuple:
    """The `init` of estimators that carry nothing from step to step."""
    del key, run, hyper
    return ()


@dataclasses.dataclass(frozen=True)
class Estimator:
    """A gradient estimator for stochastic programs.

    Attributes:
        init: (key, run, hyper) -> state; `()` where there is none.
        estimate: (key, run, state, hyper) -> (surrogate [B], new state). `hyper` holds
            every hyper-parameter and `num_samples`; `run` is `program(params, *args)`.
        hyper: hyper-parameters and their defaults, beside COMMON_HYPER. Integers and
            strings are static; floats can be traced.
        families: the distributions it can draw; Normal is always reparameterised.
        samples: the allowed numbers of samples, (least, most), most None where there
            is no limit. By default 1: an `estimate` that runs the program once
            estimates the bound of one sample, whatever `num_samples` says.
        unbiased: whether its expectation is the gradient of the bound on the hard
            program, for any program.
        cost: evaluations of the program in a step, m being the number of samples; an
            explanation may follow after a comma or a colon.
        reference: the paper and its equation.
        law: (distribution, hyper) -> the distribution that a draw has instead, in
            training and in evaluation, where the estimator changes the network.
    """

    init: Callable[[jax.Array, Run, Hyper], State]
    estimate: Callable[[jax.Array, Run, State, Hyper], tuple[jax.Array, State]]
    hyper: Hyper = dataclasses.field(default_factory=dict)
    families: tuple[str, ...] = ("Bernoulli", "Categorical", "Normal")
    samples: tuple[int, int | None] = (1, 1)
    unbiased: bool = False
    cost: str = "m"
    reference: str = ""
    law: Callable[[Distribution, Hyper], Distribution] | None = None

    @property
    def evaluations(self) -> str:
        """The cost without its explanation."""
        return self.cost.split(":")[0].split(",")[0]

    def complete(self, num_samples: int, hyper: Hyper) -> dict[str, Any]:
        """The given hyper-parameters, checked, over the defaults.

        Raises:
            ValueError: if a name is unknown, a concrete temperature is not positive and
                finite, or `kl` is no form.
        """
        defaults = {**COMMON_HYPER, **self.hyper}
        for name, value in hyper.items():
            if name not in defaults:
                raise ValueError(
                    f"{name}={value!r}: unknown hyper-parameter, "
                    f"must be one of {', '.join(defaults)}"
                )
        hyper = {**defaults, **hyper}
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
            not is_integer(num_samples)
            or num_samples < least
            or (most is not None and num_samples > most)
        ):
            raise ValueError(
                f"num_samples={num_samples!r}: must be an integer {allowed} "
                f"for the estimator {name}"
            )

    def apply_to(self, name: str, run: Run, hyper: Hyper) -> Run:
        """The program with the estimator's law, refusing families it cannot draw."""

        def restricted(draw):
            def checked(draw_name: str, distribution: Distribution | None = None):
                if isinstance(distribution, Distribution):
                    family = type(distribution).__name__
                    if family not in self.families:
                        raise ValueError(
                            f"draw {draw_name!r}: distribution={family}: "
                            f"the estimator {name} supports {', '.join(self.families)}"
                        )
                    if self.law is not None:
                        distribution = self.law(distribution, hyper)
                return draw(draw_name, distribution)

            return run(checked)

        return restricted
