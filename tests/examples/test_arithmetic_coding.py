"""Arithmetic coding: the length is the probability's, and the message comes back."""

from fractions import Fraction

import numpy as np
import pytest

from experiments.examples import arithmetic_coding as coding


def message(n, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes, 0.3), n)
    tables = coding.frequencies(p)
    return [int(rng.choice(classes, p=row)) for row in p], tables


@pytest.mark.parametrize("n", [1, 2, 7, 300])
def test_messages_come_back_at_the_promised_length(n):
    symbols, tables = message(n)
    digits, length = coding.encode(symbols, tables)
    assert coding.decode(digits, length, tables) == symbols
    probability = Fraction(1)
    for symbol, table in zip(symbols, tables.tolist(), strict=True):
        probability *= Fraction(table[symbol], sum(table))
    # ⌈−log₂ p⌉ + 1, from the exact p: 2^(length − 2) < 1 / p ≤ 2^(length − 1).
    assert Fraction(2) ** (length - 2) < 1 / probability <= 2 ** (length - 1)


def test_no_other_message_has_a_prefix_of_the_digits():
    # All messages of 3 symbols: as a prefix code they obey Kraft, and none is twice.
    tables = coding.frequencies([[0.5, 0.3, 0.2], [0.9, 0.05, 0.05], [0.1, 0.1, 0.8]])
    words = []
    for index in np.ndindex(3, 3, 3):
        digits, length = coding.encode(list(index), tables)
        assert coding.decode(digits, length, tables) == list(index)
        words.append(format(digits, f"0{length}b"))
    for a in words:
        assert sum(b.startswith(a) for b in words) == 1


def test_other_digits_are_another_message():
    symbols, tables = message(40)
    digits, length = coding.encode(symbols, tables)
    assert coding.decode(digits ^ 1 << (length - 1), length, tables) != symbols


def test_frequencies_are_whole_and_close():
    p = np.array([[0.7, 0.3, 0.0], [1 / 3, 1 / 3, 1 / 3]])
    counts = coding.frequencies(p)
    assert (counts >= 1).all() and (counts.sum(1) == 2**coding.PRECISION).all()
    np.testing.assert_allclose(counts / 2**coding.PRECISION, p, atol=1e-4)
