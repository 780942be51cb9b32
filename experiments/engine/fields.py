"""Configs and results as flat fields: dotted names, and what two of them differ in."""

import json
from collections.abc import Mapping
from typing import Any


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens nested mappings to one with dotted names.

    Args:
        config: nested mappings; an empty one counts as a value.

    Returns:
        `{"a.b": 1}` for `{"a": {"b": 1}}`.
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{rest}": leaf for rest, leaf in flatten(value).items()}
        else:
            flat[name] = value
    return flat


def differences(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Names what differs between two flat mappings, with both its values.

    Values are compared as text, in which a tuple is the list that it becomes in a
    file, nan equals nan, and 1 differs from 1.0 and true, as in the hash of a
    configuration. Floats are equal if all their bits are.

    Args:
        theirs: the values "there".
        ours: the values "now".
    """
    there, here = (
        {name: canonical(value) for name, value in flat.items()}
        for flat in (theirs, ours)
    )
    return [
        f"{name} is {there.get(name, 'absent')} there, {here.get(name, 'absent')} now"
        for name in sorted(there | here)
        if there.get(name) != here.get(name)
    ]


def canonical(value: Any) -> str:
    """The text of a value, the same whatever the order of its fields."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
