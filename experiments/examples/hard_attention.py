"""Hard attention: a classifier that looks at one patch of a cluttered canvas.

One of 16 cells of a canvas has a digit of MNIST, the others have torn ones. A small net
sees the cells at a quarter of the resolution and chooses one; the classifier gets that
cell and no other. A mixture is not admissible, so training is straight-through: one
cell forward, the gradient of the softmax backward. In evaluation: the likeliest cell.

Expected, 1,000 steps, seed 0: 100.0 % looked at, 92.7 % classified (chance 6, 10 %).
"""

import jax
import jax.numpy as jnp
import optax

import gumbel
from experiments.data import datasets
from experiments.examples import command_line
from experiments.models import nets

CELLS, SIDE = 16, 14
LOOK, CLASSIFY = nets.Mlp((32,), 1), nets.Mlp((128,), 10)
OPTIMIZER = optax.adam(1e-3)
TEMPERATURE = gumbel.schedules.exponential(2.0, 0.5, rate=1e-3, every=100)


def load(split):
    """Digits at half the resolution, [n, 14, 14] in [0, 1], and their labels [n]."""
    images = split.images.reshape(-1, SIDE, 2, SIDE, 2).mean((2, 4)) / 255
    return jnp.asarray(images, jnp.float32), jnp.asarray(split.labels)


def make_canvases(key, batch, images, labels):
    """Canvases [B, P, D], the cell that has the digit [B], and its label [B]."""
    row_key, cell_key = jax.random.split(key)
    rows = jax.random.randint(row_key, (batch, CELLS), 0, len(images))
    cells = jax.random.randint(cell_key, (batch,), 0, CELLS)
    whole = jax.nn.one_hot(cells, CELLS, dtype=bool)[..., None, None]
    torn = jnp.roll(images[rows], (SIDE // 2, SIDE // 2), axis=(2, 3))
    canvases = jnp.where(whole, images[rows], torn).reshape(batch, CELLS, -1)
    return canvases, cells, labels[rows[jnp.arange(batch), cells]]


def look(params, canvases):
    """Where to look, by a quarter of the resolution: logits [B, P]."""
    coarse = canvases.reshape(-1, CELLS, 7, 2, 7, 2).mean((3, 5))
    return LOOK.apply(params["look"], coarse.reshape(-1, CELLS, 49))[..., 0]


def loss(params, key, temperature, canvases, labels):
    """Cross-entropy in nats, given the one cell that was drawn."""
    choice = gumbel.gumbel_softmax(key, look(params, canvases), temperature, hard=True)
    seen = (choice[..., None] * canvases).sum(1)
    scores = CLASSIFY.apply(params["classify"], seen)
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()


@jax.jit
def train(state, key, steps, images, labels):
    """Trains for the steps [T]; returns the new state and the losses [T]."""

    def step(state, t):
        params, opt_state = state
        canvas_key, draw_key = jax.random.split(jax.random.fold_in(key, t))
        canvases, _, digits = make_canvases(canvas_key, 64, images, labels)
        inputs = draw_key, TEMPERATURE(t), canvases, digits
        value, grads = jax.value_and_grad(loss)(params, *inputs)
        updates, opt_state = OPTIMIZER.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    return jax.lax.scan(step, state, steps)


@jax.jit
def evaluate(params, canvases, cells, labels):
    """Shares of canvases where the digit is looked at, and classified rightly."""
    choice = look(params, canvases).argmax(1)  # no noise, and no other cell is read
    seen = canvases[jnp.arange(len(canvases)), choice]
    right = CLASSIFY.apply(params["classify"], seen).argmax(1) == labels
    return (choice == cells).mean(), right.mean()


def main(steps: int = 1000, seed: int = 0):
    """Trains and evaluates on test digits; returns (found, accuracy)."""
    dataset = datasets.load("mnist")
    digits = load(dataset.train)
    look_key, class_key, key, test_key = jax.random.split(jax.random.key(seed), 4)
    params = {"look": LOOK.init(look_key, jnp.zeros((1, 49)))}
    params["classify"] = CLASSIFY.init(class_key, jnp.zeros((1, SIDE * SIDE)))
    state = params, OPTIMIZER.init(params)
    for numbers in jnp.arange(steps).reshape(10, -1):
        state, losses = train(state, key, numbers, *digits)
        print(f"step {numbers[-1] + 1}: loss {losses.mean():.3f} nats")
    canvases = make_canvases(test_key, 4000, *load(dataset.test))
    found, accuracy = map(float, evaluate(state[0], *canvases))
    print(f"test: looks at the digit {found:.1%}, classifies it {accuracy:.1%}")
    return found, accuracy


if __name__ == "__main__":
    command_line.run(main)
