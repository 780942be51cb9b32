"""Tables of single runs, from made-up records."""

import json

from experiments.reproduction import run_tables


def test_bias_and_spread_of_every_estimator_in_a_row(monkeypatch, tmp_path):
    def row(name, temperature, bias):
        numbers = {"bias": bias, "bias_noise": 0.1, "std": 2.0, "evaluations": "m"}
        return {"estimator": name, "temperature": temperature, **numbers}

    rows = [row("a", 0.5, 0.7), row("a", 0.1, 0.05), row("b", None, 0.2)]
    settings = {"reference": "exact", "repeats": 2000, "num_parameters": 3}
    settings |= {"step": 5000, "warmup": 10}
    versions = {"jax": "1", "device_kind": "abacus"}
    record = {"rows": rows, "settings": settings, "versions": versions}
    (tmp_path / "gradient_quality").mkdir()
    (tmp_path / "gradient_quality/quality.json").write_text(json.dumps(record))
    monkeypatch.setattr(run_tables, "RESULTS", tmp_path)
    header, _, *lines, _, note = run_tables.quality_table().splitlines()
    assert header == "| estimator | evaluations | no τ | τ = 0.1 | τ = 0.5 |"
    assert lines == [
        "| `a` | m | – | < 0.10 / 2.00 | 0.70 / 2.00 |",
        "| `b` | m | 0.20 / 2.00 | – | – |",
    ]
    assert "2,000 draws of a gradient" in note and "10 batches to learn" in note
