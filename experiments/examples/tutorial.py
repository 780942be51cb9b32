# %% [markdown]
# # Discrete reparameterisation in pictures
#
# How to train through a discrete choice: Gumbel-Max, its relaxation, the temperature,
# and straight-through. A script, `python -m experiments.examples.tutorial`, and a
# notebook where an editor knows the `# %%` cells. Figures go to `runs/tutorial`.

# %%
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib import pyplot as plt

import gumbel

FIGURES = Path("runs/tutorial")
FIGURES.mkdir(parents=True, exist_ok=True)
key = jax.random.key(0)

# %% [markdown]
# ## 1. Gumbel-Max: a sample is an argmax of noisy logits
#
# Add to each logit noise of its own, G = −log(−log U), and take the largest: the class
# k comes out with probability softmax(logits)_k, exactly. The noise does not depend on
# the logits: randomness is an *input* now, and the choice a function of the logits.

# %%
logits = jnp.array([0.0, 1.0, 2.0, 0.5])
probabilities = jax.nn.softmax(logits)
draw_key = jax.random.fold_in(key, 1)
samples = gumbel.gumbel_max(draw_key, jnp.tile(logits, (20_000, 1)))
frequencies = samples.mean(axis=0)

figure, axes = plt.subplots(figsize=(5, 3))
classes = np.arange(len(logits))
axes.bar(classes - 0.2, np.asarray(probabilities), 0.4, label="softmax(logits)")
axes.bar(classes + 0.2, np.asarray(frequencies), 0.4, label="20,000 draws")
axes.set(xlabel="class", ylabel="probability", title="Gumbel-Max", xticks=classes)
axes.legend()
figure.savefig(FIGURES / "gumbel_max.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# ## 2. The relaxation: softmax for argmax
#
# An argmax has no useful gradient: it is flat, with jumps. A softmax of the same noisy
# logits, divided by a temperature τ, has one everywhere. Each point below is a sample
# over three classes; a corner is a class, and colour says which class Gumbel-Max gives
# for the same noise. Low τ: close to the corners. High τ: close to the middle,
# whatever the logits say.

# %%
three = jnp.tile(jnp.array([0.0, 0.5, 1.0]), (1500, 1))
noise_key = jax.random.fold_in(key, 2)
winners = gumbel.gumbel_max(noise_key, three).argmax(axis=1)
corners = jnp.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
temperatures = (0.1, 0.5, 1.0, 5.0)
relaxed = {t: gumbel.gumbel_softmax(noise_key, three, t) for t in temperatures}

figure, row = plt.subplots(1, 4, figsize=(12, 3), sharex=True, sharey=True)
for axes, (temperature, points) in zip(row, relaxed.items(), strict=True):
    axes.fill(*corners.T, facecolor="none", edgecolor="0.6")
    axes.scatter(*(points @ corners).T, c=winners, s=3, cmap="viridis")
    axes.set(title=f"τ = {temperature}", aspect="equal")
    axes.axis("off")
figure.savefig(FIGURES / "simplex.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# Between two classes the noise is logistic and the sample a sigmoid: the binary
# Concrete. Its density, for a probability of 0.6: at τ = 1/2 it has its peaks at 0 and
# 1, at τ = 2 in between, where no discrete value is.

# %%
grid = jnp.linspace(0.001, 0.999, 999)
log_odds = jax.scipy.special.logit(0.6)
densities = {
    t: jnp.exp(gumbel.binary_concrete_log_prob(grid, log_odds, t))
    for t in (0.5, 1.0, 2.0)
}

figure, axes = plt.subplots(figsize=(5, 3))
for temperature, density in densities.items():
    axes.plot(grid, density, label=f"τ = {temperature}")
axes.set(xlabel="x", ylabel="density", ylim=(0, 4), title="binary Concrete, p = 0.6")
axes.legend()
figure.savefig(FIGURES / "density.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# ## 3. The temperature: bias against noise
#
# What is wanted is the gradient of E[f(z)], z one-hot; with few classes it can be
# summed up exactly. The gradient through a relaxed sample is one of E[f(x)], x on the
# simplex, which is another function: a bias, which falls with τ, while the noise grows.
# Straight-through, the next section, has f at the hard sample and its slope there: that
# is the slope of no other function either, and its bias need not vanish.

# %%
payoff = jnp.array([2.0, 1.0, -1.0])


def cost(z):
    """A cost that is not linear in z, [...]."""
    return jnp.exp(-(z @ payoff))


def exact_cost(logits):
    """E[cost(z)], summed over the classes."""
    return jax.nn.softmax(logits) @ cost(jnp.eye(3))


def sampled_cost(logits, key, temperature, hard):
    """The cost of one sample."""
    return cost(gumbel.gumbel_softmax(key, logits, temperature, hard=hard))


start = jnp.array([0.0, 0.5, 1.0])
exact = jax.grad(exact_cost)(start)
many = jax.random.split(jax.random.fold_in(key, 3), 40_000)
sweep = jnp.array([0.1, 0.2, 0.5, 1.0, 2.0, 5.0])


def moments(hard):
    """Mean and variance of the gradient in the logits at each temperature, [T, 3]."""

    def at_temperature(temperature):
        gradient = jax.grad(sampled_cost)
        samples = jax.vmap(lambda key: gradient(start, key, temperature, hard))(many)
        return samples.mean(axis=0), samples.var(axis=0)

    return jax.jit(jax.vmap(at_temperature))(sweep)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
estimates = {"Gumbel-Softmax": moments(False), "straight-through": moments(True)}
for name, (mean, variance) in estimates.items():
    bias = jnp.linalg.norm(mean - exact[None], axis=1)
    left.plot(sweep, bias / jnp.linalg.norm(exact), "o-", label=name)
    right.plot(sweep, variance.sum(1) ** 0.5 / jnp.linalg.norm(exact), "o-", label=name)
left.set(xscale="log", yscale="log", xlabel="τ", title="relative bias")
right.set(xscale="log", yscale="log", xlabel="τ", title="relative standard deviation")
right.legend()
figure.savefig(FIGURES / "bias_and_noise.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# ## 4. Straight-through: hard forward, soft backward
#
# Where a soft value is not admissible (an index, a gate that must be shut), `hard=True`
# returns the one-hot sample and keeps the gradient of the softmax. For one noise, a
# binary variable as a function of its log-odds: the value jumps, the slope is smooth.

# %%
ramp = jnp.linspace(-6.0, 6.0, 241)
one_key = jax.random.fold_in(key, 4)


def bit(log_odds, hard):
    """A binary sample with the same noise for all log-odds."""
    return gumbel.binary_concrete(one_key, log_odds, 0.5, hard=hard)


over_ramp = jax.vmap(jax.value_and_grad(bit), in_axes=(0, None))
over_ramp = jax.jit(over_ramp, static_argnums=1)
curves = {hard: over_ramp(ramp, hard) for hard in (True, False)}

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
for (hard, (values, slopes)), style in zip(curves.items(), ("-", "--"), strict=True):
    left.plot(ramp, values, style, label=f"hard={hard}")
    right.plot(ramp, slopes, style, label=f"hard={hard}")
left.set(xlabel="log-odds", title="value")
right.set(xlabel="log-odds", title="gradient: the same")
left.legend()
figure.savefig(FIGURES / "straight_through.png", dpi=120, bbox_inches="tight")

# %% [markdown]
# ## 5. Training: anneal, then be discrete
#
# Minimise E[cost(z)] over the logits. Start warm, where the gradient is quiet, and cool
# down, where it is right: the schedule is a function of the step and the temperature a
# traced number, so nothing recompiles. In the end take the argmax: no temperature.

# %%
schedule = gumbel.schedules.exponential(2.0, 0.2, rate=1e-2, every=1)
optimizer = optax.adam(0.05)
train_key = jax.random.fold_in(key, 5)


def step(carry, t):
    """One step on 16 draws; returns the probabilities before it."""
    logits, opt_state = carry
    draws = jax.random.split(jax.random.fold_in(train_key, t), 16)

    def loss(logits):
        costs = jax.vmap(sampled_cost, in_axes=(None, 0, None, None))
        return costs(logits, draws, schedule(t), False).mean()

    updates, opt_state = optimizer.update(jax.grad(loss)(logits), opt_state)
    return (optax.apply_updates(logits, updates), opt_state), jax.nn.softmax(logits)


steps = jnp.arange(400)
run = jax.jit(lambda carry: jax.lax.scan(step, carry, steps))
(trained, _), history = run((start, optimizer.init(start)))
best = trained.argmax()

figure, axes = plt.subplots(figsize=(5, 3))
axes.plot(steps, history, label=[f"cost {c:.2f}" for c in np.asarray(cost(jnp.eye(3)))])
axes.plot(steps, schedule(steps) / 2, "k:", label="τ / 2")
axes.set(xlabel="step", ylabel="probability", title="the cheapest class is found")
axes.legend()
figure.savefig(FIGURES / "training.png", dpi=120, bbox_inches="tight")
print(f"class {best} of cost {cost(jnp.eye(3))[best]:.2f}; figures in {FIGURES}")
