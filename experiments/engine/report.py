"""Reports of a run: its metrics file, progress bar and summary."""

import contextlib
import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from experiments import ConfigError, WorkdirError
from experiments.engine import processes as hosts


class MetricsLog:
    """The metrics of a run in `metrics.jsonl`, one object a line, in order of step.

    Lines beyond the checkpoint that a run continues from are dropped, so that the
    file reads as if the run had never been interrupted. Of many processes only the
    first has a file.

    Args:
        workdir: the run directory.
        resumed_step: the step the run continues from; 0 for a new one.
        tensorboard: whether to write TensorBoard events beside the file.
        announce: gets a line where some of the file cannot be read.

    Raises:
        ConfigError: if TensorBoard is asked for and tensorboardX is not installed.
        WorkdirError: if the file cannot be read.
    """

    def __init__(
        self,
        workdir: Path,
        resumed_step: int,
        tensorboard: bool = False,
        announce: Callable[[str], None] = print,
    ):
        self._writer, self._file, self.lines = None, None, []
        make_writer = _tensorboard_writer() if tensorboard else None
        if not hosts.is_first():
            return
        if make_writer is not None:
            self._writer = make_writer(str(workdir / "tensorboard"))
        path = workdir / "metrics.jsonl"
        if resumed_step:
            lines = read_metrics(path, announce)
            self.lines = [line for line in lines if line["step"] <= resumed_step]
        text = "".join(json.dumps(line) + "\n" for line in self.lines)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
        self._file = path.open("a", encoding="utf-8")

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


def read_metrics(
    path: Path, announce: Callable[[str], None] = lambda line: None
) -> list[dict[str, Any]]:
    """The lines of a metrics file; none if there is no file.

    Args:
        path: the file.
        announce: gets a line where lines of the file are damaged and left out, but for
            the last one without its end: a run was killed while it wrote it.

    Raises:
        WorkdirError: if it is not a file, or must not be read.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise WorkdirError(f"{path}: cannot be read ({error.strerror})") from error
    lines, damaged = [], []
    complete = text.count("\n")
    for number, line in enumerate(text.split("\n")):
        try:
            values = json.loads(line)
            lines.append({"step": int(values["step"]), **values})
        except (ValueError, TypeError, KeyError):
            if number < complete:
                damaged.append(str(number + 1))
    if damaged:
        announce(f"{path}: damaged, without line {', '.join(damaged)}")
    return lines


def _tensorboard_writer() -> Callable[[str], Any]:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ConfigError("--tensorboard: needs `pip install tensorboardX`") from error
    return SummaryWriter


@contextlib.contextmanager
def progress(total: int, initial: int, description: str) -> Iterator[Any]:
    """A progress bar on the terminal; silent when stderr is not one.

    Its clock goes on while nothing is reported, as during a compilation.
    """
    from tqdm import tqdm

    ended = threading.Event()

    def tick() -> None:
        while not ended.wait(1.0):
            bar.refresh()

    with tqdm(
        total=total,
        initial=initial,
        desc=description,
        unit="step",
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
    ) as bar:
        clock = threading.Thread(target=tick, daemon=True)
        if not bar.disable:
            clock.start()
        try:
            yield bar
        finally:
            ended.set()
            if clock.is_alive():
                clock.join()


def postfix(lines: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The metrics beside a progress bar: the last of each."""
    names = {"objective": ".1f", "valid_nll": ".1f", "temperature": ".2f"}
    latest = {name: line[name] for line in lines for name in names if name in line}
    return {name: format(latest[name], names[name]) for name in names if name in latest}


def summary(result: Mapping[str, Any], workdir: Path) -> str:
    """The lines that a finished run prints."""
    lines = [f"trained {result['steps']} steps in {result['seconds']:.0f} s"]
    for split in ("valid", "test"):
        values = result[split]
        lines.append(
            f"{split}: nll {values['nll']:.2f} ± {values['nll_stderr']:.2f} nats "
            f"(L_{values['eval_samples']} on hard samples), nll_1 {values['nll_1']:.2f}"
        )
        if "accuracy" in values:
            lines.append(f"{split}: accuracy {100 * values['accuracy']:.2f} %")
    lines.append(f"written to {workdir}: result.json, metrics.jsonl, figures/")
    return "\n".join(lines)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
