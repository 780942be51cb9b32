"""Traced and static fields of a config."""

import dataclasses

import jax

import runs
from experiments.engine import hyper
from experiments.engine.optimizer import optimizer_hyper
from gumbel.estimators import ESTIMATORS

TRACED = (
    "learning_rate weight_decay clip_norm temperature prior_temperature "
    "schedule.minimum schedule.rate schedule.every slope.rate slope.maximum "
    "options.baseline_decay"
)


def test_what_is_not_static_is_traced():
    fields = {"prior_temperature": 1.0, "options.baseline_decay": 0.9, "clip_norm": 1.0}

    def traced(config):
        return hyper.hyper_parameters(config), optimizer_hyper(config)

    base = runs.config(**fields)
    static, before = hyper.static_fields(base), traced(base)
    for field in TRACED.split():
        changed = runs.config(**fields | {field: 7})
        pairs = zip(*map(jax.tree.leaves, (before, traced(changed))), strict=True)
        assert sum(float(a) != float(b) for a, b in pairs) == 1
        assert hyper.static_fields(changed) == static
        assert hash(hyper.static_fields(changed)) == hash(static)
    assert hyper.static_fields(runs.config(**fields, seed=1)) == static
    others = (
        *({"objective": "analytic"}, {"model__num_classes": 3}, {"warmup_steps": 1}),
        {"learning_rate_schedule": "cosine"},
    )
    for other in others:
        assert hyper.static_fields(runs.config(**fields, **other)) != static
    assert hyper.static_fields(runs.config()) != static  # what is unset is no input


def test_options_that_set_shapes_are_static_and_reach_the_estimator():
    many, few = (
        runs.config(estimator="gumbel_rao", options__inner_samples=n) for n in (2, 1)
    )
    assert hyper.static_fields(many) != hyper.static_fields(few)
    assert "inner_samples" not in hyper.hyper_parameters(many)["options"]
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
