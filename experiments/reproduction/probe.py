"""A program at fixed parameters and a batch, where gradient estimators are compared.

The options of a config are for the estimators that have them. Baselines and control
variates are learned from training batches before a gradient is looked at, while the
parameters stay.

Legend: P parameters that the draws depend on.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

import gumbel
from experiments import ConfigError
from experiments.cli.rules import check_config, common_rules
from experiments.engine.batches import batch_indices
from experiments.engine.hyper import hyper_parameters, static_options
from experiments.engine.step import INIT, ORDER
from experiments.engine.task import Task
from experiments.reproduction.runs import with_fields
from gumbel import quality

ESTIMATORS = gumbel.estimators.ESTIMATORS


def estimator_config(config: ConfigDict, name: str) -> ConfigDict:
    """The config with another estimator, and of the options only those it has."""
    others = [
        option for option in config.options if option not in ESTIMATORS[name].hyper
    ]
    fields = {f"options.{option}": None for option in others}
    return with_fields(config, fields | {"estimator": name})


def check_estimators(config: ConfigDict, names: Iterable[str]) -> None:
    """Checks that the estimators exist and have the options that are set.

    Raises:
        ConfigError: if not.
    """
    names = list(names)
    for name in names:
        if name not in ESTIMATORS:
            raise ConfigError(
                f"--estimators={name}: must be one of {', '.join(ESTIMATORS)}"
            )
        check_config(estimator_config(config, name), common_rules())
    known = {option for name in names for option in ESTIMATORS[name].hyper}
    for option, value in config.options.items():
        if value is not None and option not in known:
            raise ConfigError(
                f"config.options.{option}={value}: must be unset for "
                f"--estimators={','.join(names)}, none of which has such an option"
            )


class Probe:
    """A program at fixed parameters and a batch.

    Args:
        task: its program and training data.
        config: checked; its estimator does not matter.
        params: the parameters, which stay.
        examples: the size of the batch, the first training examples.
    """

    def __init__(self, task: Task, config: ConfigDict, params: Any, examples: int):
        self.task, self.config = task, config
        rows = jax.tree.map(lambda rows: rows[:examples], dict(task.data))
        # Compiled functions get it: XLA would spend long on folding constants.
        self.point = params, *task.batch(jax.random.key(0), rows)
        self._relevant = quality.draw_parameters(
            task.program, jax.random.key(1), *self.point
        )

    def hyper(self, name: str) -> dict[str, Any]:
        """An estimator's hyper-parameters, but for the temperature."""
        config = estimator_config(self.config, name)
        options = hyper_parameters(config)["options"]
        return {"kl": config.objective, **static_options(config), **options}

    def _compile(self, function: Callable) -> Callable:
        """Compiles a function of (point, *args) for this point."""
        return functools.partial(jax.jit(function), self.point)

    def _estimator(self, name: str) -> Callable[..., gumbel.Estimate]:
        m = self.config.num_samples
        return gumbel.value_and_grad(name, self.task.program, num_samples=m)

    def _gradient(self, name: str) -> Callable[..., jax.Array]:
        """Makes (point, key, temperature, state) -> gradient [P]."""
        estimate, hyper = self._estimator(name), self.hyper(name)

        def gradient(point, key, temperature, state):
            options = {"temperature": temperature, "state": state, **hyper}
            grads = jax.tree.leaves(estimate(key, *point, **options).grads)
            pairs = zip(grads, self._relevant, strict=True)
            return jnp.concatenate([g.ravel() for g, keep in pairs if keep])

        return gradient

    def gradient(self, name: str) -> Callable[..., jax.Array]:
        """Makes (key, temperature, state) -> gradient [P] of the batch's bound."""
        return self._compile(self._gradient(name))

    def moments(self, name: str, count: int) -> Callable[..., quality.Moments]:
        """Makes (key, temperature, state) -> moments of an estimator's gradient."""
        gradient = self._gradient(name)

        def moments(point, key, *args):
            draw = functools.partial(gradient, point)
            return quality.gradient_moments(lambda k: draw(k, *args), key, count)

        compiled = self._compile(moments)
        return lambda *args: compiled(*args)._replace(count=count)

    def zero_rows(self, name: str) -> Callable[..., jax.Array]:
        """Makes (key, temperature) -> share of variables without any gradient."""
        options = {"num_samples": self.config.num_samples, **self.hyper(name)}
        program = self.task.program

        def share(point, key, temperature):
            hyper = {"temperature": temperature, **options}
            return quality.zero_rows(name, program, key, *point, **hyper)

        return self._compile(share)

    def warm_up(self, name: str, steps: int) -> Callable[..., Any]:
        """Makes (key, temperature) -> an estimator's state after training batches.

        Args:
            name: the estimator.
            steps: the number of batches; without any the state is a fresh one.
        """
        estimate, task, hyper = self._estimator(name), self.task, self.hyper(name)

        def warm(point, data, key, temperature):
            init_key, order_key = (jax.random.fold_in(key, k) for k in (INIT, ORDER))
            fresh = estimate.init(init_key, *point, **hyper)
            if steps == 0:
                return fresh

            def step(state, at):
                count, index = at
                batch_key, noise_key = jax.random.split(jax.random.fold_in(key, count))
                args = task.batch(batch_key, jax.tree.map(lambda x: x[index], data))
                options = {"temperature": temperature, "state": state, **hyper}
                return estimate(noise_key, point[0], *args, **options).state, None

            sizes = task.num_examples, self.config.batch_size
            batches = jnp.arange(steps), batch_indices(order_key, 0, steps, *sizes)
            return jax.lax.scan(step, fresh, batches)[0]

        return functools.partial(self._compile(warm), dict(task.data))

    def reference(self, name: str, count: int) -> tuple[np.ndarray, float, str]:
        """The true gradient: enumerated where that is possible.

        Args:
            name: an unbiased estimator, where it is not.
            count: the draws of what is averaged: it, or enumerations where a Normal
                draw is left, which is sampled at every one.

        Returns:
            The gradient [P], E‖error‖² of it, and how it was found.

        Raises:
            ConfigError: if the estimator is biased.
        """
        try:
            gradient = self.gradient("exact")
            first, second = (
                np.asarray(gradient(jax.random.key(seed), 1.0, None)) for seed in (2, 8)
            )
            if (first == second).all():
                return first, 0.0, "exact"
            name = "exact"
        except ValueError:  # too many joint values to enumerate
            if not ESTIMATORS[name].unbiased:
                raise ConfigError(f"--reference={name}: must be unbiased") from None
        state = self.warm_up(name, 0)(jax.random.key(3), 1.0)
        moments = self.moments(name, count)(jax.random.key(3), 1.0, state)
        noise = float(moments.variance.sum()) / count
        return np.asarray(moments.mean), noise, f"mean of {count:,} {name}"
