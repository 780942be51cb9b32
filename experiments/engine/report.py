"""What a run writes down: one JSON line a log step, and optionally TensorBoard."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from experiments import ConfigError
from experiments.engine import processes as hosts


class MetricsLog:
    """The metrics of a run in `metrics.jsonl`, one object a line, in order of step.

    Lines beyond the checkpoint that a run continues from are dropped, so that the
    file reads as if the run had never been broken off. Of many processes only the first
    has a file.

    Args:
        workdir: the run directory.
        resumed_step: the step the run continues from; 0 for a fresh one.
        tensorboard: whether to write TensorBoard events beside the file.

    Raises:
        ConfigError: if TensorBoard is asked for and tensorboardX is not installed.
    """

    def __init__(self, workdir: Path, resumed_step: int, tensorboard: bool):
        self._writer, self._file, self.lines = None, None, []
        make_writer = _tensorboard_writer() if tensorboard else None
        if not hosts.is_first():
            return
        if make_writer is not None:
            self._writer = make_writer(str(workdir / "tensorboard"))
        path = workdir / "metrics.jsonl"
        self.lines = [m for m in read_metrics(path) if m["step"] <= resumed_step]
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.replace(path)
        self._file = path.open("a")

    def write(self, metrics: Mapping[str, Any]) -> None:
        """Appends the metrics of a step."""
        self.lines.append(dict(metrics))
        if self._file is not None:
            self._file.write(json.dumps(metrics) + "\n")
            self._file.flush()
        if self._writer is not None:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, metrics["step"])

    @property
    def seconds(self) -> float:
        """Training time up to the last line, over all the sittings of the run."""
        return self.lines[-1]["seconds"] if self.lines else 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics file; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    metrics = []
    for line in path.read_text().splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            metrics.append(json.loads(line))
    return metrics


def _tensorboard_writer() -> Callable[[str], Any]:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ConfigError("--tensorboard: needs `pip install tensorboardX`") from error
    return SummaryWriter


@contextlib.contextmanager
def progress(total: int, initial: int, description: str) -> Iterator[Any]:
    """A progress bar on the terminal; silent when stderr is not one."""
    from tqdm import tqdm

    with tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit="step",
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
    ) as bar:
        yield bar


def postfix(lines: list[dict[str, Any]]) -> dict[str, str]:
    """What the progress bar shows: the objective, the last hard bound, temperature."""
    shown = {"objective": f"{lines[-1]['objective']:.1f}"}
    hard = [line["valid_nll"] for line in lines if "valid_nll" in line]
    if hard:
        shown["valid bound"] = f"{-hard[-1]:.1f}"
    return shown | {"temperature": f"{lines[-1]['temperature']:.2f}"}


def summary(result: Mapping[str, Any], workdir: Path) -> str:
    """The lines that a finished run prints."""
    lines = [f"trained {result['steps']} steps in {result['seconds']:.0f} s"]
    for split in ("valid", "test"):
        values = result[split]
        lines.append(
            f"{split}: nll {values['nll']:.2f} ± {values['nll_stderr']:.2f} nats "
            f"(L_{values['eval_samples']} on hard samples), L_1 {values['nll_1']:.2f}"
        )
        if "accuracy" in values:
            lines.append(f"{split}: accuracy {100 * values['accuracy']:.2f} %")
    lines.append(f"written to {workdir}: result.json, metrics.jsonl, figures/")
    return "\n".join(lines)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
