"""The table of training steps: its ratios are those of the measured times."""

from experiments.reproduction import training_table

VALUES = {
    "machine": {"cpu": "a processor", "cores": 2, "load": 0.25},
    "versions": {"jax": "1.2", "torch": "3.4", "python": "3.99"},
    "repeats": 7,
    "networks": [
        {
            "name": "a network",
            "steps": 500,
            "milliseconds": {
                "this project": 2.0,
                "plain Flax": 3.0,
                "torch.compile": 5.0,
                "floor": 1.6,
            },
            "processes": {
                "this project": {"compile_seconds": 1.23, "peak_mib": 456.7},
                "torch.compile": {"compile_seconds": 8.9, "peak_mib": 1012.0},
            },
            "evaluation_seconds": 12.0,
        }
    ],
}


def test_rates_and_ratios():
    text = training_table.table(VALUES)
    assert "| a network | 500 | 333 | 200 | 1.50 | 2.50 | 1.25 |" in text
    assert "| steps/s | this project | plain Flax | torch.compile |" in text
    assert "× plain Flax | × torch.compile | × floor |" in text


def test_costs_and_conditions():
    text = training_table.table(VALUES)
    assert "| a network | 1.2; 457 | 8.9; 1,012 | 12 |" in text
    assert "a processor, 2 cores, load 0.2 at the start" in text
    assert "jax 1.2, torch 3.4, Python 3.99" in text


def test_an_evaluation_that_was_not_timed():
    network = dict(VALUES["networks"][0])
    del network["evaluation_seconds"]
    text = training_table.table(VALUES | {"networks": [network]})
    assert "| a network | 1.2; 457 | 8.9; 1,012 | – |" in text


def test_before_it_is_recorded(tmp_path, monkeypatch):
    monkeypatch.setattr(training_table, "RECORD", tmp_path / "training.json")
    assert training_table.recorded() == "Not recorded yet."
