"""Tables of single runs and of estimators, from records and nothing else."""

import json

import gumbel
from experiments.engine import report
from experiments.reproduction.published import JANG
from experiments.reproduction.records import RESULTS, read_records

HEADER = (
    "record|estimator|objective|steps|learning rate|test nll (m)|test L_1|published|"
    "seed|trained in|jax, device"
).split("|")


def published(experiment: str, config: dict) -> str:
    """The published number of the same network and estimator, or a dash."""
    model = config["model"]
    # Only the linear networks, coded plainly, are Jang et al.'s.
    if model.get("hidden") or model.get("code", "plain") != "plain":
        return "–"
    numbers = JANG[experiment, model["family"]]
    return (
        f"{numbers[config['estimator']]:.1f}" if config["estimator"] in numbers else "–"
    )


def runs_table(experiment: str) -> str:
    """A row a record of one experiment, the best validation bound first."""
    records = read_records(experiment)
    order = sorted(records, key=lambda name: records[name]["result"]["valid"]["nll"])
    rows = []
    for name in order:
        config, result = records[name]["config"], records[name]["result"]
        test, versions = result["test"], records[name]["versions"]
        bound = f"{test['nll']:.2f} ± {test['nll_stderr']:.2f}"
        rows.append(
            [
                f"[{name}](results/{experiment}/{name}.json)",
                f"`{config['estimator']}`",
                config["objective"],
                f"{config['num_steps']:,}",
                f"{config['optimizer']} {config['learning_rate']:g}",
                f"{bound} ({test['eval_samples']})",
                f"{test['nll_1']:.2f}",
                published(experiment, config),
                str(config["seed"]),
                f"{result['seconds']:.0f} s",
                f"{versions['jax']}, {versions['device_kind']}",
            ]
        )
    return report.markdown(HEADER, rows)


def estimators_table() -> str:
    """Every estimator, as its entry documents it."""
    rows = []
    for name, entry in gumbel.estimators.ESTIMATORS.items():
        least, most = entry.samples
        rows.append(
            [
                f"`{name}`",
                "yes" if entry.unbiased else "no",
                f"{least}" if most == least else f"≥ {least}",
                entry.cost,
                ", ".join(f"`{h}={v}`" for h, v in entry.hyper.items()) or "–",
                entry.reference,
            ]
        )
    header = (
        "name|unbiased|m|evaluations of the program|own hyper-parameters|what it is"
    )
    return report.markdown(header.split("|"), rows)


def expected_line() -> str:
    """What the default command ends with, from its record."""
    record, longer = (read_records("vae")[f"categorical-{n}k"] for n in (20, 50))
    result, test = record["result"], record["result"]["test"]
    best = longer["result"]["test"]
    return (
        f"It ends with `test: nll {test['nll']:.2f} ± {test['nll_stderr']:.2f} nats "
        f"(L_{test['eval_samples']} on hard samples)`; {result['steps']:,} steps took "
        f"{result['seconds']:.0f} s on two cores. At {longer['result']['steps']:,} "
        f"steps the same model reaches {best['nll']:.1f} (L_{best['eval_samples']})."
    )


def quality_table() -> str:
    """Bias and spread of scripts/gradient_quality.py, a row an estimator."""
    record = json.loads((RESULTS / "gradient_quality" / "quality.json").read_text())
    settings, versions = record["settings"], record["versions"]
    temperatures = {row["temperature"] for row in record["rows"]} - {None}
    columns = [None, *sorted(temperatures)]
    rows = []
    for name in dict.fromkeys(row["estimator"] for row in record["rows"]):
        own = {r["temperature"]: r for r in record["rows"] if r["estimator"] == name}
        (cost,) = {row["evaluations"] for row in own.values()}
        cells = [_bias_and_std(own[t]) if t in own else "–" for t in columns]
        rows.append([f"`{name}`", cost, *cells])
    header = ["estimator", "evaluations", "no τ", *(f"τ = {t:g}" for t in columns[1:])]
    return (
        f"{report.markdown(header, rows)}\n\nRelative bias / relative std. Reference: "
        f"{settings['reference']}; {settings['repeats']:,} draws of a gradient, "
        f"{settings['num_parameters']:,} parameters, step {settings['step']:,}, "
        f"{settings['warmup']:,} batches to learn baselines and control variates; jax "
        f"{versions['jax']}, {versions['device_kind']}. Cosines, saturated variables "
        "and times are in [table.md](results/gradient_quality/table.md)."
    )


def _bias_and_std(row: dict) -> str:
    """The bias, or < its Monte Carlo error where that hides it, and the spread."""
    seen = row["bias"] > row["bias_noise"]
    bias = f"{row['bias']:.2f}" if seen else f"< {row['bias_noise']:.2f}"
    return f"{bias} / {row['std']:.2f}"
