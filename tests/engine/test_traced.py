"""Which fields of a config are traced, and which a compiled step depends on."""

import dataclasses

import jax

import runs
from experiments.engine import traced
from gumbel.estimators import ESTIMATORS

TRACED = (
    "learning_rate weight_decay temperature prior_temperature schedule.minimum "
    "schedule.rate schedule.every slope.rate slope.maximum options.baseline_decay"
)


def test_what_is_not_static_is_traced():
    options = {"prior_temperature": 1.0, "options.baseline_decay": 0.9}
    base = runs.config(**options)
    static, before = traced.static_fields(base), traced.hyper_parameters(base)
    for field in TRACED.split():
        changed = runs.config(**options | {field: 7})
        after = jax.tree.leaves(traced.hyper_parameters(changed))
        pairs = zip(jax.tree.leaves(before), after, strict=True)
        assert sum((a != b).item() for a, b in pairs) == 1
        assert traced.static_fields(changed) == static
    assert traced.static_fields(runs.config(**options, seed=1)) == static
    for others in ({"objective": "analytic"}, {"model__num_classes": 3}):
        assert traced.static_fields(runs.config(**options, **others)) != static
    assert traced.static_fields(runs.config()) != static  # what is unset is no input


def test_options_that_set_shapes_are_static_and_reach_the_estimator():
    many, few = (
        runs.config(estimator="gumbel_rao", options__inner_samples=n) for n in (2, 1)
    )
    assert traced.static_fields(many) != traced.static_fields(few)
    assert "inner_samples" not in traced.hyper_parameters(many)["options"]
    params = [runs.run_chunk(runs.task(), c, 1)[0].params for c in (many, few)]
    assert (params[0]["encoder"] != params[1]["encoder"]).any()


def test_options_of_a_users_own_estimator_reach_it(monkeypatch):
    seen = {}

    def estimate(key, run, state, hyper):
        seen.update(hyper)
        return base.estimate(key, run, state, hyper)

    base = ESTIMATORS["gumbel_softmax"]
    hyper = {"mode": "fast", "sizes": (1,), "gain": 1.0}
    own = dataclasses.replace(base, estimate=estimate, hyper=hyper)
    monkeypatch.setitem(ESTIMATORS, "own", own)
    config = runs.config(estimator="own")
    with config.unlocked():
        config.options.update(mode="slow", sizes=(2, 3), gain=2.0)
    runs.run_chunk(runs.task(), config, 1)
    assert (seen["mode"], seen["sizes"]) == ("slow", (2, 3))
    assert isinstance(seen["gain"], jax.core.Tracer)
