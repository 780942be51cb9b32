"""Which published orderings of estimators hold in our records, for any table."""

import itertools
from collections.abc import Mapping
from typing import NamedTuple


class Orderings(NamedTuple):
    """Published orderings of two estimators, by what they are in our records."""

    holds: list[str]
    ties: list[str]
    reverse: list[str]


def orderings(
    published: Mapping[str, float], ours: Mapping[str, float], tie: float
) -> Orderings:
    """Sorts the published orderings of what both have by whether they hold.

    Args:
        published: the papers' numbers by estimator, less is better.
        ours: the same.
        tie: numbers that are closer are in no order.
    """
    result = Orderings([], [], [])
    names = [name for name in published if name in ours]
    for better, worse in itertools.permutations(names, 2):
        if published[worse] - published[better] <= tie:
            continue
        gap = ours[worse] - ours[better]
        strict = result.holds if gap > 0 else result.reverse
        kind = result.ties if abs(gap) <= tie else strict
        kind.append(f"`{better}` before `{worse}`")
    return result


def said(where: str, found: Orderings, tie: float) -> str:
    """Orderings in a sentence."""
    count = sum(map(len, found))
    lines = [
        f"{where}: of the {count} published orderings by more than {tie} nats, "
        f"{len(found.holds)} hold"
    ]
    lines += [f"within {tie} nats here: {', '.join(found.ties)}"] if found.ties else []
    if found.reverse:
        lines.append(f"the other way round: {', '.join(found.reverse)}")
    return "; ".join(lines) + "."
