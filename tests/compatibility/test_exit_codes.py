"""The exit codes of the command line, by small real commands: scripts around it rest on them."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODEL = """
import os, time

def parabola(x, log=None, gate=None):
    if gate:
        open(log, "a").write("called\\n")
        while not os.path.exists(gate):
            time.sleep(0.02)
    return float(x @ x)

def other(x):
    return float(x.sum())

def nowhere(x):
    raise ArithmeticError("no solution")

def picky(x):
    if x[1] != 2.0:
        raise ValueError("negative width")
    return float(x.sum())
"""


def write(folder: Path, **changes: Any) -> Path:
    (folder / "model.py").write_text(MODEL)
    config = {"objective": {"python": "model:parabola"}, "x0": [1.0, 2.0], "output": "run", **changes}
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    return folder


def start(folder: Path, address: str | None, *args: str) -> subprocess.Popen[str]:
    environ = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environ["PYTHONPATH"] = str(ROOT)
    if address is not None:
        environ["RAY_ADDRESS"] = address
    argv = [sys.executable, "-m", "distfd", *args]
    return subprocess.Popen(argv, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def distfd(folder: Path, *args: str, address: str | None = None) -> tuple[int, str]:
    process = start(folder, address, *args)
    told = "".join(process.communicate(timeout=120))
    assert "this is a bug in distfd" not in told
    return process.returncode, told


def test_0_done_and_2_another_objective(tmp_path: Path, ray_address: str) -> None:
    folder = write(tmp_path)
    code, told = distfd(folder, "run", "job.yaml", address=ray_address)
    assert code == 0, told
    # What is finished needs no cluster.
    code, told = distfd(folder, "run", "job.yaml", address="127.0.0.1:1")
    assert code == 0, told
    for args in (("status", "run"), ("status", "run", "--follow"), ("report", "run")):
        code, told = distfd(folder, *args)
        assert code == 0, told
    code, told = distfd(folder, "run", "job.yaml", "objective.python=model:other", address=ray_address)
    assert code == 2, told
    # A store that is there, and that another process writes to.
    with (folder / "run" / "evaluations.sqlite.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for more in ((), ("--fresh",)):
            code, told = distfd(folder, "run", "job.yaml", *more, address=ray_address)
            assert code == 5, told


@pytest.mark.parametrize(
    "args", [("--help",), ("--version",), ("schema",), ("validate", "job.yaml"), ("plan", "job.yaml")]
)
def test_0_where_nothing_is_evaluated(args: tuple[str, ...], tmp_path: Path) -> None:
    code, told = distfd(write(tmp_path), *args)
    assert code == 0, told


@pytest.mark.parametrize(
    ("args", "code"),
    [
        pytest.param(("run", "job.yaml", "derivative.shceme=central"), 2, id="unknown key"),
        pytest.param(("run", "job.yaml", "derivative.step=0"), 2, id="bad value"),
        pytest.param(("run", "job.yaml", "bounds.lower=1.5"), 2, id="outside the bounds"),
        pytest.param(("run", "job.yaml", "objective.python=modle:parabola"), 2, id="no such module"),
        pytest.param(("run", "broken.yaml"), 2, id="no YAML"),
        pytest.param(("run", "missing.yaml"), 2, id="no such file"),
        pytest.param(("run", "program.yaml"), 2, id="no such program"),
        pytest.param(("validate", "program.yaml"), 2, id="no such program, validated"),
        pytest.param(("status", "run"), 2, id="no such run"),
        pytest.param(("rnu",), 2, id="no such command"),
        pytest.param(("run", "job.yaml", "--frehs"), 2, id="no such option"),
        pytest.param(("run", "job.yaml", "output=model.py"), 2, id="a file in the way"),
        pytest.param(("run", "job.yaml", "cluster.address=127.0.0.1:1"), 4, id="nothing listens"),
        pytest.param(("run", "job.yaml", "output=model.py/run"), 5, id="cannot be made"),
    ],
)
def test_mistakes(args: tuple[str, ...], code: int, tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "broken.yaml").write_text("objective: {python: [\n")
    program = {"argv": ["no-such-simulator"], "outputs": {"J": {"file": "stdout", "regex": "(.*)"}}}
    config = {"objective": {"command": program}, "x0": [1.0], "output": "run"}
    (tmp_path / "program.yaml").write_text(yaml.safe_dump(config))
    found, told = distfd(tmp_path, *args)
    assert found == code, told


@pytest.mark.parametrize(
    "overrides", [("objective.python=model:nowhere",), ("objective.python=model:picky", "evaluation.on_failure=nan")]
)
def test_3_evaluations_failed(overrides: tuple[str, ...], tmp_path: Path, ray_address: str) -> None:
    folder = write(tmp_path)
    code, told = distfd(folder, "run", "job.yaml", *overrides, address=ray_address)
    assert code == 3, told
    code, told = distfd(folder, "status", "run", "--follow")
    assert code == 3, told


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_130_interrupted(number: signal.Signals, tmp_path: Path, ray_address: str) -> None:
    log = tmp_path / "calls"
    kwargs = {"log": str(log), "gate": str(tmp_path / "gate")}
    folder = write(tmp_path, objective={"python": "model:parabola", "kwargs": kwargs})
    process = start(folder, ray_address, "run", "job.yaml")
    while not log.exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    told = "".join(process.communicate(timeout=120))
    assert process.returncode == 130, told
    assert "Traceback" not in told
    code, told = distfd(folder, "status", "run", "--follow")
    assert code == 130, told
