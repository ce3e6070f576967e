"""Processes that are stopped and go on: nothing that could not run is judged to be late."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
J = """
    import sys, time
    import distfd

    def cost(x):
        time.sleep(1.5)
        return float(x @ x)

    if __name__ == "__main__":
        result = distfd.differentiate(
            cost, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], timeout=6, retries=0,
            executor=distfd.RayExecutor(address="local", num_cpus=2),
            observers=[lambda event: print("begun", flush=True) if type(event).__name__ == "WaveStarted" else None],
        )
        print(result.derivative.round(4).tolist(), len(result.warnings), flush=True)
"""
PROGRAM = """
objective:
  command:
    argv: [python3, solver.py]
    inputs: {deck: deck.j2}
    outputs: {J: {file: stdout, regex: "(.+)"}}
parameters: [{name: a, value: 2.0}, {name: b, value: 3.0}]
cluster: {num_cpus: 2, address: local}
evaluation: {timeout: 6s, retries: 0}
output: run
"""


def stop(process: psutil.Process, seconds: float, *, all_of_it: bool) -> None:
    stopped = [process, *(process.children(recursive=True) if all_of_it else ())]
    for each in stopped:
        each.send_signal(signal.SIGSTOP)
    time.sleep(seconds)
    for each in reversed(stopped):
        if each.is_running():
            each.send_signal(signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("all_of_it", [False, True])
def test_a_driver_that_is_stopped_charges_no_timeout(tmp_path: Path, *, all_of_it: bool) -> None:
    (tmp_path / "job.py").write_text(textwrap.dedent(J))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "-W", "ignore", "job.py"]
    with subprocess.Popen(
        argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline().strip() == "begun"
        time.sleep(2.5)
        stop(psutil.Process(run.pid), 15, all_of_it=all_of_it)
        out, said = run.communicate(timeout=240)
    assert out.strip() == "[2.0, 4.0, 6.0, 8.0, 10.0, 12.0] 0", said


@pytest.mark.slow
def test_programs_of_a_run_that_is_stopped_are_not_late(tmp_path: Path) -> None:
    (tmp_path / "solver.py").write_text(
        "import time\ntime.sleep(2)\na, b = map(float, open('deck').read().split())\nprint(a * b)\n"
    )
    (tmp_path / "deck.j2").write_text("{{ a }} {{ b }}")
    config = PROGRAM.replace("solver.py", str(tmp_path / "solver.py"))
    (tmp_path / "job.yaml").write_text(config)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ""}
    argv = [sys.executable, "-W", "ignore", "-m", "distfd", "run", "job.yaml"]
    with subprocess.Popen(
        argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        end = time.monotonic() + 120
        while not list((tmp_path / "run").glob("work/*/deck")) and time.monotonic() < end:
            time.sleep(0.1)
        stop(psutil.Process(run.pid), 15, all_of_it=True)
        _, said = run.communicate(timeout=240)
    assert run.returncode == 0, said
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["status"] == "done"
    assert [round(g, 4) for g in found["derivative"]] == [3.0, 2.0]
    assert "timeout" not in said
