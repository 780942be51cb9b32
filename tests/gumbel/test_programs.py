"""The protocol: nodes, their densities, the forms of the KL, and key handling."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gumbel
from gumbel import programs

Q = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4)), jnp.float32)
P = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4)), jnp.float32)


def one_draw(logits, prior):
    """A program that returns its node, for looking at it."""

    def run(draw):
        node = draw("z", gumbel.Categorical(logits))
        return node.kl(gumbel.Categorical(prior))

    return run


def node_of(run, sampler):
    log_w, nodes = programs.interpret(run, jax.random.key(0), sampler)
    return log_w, nodes["z"]


def test_relaxed_node_scores_its_point_with_its_own_and_the_priors_temperature():
    _, node = node_of(one_draw(Q, P), programs.relaxed(0.6, 0.4, "relaxed_density"))
    y = jnp.log(node.value)
    prior = jnp.broadcast_to(P, Q.shape)
    np.testing.assert_allclose(
        node.log_q, gumbel.exp_concrete_log_prob(y, Q, 0.6).sum(1), rtol=1e-4
    )
    np.testing.assert_allclose(
        node.log_prob(gumbel.Categorical(P)),
        gumbel.exp_concrete_log_prob(y, prior, 0.4).sum(1),
        rtol=1e-4,
    )


def test_prior_temperature_defaults_to_the_posteriors():
    run = one_draw(Q, P)
    same, _ = node_of(run, programs.relaxed(0.6, None, "relaxed_density"))
    given, _ = node_of(run, programs.relaxed(0.6, 0.6, "relaxed_density"))
    other, _ = node_of(run, programs.relaxed(0.6, 0.4, "relaxed_density"))
    np.testing.assert_array_equal(same, given)
    assert (same != other).all()


def test_the_three_forms_against_their_formulas():
    log_q = np.asarray(jax.nn.log_softmax(Q), np.float64)
    log_p = np.asarray(jax.nn.log_softmax(P), np.float64)
    results = {
        kl: node_of(one_draw(Q, P), programs.relaxed(0.6, 0.4, kl))
        for kl in programs.KL_FORMS
    }
    density, node = results["relaxed_density"]
    np.testing.assert_allclose(
        density, node.log_q - node.log_prob(gumbel.Categorical(P)), rtol=1e-5
    )
    mass, node = results["soft_mass"]
    value = np.asarray(node.value, np.float64)
    np.testing.assert_allclose(mass, (value * (log_q - log_p)).sum((1, 2)), rtol=1e-4)
    analytic, _ = results["analytic"]
    np.testing.assert_allclose(
        analytic, (np.exp(log_q) * (log_q - log_p)).sum((1, 2)), rtol=1e-4
    )


def test_draw_keys_depend_on_the_name_and_not_on_the_order():
    def run_in(order):
        def run(draw):
            nodes = {name: draw(name, gumbel.Categorical(Q)) for name in order}
            return nodes["a"].log_q

        return run

    _, one = programs.interpret(run_in("ab"), jax.random.key(3), programs.hard())
    _, two = programs.interpret(run_in("ba"), jax.random.key(3), programs.hard())
    np.testing.assert_array_equal(one["a"].value, two["a"].value)
    np.testing.assert_array_equal(one["b"].value, two["b"].value)
    assert (one["a"].value != one["b"].value).any()


def test_draws_are_the_same_in_another_process():
    # Python's own hash() of a string differs from process to process.
    code = (
        "import jax, gumbel\n"
        "logits = jax.numpy.zeros((1, 64))\n"
        "run = lambda draw: draw('z', gumbel.Bernoulli(logits)).value.sum(1)\n"
        "_, nodes = gumbel.programs.interpret(\n"
        "    run, jax.random.key(0), gumbel.programs.hard())\n"
        "print(''.join(str(int(b)) for b in nodes['z'].value[0]))\n"
    )
    logits = jnp.zeros((1, 64))
    _, nodes = programs.interpret(
        lambda draw: draw("z", gumbel.Bernoulli(logits)).value.sum(1),
        jax.random.key(0),
        programs.hard(),
    )
    here = "".join(str(int(b)) for b in nodes["z"].value[0])
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert there.stdout.strip() == here


def test_samples_do_not_depend_on_how_many_are_drawn():
    def run(draw):
        return draw("z", gumbel.Categorical(Q)).log_q

    few, many = (
        jax.jit(
            lambda key, s=s: programs.sample_log_weights(run, key, programs.hard(), s)
        )(jax.random.key(4))
        for s in (2, 5)
    )
    assert many.shape == (5, 2)
    np.testing.assert_array_equal(few, many[:2])
    assert len(np.unique(np.asarray(many[:, 0]))) > 1


def twice(draw):
    draw("z", gumbel.Categorical(Q))
    return draw("z", gumbel.Categorical(Q)).log_q


def colliding(draw):
    # zlib.crc32 of both is 0x4ddb0c25.
    return draw("plumless", BITS).log_q + draw("buckeroo", BITS).log_q


def other_family(draw):
    return draw("z", gumbel.Categorical(Q)).kl(gumbel.Bernoulli(P))


BITS = gumbel.Bernoulli(Q[0])


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (twice, "draw 'z': a name can be drawn once"),
        (colliding, "draw 'buckeroo': has the hash of 'plumless'"),
        (lambda draw: draw(BITS), "draw(Bernoulli, …): a name comes first"),
        (
            lambda draw: draw("z", Q),
            "must be a Bernoulli, Categorical or Normal, as gumbel.Bernoulli(logits)",
        ),
        (
            lambda draw: draw("z", gumbel.Categorical(Q[0, 0])).log_q,
            "draw 'z': logits has shape (4,): must be [B, ..., K], and not empty",
        ),
        (
            lambda draw: draw("z", gumbel.Bernoulli(jnp.zeros((2, 0)))).log_q,
            "draw 'z': logits has shape (2, 0): must be [B, ...], and not empty",
        ),
        (
            lambda draw: draw("z", gumbel.Bernoulli(jnp.ones((2, 3), int))).log_q,
            "draw 'z': logits has dtype int32: must be floating point",
        ),
        (
            lambda draw: draw("z", gumbel.Normal(Q[0], jnp.ones(4))).log_q,
            "draw 'z': scale has shape (4,): must be [B, ...]",
        ),
        (
            lambda draw: draw("z", gumbel.Categorical(Q)).value,
            "program: log_w has shape (2, 3, 4): must be [B]",
        ),
        (
            lambda draw: draw("z", BITS).value.sum(0)[:0],
            "program: log_w has shape (0,): must be [B], and not empty",
        ),
        (
            lambda draw: draw("z", BITS).value.sum(0),
            "draw 'z': value has shape (3, 4): must have the batch first, of 4 as",
        ),
        (other_family, "prior is a Bernoulli: must be a Categorical"),
    ],
)
def test_bad_programs_are_named(run, message):
    with pytest.raises(ValueError) as error:
        programs.interpret(run, jax.random.key(0), programs.hard())
    assert message in str(error.value)


def test_unknown_kl_form_lists_the_forms():
    with pytest.raises(ValueError, match="kl='closed': must be one of relaxed_density"):
        programs.hard("closed")


@pytest.mark.parametrize("shape", [(3, 4), (5, 2, 3, 4)])
def test_a_prior_of_another_shape_is_named(shape):
    def program(logits):
        def run(draw):
            z = draw("z", gumbel.Categorical(logits))
            return -z.kl(gumbel.Categorical(jnp.zeros(shape)))

        return run

    evaluate = gumbel.evaluate(program, num_samples=1)
    with pytest.raises(ValueError, match="prior has shape .*broadcast to the draw's"):
        evaluate(jax.random.key(0), jnp.zeros((2, 2, 4)))
