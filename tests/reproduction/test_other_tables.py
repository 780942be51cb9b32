"""Tables of sweeps, estimators and speed, from made-up files."""

import json

from experiments.reproduction import other_tables


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def test_figure_5_is_a_ratio_of_steps_per_second(results):
    record = {
        "classes": [2, 10],
        "milliseconds": {"marginalisation": [4.0, 30.0], "one sample": [4.0, 10.0]},
        "versions": {"jax": "1", "device_kind": "abacus"},
    }
    write_json(results / "jang_figure5/cpu/marginalisation.json", record)
    lines = other_tables.figure5(results / "jang_figure5/cpu").splitlines()
    assert lines[2] == "| 2 | 250.0 | 250.0 | 1.0 | – |"
    assert lines[3] == "| 10 | 33.3 | 100.0 | 3.0 | 2.0 |"


def test_a_sweep_is_shown_with_what_was_trained(results):
    config = {"num_steps": 20000, "optimizer": "adam", "learning_rate": 3e-4}
    config |= {"batch_size": 64, "num_samples": 1}
    point = {"versions": {"jax": "1", "device_kind": "abacus"}}
    folder = results / "maddison_figure4/cpu"
    write_json(folder / "sweep.json", {"config": config, "points": [point]})
    (folder / "table.md").write_text("title\n\n| a |\n| --- |\n| 1 |\n")
    lines = other_tables.sweep_table(folder).splitlines()
    assert lines[:5] == ["title", "", "| a |", "| --- |", "| 1 |"]
    assert "20,000 steps of adam at 0.0003, batch 64, m = 1" in lines[-1]
    assert lines[-1].endswith("jax 1, abacus.")


def test_bias_and_spread_of_every_estimator_in_a_row(results):
    def row(name, temperature, bias):
        numbers = {"bias": bias, "bias_noise": 0.1, "std": 2.0, "evaluations": "m"}
        return {"estimator": name, "temperature": temperature, **numbers}

    settings = {"reference": "exact", "repeats": 2000, "num_parameters": 3}
    settings |= {"step": 5000, "warmup": 10}
    record = {"rows": [row("a", 0.5, 0.7), row("a", 0.1, 0.05), row("b", None, 0.2)]}
    record |= {"settings": settings, "versions": {"jax": "1", "device_kind": "abacus"}}
    write_json(results / "gradient_quality/quality.json", record)
    header, _, *lines, _, note = other_tables.quality_table(
        results / "gradient_quality"
    ).splitlines()
    assert header == "| estimator | evaluations | no τ | τ = 0.1 | τ = 0.5 |"
    assert lines == [
        "| `a` | m | – | < 0.10 / 2.00 | 0.70 / 2.00 |",
        "| `b` | m | 0.20 / 2.00 | – | – |",
    ]
    assert "2,000 draws of a gradient" in note and "10 batches to learn" in note


BENCHMARK = {
    "machine": {"cpu": "a processor", "cores": 2, "load": 0.25},
    "versions": {"jax": "1.2", "torch": "3.4", "python": "3.99"},
    "repeats": 7,
    "start_up": {"--help": 1.25, "a first step": 7.04},
    "evaluation": {
        "images": 2000,
        "samples": 1000,
        "seconds": {"products alone": 3.4, "this project": 2.04},
    },
    "networks": [
        {
            "name": "a network",
            "milliseconds": {"this project": 2.0, "torch.compile": 5.0, "floor": 1.6},
            "compile_seconds": {"this project": 1.23, "torch.compile": 8.9},
        }
    ],
}


def test_training_steps_as_rates_and_ratios_of_every_processor(results):
    assert other_tables.training_tables(results / "benchmark") == "Not recorded yet."
    other = BENCHMARK | {"machine": BENCHMARK["machine"] | {"cpu": "another"}}
    for name, values in (("a", BENCHMARK), ("b", other)):
        write_json(results / f"benchmark/{name}.json", values)
    text = other_tables.training_tables(results / "benchmark")
    assert "| steps/s | this project | torch.compile | × torch.compile | × fl" in text
    assert text.count("| a network | 500 | 200 | 2.50 | 1.25 |") == 2
    assert "| a network | 1.2 | 8.9 |" in text
    assert "| L_1,000 of 2,000 images, s | this project | products alone |" in text
    assert "| a network | 2.0 | 3.4 |" in text
    assert "a processor, 2 cores, load 0.2 at the start" in text
    assert "takes 1.2 s to --help, 7.0 s to a first step." in text
    assert "another, 2 cores" in text and "jax 1.2, torch 3.4, Python 3.99" in text
