"""Hard memory addressing: following pointers through a memory that is read by index.

Each of 16 slots has a symbol and, as a code of 32 bits, a pointer to another slot; the
code that was read says which slot to read next. In evaluation an address is an integer:
soft attention is not allowed. So it is one-hot forward in training, with the gradient
of the softmax. Trained on the symbols of 3 hops; an exact hop can be repeated.

Expected, 1,000 steps, seed 0: of 1,000 chains 100.0 % right after 1 hop and after 100.
"""

import jax
import jax.numpy as jnp
import optax

import gumbel
from experiments.examples import command_line

SLOTS, BITS, SYMBOLS, HOPS = 16, 32, 10, 3
OPTIMIZER = optax.adam(1e-2)
TEMPERATURE = gumbel.schedules.exponential(2.0, 0.5, rate=2e-3, every=50)


def make_memory(key, batch):
    """Where slots point to [B, SLOTS], and their symbols [B, SLOTS]."""
    pointer_key, symbol_key = jax.random.split(key)
    pointers = jax.random.randint(pointer_key, (batch, SLOTS), 0, SLOTS)
    return pointers, jax.random.randint(symbol_key, (batch, SLOTS), 0, SYMBOLS)


def loss(params, key, temperature, codes, pointers, symbols):
    """Cross-entropy in nats of the symbols of HOPS slots, from slot 0."""
    contents = jnp.concatenate([codes[pointers], jnp.eye(SYMBOLS)[symbols]], axis=2)
    rows, slot = jnp.arange(len(pointers)), jnp.zeros(len(pointers), int)
    code, nll = codes[slot], 0.0
    for hop_key in jax.random.split(key, HOPS):
        logits = code @ params["address"]
        address = gumbel.gumbel_softmax(hop_key, logits, temperature, hard=True)
        code, symbol = jnp.split((address[..., None] * contents).sum(1), [BITS], axis=1)
        log_p = jax.nn.log_softmax(symbol @ params["symbol"])
        nll -= log_p[rows, symbols[rows, slot]].mean() / HOPS
        slot = pointers[rows, slot]
    return nll


@jax.jit
def train(state, key, steps, codes):
    """Trains for the steps [T]; returns the new state and the losses [T]."""

    def step(state, t):
        params, opt_state = state
        memory_key, draw_key = jax.random.split(jax.random.fold_in(key, t))
        inputs = draw_key, TEMPERATURE(t), codes, *make_memory(memory_key, 64)
        value, grads = jax.value_and_grad(loss)(params, *inputs)
        updates, opt_state = OPTIMIZER.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), value

    return jax.lax.scan(step, state, steps)


@jax.jit
def follow(params, codes, pointers, symbols):
    """The accuracy of the symbols after each of 100 hops, [100]."""
    rows, start = jnp.arange(len(pointers)), jnp.zeros(len(pointers), int)

    def hop(carry, _):
        slot, code = carry
        address = (code @ params["address"]).argmax(1)  # an integer, no noise
        guess = params["symbol"][symbols[rows, address]].argmax(1)
        following = pointers[rows, slot], codes[pointers[rows, address]]
        return following, (guess == symbols[rows, slot]).mean()

    return jax.lax.scan(hop, (start, codes[start]), length=100)[1]


def main(steps: int = 1000, seed: int = 0):
    """Trains, follows 1,000 chains; returns the accuracy after each hop, [100]."""
    code_key, init_key, key, test_key = jax.random.split(jax.random.key(seed), 4)
    codes = jax.random.rademacher(code_key, (SLOTS, BITS), float)  # how slots are named
    address = 0.1 * jax.random.normal(init_key, (BITS, SLOTS))
    params = {"address": address, "symbol": jnp.eye(SYMBOLS)}
    state = params, OPTIMIZER.init(params)
    for numbers in jnp.arange(steps).reshape(10, -1):
        state, losses = train(state, key, numbers, codes)
        print(f"step {numbers[-1] + 1}: loss {losses.mean():.3f} nats")
    right = follow(state[0], codes, *make_memory(test_key, 1000))
    print(f"test: {right[0]:.1%} right after 1 hop, {right[-1]:.1%} after 100")
    return right


if __name__ == "__main__":
    command_line.run(main)
