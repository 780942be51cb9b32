"""Arithmetic coding in exact integers, with messages as short as theory allows.

A message is an interval within [0, 1): each symbol narrows the interval to a part in
proportion to its frequency (Rissanen & Langdon 1979). The width is the probability p of
the message, and the interval holds a binary fraction of ⌈−log₂ p⌉ + 1 digits with all
its continuations. Slow and simple: the integers are as long as the message.

Shapes: n symbols, K values.
"""

import itertools

import numpy as np

PRECISION = 16  # bits of a frequency


def frequencies(probabilities) -> np.ndarray:
    """Positive integers in proportion to probabilities.

    Args:
        probabilities: [..., K], K below 2^PRECISION.

    Returns:
        int64 [..., K], of sum 2^PRECISION over K.
    """
    p = np.asarray(probabilities, np.float64)
    counts = 1 + np.floor(p * (2**PRECISION - p.shape[-1])).astype(np.int64)
    rest = 2**PRECISION - counts.sum(-1, keepdims=True)
    likeliest = np.arange(p.shape[-1]) == p.argmax(-1)[..., None]
    return counts + rest * likeliest


def encode(symbols, tables) -> tuple[int, int]:
    """Encodes a message.

    Args:
        symbols: integers from 0 to K − 1, [n].
        tables: the frequencies of the values of each symbol, [n, K].

    Returns:
        The digits of the binary fraction as one integer, and their number.
    """
    scale = PRECISION * len(symbols) + 1
    low, width = 0, 1 << scale
    for symbol, counts in zip(symbols, np.asarray(tables).tolist(), strict=True):
        unit = width >> PRECISION  # exact: the width has that many factors of 2 left
        low, width = low + unit * sum(counts[:symbol]), unit * counts[symbol]
    # Enough digits that two steps of the last one fit into the interval.
    length = scale - width.bit_length() + 2
    return -(-low >> (scale - length)), length


def decode(digits: int, length: int, tables) -> list[int]:
    """Decodes the digits of `encode`, given the same tables, to a message [n]."""
    scale = PRECISION * len(tables) + 1
    offset, width = digits << (scale - length), 1 << scale
    symbols = []
    for counts in np.asarray(tables).tolist():
        unit = width >> PRECISION
        below = [0, *itertools.accumulate(counts)]
        symbol = sum(unit * end <= offset for end in below[1:])
        offset, width = offset - unit * below[symbol], unit * counts[symbol]
        symbols.append(symbol)
    return symbols
