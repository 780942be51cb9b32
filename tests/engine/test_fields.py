from experiments.engine import fields


def test_flatten():
    config = {"a": {"b": {"c": 1}, "d": {}}, "e": [1, {"f": 2}]}
    assert fields.flatten(config) == {"a.b.c": 1, "a.d": {}, "e": [1, {"f": 2}]}
