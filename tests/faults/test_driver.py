"""The driver is ended while simulators that will not listen are at work: nothing of them is left, and it goes on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from waiting import await_that, running

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
SOON = 30.0
"""Seconds after which what should have ended is taken to live for good."""

# The first to come ends at once; the others ignore SIGTERM, with children, grandchildren and orphans in sessions of
# their own, which write down their numbers.
PROGRAM = """
mkdir "$HERE/first" 2> /dev/null && { echo 3; exit; }
test -e "$HERE/gate" && { grep -o '[0-9.]*' parameters.json | tail -1; exit; }
trap '' TERM INT HUP
echo $$ >> "$HERE/pids"
setsid sh -c 'trap "" TERM; echo $$ >> "$HERE/pids"; sh -c "echo \\$\\$ >> \\"$HERE/pids\\"; exec sleep 600" & wait' &
(setsid sh -c 'trap "" TERM; echo $$ >> "$HERE/pids"; exec sleep 600' &)
while :; do sleep 60; done
"""
MODEL = """
import os, pathlib, subprocess

def fun(x):
    here = pathlib.Path(__file__).parent
    try:
        (here / "first").mkdir()
    except FileExistsError:
        if not (here / "gate").exists():
            environ = {**os.environ, "HERE": str(here)}
            subprocess.run(["sh", "-c", (here / "program").read_text()], env=environ, check=True)
    return float(x[-1])
"""


def write(folder: Path, kind: str, **cluster: Any) -> None:
    (folder / "model.py").write_text(MODEL)
    (folder / "program").write_text(PROGRAM)
    command = {
        "argv": ["sh", "-c", PROGRAM],
        "env": {"HERE": str(folder)},
        "outputs": {"J": {"file": "stdout", "regex": "(.+)"}},
    }
    config = {
        "objective": {"command": command} if kind == "program" else {"python": "model:fun"},
        "x0": [1.0, 2.0, 3.0],
        "cluster": cluster,
        "derivative": {"check": False},
        "evaluation": {"deterministic": False},
        "output": "out",
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))


def start(folder: Path, address: str | None) -> subprocess.Popen[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    environ.pop("RAY_ADDRESS", None)
    if address is not None:
        environ["RAY_ADDRESS"] = address
    argv = [sys.executable, "-m", "distfd", "run", "job.yaml"]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup all would ignore it
    try:
        return _started(argv, folder, environ)
    finally:
        signal.signal(signal.SIGHUP, before)


def _started(argv: list[str], folder: Path, environ: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(argv, cwd=folder, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def stored(folder: Path) -> int:
    file = folder / "out" / "evaluations.sqlite"
    if not file.exists():
        return 0
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as base:
        try:
            return int(base.execute("SELECT count(*) FROM evaluations WHERE status = 'ok'").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def pids(folder: Path) -> list[int]:
    file = folder / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def result(folder: Path) -> Any:
    return json.loads((folder / "out" / "result.json").read_text())


def goes_on(folder: Path, address: str | None, kept: int) -> None:
    """Run again, with programs that end, it is done and repeats nothing."""
    (folder / "gate").touch()
    again = start(folder, address)
    _, told = again.communicate(timeout=PATIENCE)
    assert again.returncode == 0, told
    found = result(folder)
    assert found["derivative"] == pytest.approx([0, 0, 1], abs=1e-6)
    assert (found["n_evaluations"], found["n_reused"]) == (4, kept)


IN_CI = {("python", signal.SIGKILL), ("program", signal.SIGTERM)}
ENDS = {
    "program": (signal.SIGINT, signal.SIGTERM, signal.SIGKILL),
    "python": (signal.SIGINT, signal.SIGHUP, signal.SIGKILL),
}
CASES = [
    pytest.param(kind, number, marks=[] if (kind, number) in IN_CI else [pytest.mark.nightly])
    for kind, numbers in ENDS.items()
    for number in numbers
]


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_nothing_that_it_started_is_left(tmp_path: Path, ray_address: str, kind: str, number: signal.Signals) -> None:
    write(tmp_path, kind)
    run = start(tmp_path, ray_address)
    try:
        await_that("one hangs, with all that it starts", lambda: len(pids(tmp_path)) >= 4 or run.poll() is not None)
        await_that("one is committed", lambda: stored(tmp_path) or run.poll() is not None)
        run.send_signal(number)
        _, told = run.communicate(timeout=PATIENCE)
        await_that("all are dead", lambda: not any(map(running, pids(tmp_path))), SOON)
    finally:
        run.kill()
        run.communicate()
    if number != signal.SIGKILL:
        assert run.returncode == 130, told
        assert "Traceback" not in told
        assert result(tmp_path)["status"] == "interrupted"
        assert not (tmp_path / "out" / "evaluations.sqlite-wal").exists(), "the store was not closed"
    kept = stored(tmp_path)
    assert kept == 1
    goes_on(tmp_path, ray_address, kept)


CARELESS = """
import pathlib, subprocess, sys, time
import distfd

def fun(x, folder):
    program = subprocess.Popen(["sleep", "600"])
    with open(f"{folder}/pids", "a") as file:
        file.write(f"{program.pid}\\n")
    program.wait()
    pathlib.Path(folder, "returned").touch()
    return 0.0

executor = distfd.RayExecutor(address=sys.argv[1], max_slots=2)
with distfd.Evaluator(fun, args=(sys.argv[2],), executor=executor) as ev:
    ev.gradient([1.0, 2.0])
"""


def test_a_j_that_ignores_how_its_program_ended_does_not_run_on(tmp_path: Path, ray_address: str) -> None:
    (tmp_path / "driver.py").write_text(CARELESS)
    argv = [sys.executable, "driver.py", ray_address, str(tmp_path)]
    run = subprocess.Popen(argv, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE)
    try:
        await_that("two are at work", lambda: len(pids(tmp_path)) >= 2 or run.poll() is not None)
        run.terminate()
        run.communicate(timeout=PATIENCE)
        await_that("their programs are dead", lambda: pids(tmp_path) and not any(map(running, pids(tmp_path))), SOON)
    finally:
        run.kill()
        run.communicate()
    assert not (tmp_path / "returned").exists()


@pytest.mark.nightly
def test_a_private_cluster_goes_with_its_driver(tmp_path: Path) -> None:
    write(tmp_path, "python", address="local", num_cpus=2)
    run = start(tmp_path, None)
    try:
        await_that("two hang, with all that they start", lambda: len(pids(tmp_path)) >= 8 or run.poll() is not None)
        family = psutil.Process(run.pid).children(recursive=True)
        assert {"gcs_server", "raylet"} <= {child.name() for child in family}
        # Those of Ray's servers too that give themselves a title.
        assert [child.name() for child in family if "DISTFD_CLUSTER" not in child.environ()] == []
        run.kill()
    finally:
        run.kill()
        run.communicate()
    _, alive = psutil.wait_procs(family, timeout=SOON)
    assert not alive
    await_that("all are dead", lambda: not any(map(running, pids(tmp_path))), SOON)
    goes_on(tmp_path, None, stored(tmp_path))
