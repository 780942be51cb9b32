"""The tables of docs/estimators.md: facts of each estimator, bias and spread."""

import json

from experiments.engine import report
from experiments.reproduction import records
from experiments.reproduction.other_tables import bias_and_std
from gumbel.estimators import ESTIMATORS


def facts(name: str) -> str:
    """Paper, requirements, cost, options, bias and spread of an estimator."""
    entry = ESTIMATORS[name]
    least, most = entry.samples
    options = ", ".join(f"`{h}={value}`" for h, value in entry.hyper.items())
    rows = [
        ["paper", entry.reference],
        ["unbiased", "yes" if entry.unbiased else "no"],
        ["draws", ", ".join(entry.families)],
        ["samples m", f"{least}" if most == least else f"{least} or more"],
        ["evaluations a step", entry.cost],
        ["options", options or "none of its own"],
        ["bias / spread", _measured(name)],
    ]
    return report.markdown(["", ""], rows)


def _measured(name: str) -> str:
    """The relative bias and standard deviation, by temperature."""
    path = records.RESULTS / "gradient_quality" / "quality.json"
    rows = [r for r in json.loads(path.read_text())["rows"] if r["estimator"] == name]
    texts = []
    for row in rows:
        tau = "" if row["temperature"] is None else f"τ = {row['temperature']:g}: "
        texts.append(tau + bias_and_std(row))
    return "; ".join(texts) or "not measured"
