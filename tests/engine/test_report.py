import contextlib
import fcntl
import io
import json
import os
import pty
import re
import struct
import sys
import termios
import types

import pytest

from experiments import ConfigError
from experiments.engine import report

LINES = [
    {"step": 5 * i, "objective": -200.0 + i, "temperature": 0.5, "seconds": i / 2}
    for i in range(1, 5)
]


def write(path, lines, tail=""):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + tail)


def test_lines_beyond_the_checkpoint_are_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    write(path, LINES)
    with report.MetricsLog(tmp_path, 10, tensorboard=False) as log:
        assert log.lines == LINES[:2]
        assert log.seconds == 1.0
        assert report.read_metrics(path) == LINES[:2]
        log.write(LINES[2])
        assert report.read_metrics(path) == LINES[:3]  # on disk at once
        assert log.seconds == 1.5
    with report.MetricsLog(tmp_path, 0, tensorboard=False) as log:
        assert log.lines == [] and log.seconds == 0.0
    assert path.read_text() == ""
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.jsonl"]


@pytest.mark.parametrize("tail", ['{"step": 25, "obj', "{", '{"step": 25, "a": 1.'])
def test_a_torn_last_line_is_left_out(tmp_path, tail):
    path = tmp_path / "metrics.jsonl"
    write(path, LINES, tail)
    assert report.read_metrics(path) == LINES
    with report.MetricsLog(tmp_path, 30, tensorboard=False) as log:
        log.write({"step": 35})
    assert report.read_metrics(path) == [*LINES, {"step": 35}]
    assert len(path.read_text().splitlines()) == 5


def test_no_file_is_no_metrics(tmp_path):
    assert report.read_metrics(tmp_path / "metrics.jsonl") == []


def test_missing_tensorboard_is_one_line_and_loses_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    write(tmp_path / "metrics.jsonl", LINES)
    with pytest.raises(ConfigError, match=r"^--tensorboard: .*pip install [^\n]*$"):
        report.MetricsLog(tmp_path, 0, tensorboard=True)
    assert report.read_metrics(tmp_path / "metrics.jsonl") == LINES


def test_tensorboard_gets_every_metric(tmp_path, monkeypatch):
    written = []

    class SummaryWriter:
        def __init__(self, directory):
            written.append(directory)

        def add_scalar(self, *args):
            written.append(args)

        def close(self):
            written.append("closed")

    module = types.ModuleType("tensorboardX")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "tensorboardX", module)
    with report.MetricsLog(tmp_path, 0, tensorboard=True) as log:
        log.write({"step": 5, "objective": -1.0})
    scalars = [("step", 5, 5), ("objective", -1.0, 5)]
    assert written == [str(tmp_path / "tensorboard"), *scalars, "closed"]


def show_progress():
    with report.progress(20, 5, "vae") as bar:
        bar.mininterval = 0  # show every update
        bar.update(5)
        bar.set_postfix(report.postfix([{**LINES[0], "valid_nll": 198.25}, LINES[1]]))


def test_progress_is_silent_where_there_is_no_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    show_progress()
    assert sys.stderr.getvalue() == ""


def test_progress_on_a_terminal(monkeypatch):
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 160, 0, 0))
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        show_progress()
    shown = b""
    with contextlib.suppress(OSError):  # all that was written has been read
        while part := os.read(master, 65536):
            shown += part
    os.close(master)
    last = shown.decode().strip().split("\r")[-1]
    for expected in (
        r"^vae: +50%",
        r" 10/20 ",
        r"objective=-198\.0",
        r"valid_nll=198\.2",
        r"temperature=0\.50",
        r"step/s|s/step",
        r"\[\d\d:\d\d<\d\d:\d\d",  # elapsed < left
    ):
        assert re.search(expected, last), (expected, last)


def test_postfix_without_a_validation():
    assert report.postfix(LINES) == {"objective": "-196.0", "temperature": "0.50"}
    assert report.postfix([{"step": 0, "valid_nll": 550.0}]) == {"valid_nll": "550.0"}


def test_summary_names_the_numbers(tmp_path):
    split = {"nll": 105.123, "nll_stderr": 0.456, "nll_1": 110.987, "eval_samples": 50}
    result = {
        "steps": 2000,
        "seconds": 61.4,
        "valid": split,
        "test": split | {"nll": 104.0},
    }
    lines = report.summary(result, tmp_path).splitlines()
    assert lines == [
        "trained 2000 steps in 61 s",
        "valid: nll 105.12 ± 0.46 nats (L_50 on hard samples), nll_1 110.99",
        "test: nll 104.00 ± 0.46 nats (L_50 on hard samples), nll_1 110.99",
        f"written to {tmp_path}: result.json, metrics.jsonl, figures/",
    ]
