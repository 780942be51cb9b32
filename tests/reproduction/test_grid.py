import pytest

import runs
from experiments import ConfigError
from experiments.reproduction import grid


@pytest.mark.parametrize(
    "text, field, values",
    [
        ("temperature=0.1,1,2e0", "temperature", (0.1, 1.0, 2.0)),
        ("schedule.rate=0, 1e-5", "schedule.rate", (0.0, 1e-5)),
        ("prior_temperature=1", "prior_temperature", (1.0,)),  # unset in the config
        ("num_samples=1,5", "num_samples", (1, 5)),
        ("objective=soft_mass,analytic", "objective", ("soft_mass", "analytic")),
    ],
)
def test_values_have_the_type_of_their_field(text, field, values):
    found = grid.read_values(runs.config(), text)
    assert found == (field, values)
    assert [type(value) for value in found[1]] == [type(value) for value in values]


REFUSED = {
    "slope.rat=1": "config.slope.rat: unknown field; did you mean slope.rate",
    "slope=1": "config.slope: unknown field",
    "temperature=1,warm": "config.temperature='warm': must be a number",
    "num_samples=1,2.5": "config.num_samples='2.5': must be an integer",
    "model.hidden=(8,)": "config.model.hidden=(8,): only numbers and names can be",
    "temperature=1,1.0": "config.temperature=1.0: must be given once",
    "temperature=1,": "--sweep=temperature=1,: must be temperature=VALUE,VALUE,…",
    "temperature": "--sweep=temperature: must be temperature=VALUE,VALUE,…",
}


@pytest.mark.parametrize("text", REFUSED)
def test_other_values_are_refused(text):
    with pytest.raises(ConfigError) as refusal:
        grid.read_values(runs.config(), text)
    assert str(refusal.value).startswith(REFUSED[text])


def test_the_last_field_of_a_product_changes_fastest():
    found = list(grid.product({"b": (1, 2), "a": ("x", "y")}))
    assert [list(fields.items()) for fields in found] == [
        [("b", b), ("a", a)] for b in (1, 2) for a in ("x", "y")
    ]
