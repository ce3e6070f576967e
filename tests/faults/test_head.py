"""The head or the driver's own raylet goes or hangs: a clear error, exit 4, a result that says so, and it goes on."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0

MODEL = """
import pathlib, time

def fun(x):
    folder = pathlib.Path(__file__).parent
    time.sleep(0.5)
    while (folder / "begun").exists() and not (folder / "gate").exists():
        time.sleep(0.05)
    return float(x @ x)
"""
CONFIG = """
objective: {python: "model:fun"}
x0: [1, 2, 3, 4, 5, 6, 7, 8]
derivative: {check: false}
cluster: {address: ADDRESS, num_cpus: CPUS}
output: out
"""


SHORT = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 2,
}
"""The head gives up a node after 3 s."""


def start(folder: Path, **more: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "distfd", "run", "job.yaml"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **more}
    return subprocess.Popen(argv, cwd=folder, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def stored(folder: Path) -> int:
    try:
        with sqlite3.connect(f"file:{folder / 'out' / 'evaluations.sqlite'}?mode=ro", uri=True) as base:
            return int(base.execute("SELECT count(*) FROM evaluations").fetchone()[0])
    except sqlite3.Error:
        return 0


def below(pid: int, name: str) -> psutil.Process:
    return next(child for child in psutil.Process(pid).children(recursive=True) if child.name() == name)


@pytest.mark.parametrize("server", ["gcs_server", pytest.param("raylet", marks=pytest.mark.nightly)])
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sqlite3, where the file is not there yet
def test_a_lost_head_is_exit_4_and_the_run_goes_on(tmp_path: Path, server: str) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(CONFIG.replace("ADDRESS", "local").replace("CPUS", "2"))
    run = start(tmp_path)
    end = time.monotonic() + PATIENCE
    while stored(tmp_path) < 2:
        assert time.monotonic() < end
        assert run.poll() is None
        time.sleep(0.1)
    (tmp_path / "begun").touch()
    family = psutil.Process(run.pid).children(recursive=True)
    below(run.pid, server).send_signal(signal.SIGKILL)
    _, told = run.communicate(timeout=60)
    assert run.returncode == 4, told
    assert "is gone" in told.splitlines()[-1]
    assert "Traceback" not in told
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["status"] == "interrupted"
    assert "run again to go on" in result["message"]
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive

    known = stored(tmp_path)
    (tmp_path / "gate").touch()
    again = start(tmp_path)
    again.communicate(timeout=PATIENCE)
    assert again.returncode == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["derivative"] == pytest.approx([2, 4, 6, 8, 10, 12, 14, 16], rel=1e-6)
    assert result["n_evaluations"] == 9
    assert result["n_reused"] == known


@pytest.mark.usefixtures("_ray_ends")
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # Ray's own, of a cluster within this process, and sqlite3's
@pytest.mark.parametrize(
    ("server", "checks"),
    [
        pytest.param("gcs_server", {}, id="head"),
        pytest.param("raylet", SHORT, id="raylet, which Ray sees first", marks=pytest.mark.nightly),
    ],
)
def test_a_joined_cluster_that_hangs_is_exit_4(tmp_path: Path, server: str, checks: dict[str, int]) -> None:
    """Where the head's own checks are quicker than ours, Ray ends workers and nodes under the driver's hands."""
    import ray
    from ray.cluster_utils import Cluster

    ray.shutdown()
    config = {"_system_config": checks} if checks else {}
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, **config})
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "job.yaml").write_text(CONFIG.replace("ADDRESS", made.address).replace("CPUS", "null"))
    stopped: list[psutil.Process] = []
    # As the cluster has it, which this process started: a token is asked for on both sides, or on neither.
    run = start(tmp_path, RAY_AUTH_MODE=os.environ.get("RAY_AUTH_MODE", "disabled"))
    try:
        end = time.monotonic() + PATIENCE
        while stored(tmp_path) < 2:
            assert time.monotonic() < end
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.1)
        (tmp_path / "begun").touch()
        node: Any = made.head_node
        (info,) = node.all_processes[server]
        stopped.append(psutil.Process(info.process.pid))
        for process in stopped:
            process.suspend()
        _, told = run.communicate(timeout=PATIENCE)
    finally:
        run.kill()
        for process in stopped:
            if process.is_running():
                process.resume()
        made.shutdown()  # type: ignore[no-untyped-call]  # Ray lacks types
    assert run.returncode == 4, told
    assert "Traceback" not in told
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("interrupted", 4)
    assert "run again to go on" in result["message"]


OWNER = """
import logging, sys
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()
ray.shutdown()
"""


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of sqlite3, where the file is not there yet
@pytest.mark.parametrize("way", ["its owner leaves", "SIGTERM to the raylet"])
def test_a_joined_cluster_that_ends_in_good_order_is_exit_4(tmp_path: Path, way: str) -> None:
    """Ray itself ends a process without a word that has an object in the store of a node which leaves."""
    (tmp_path / "model.py").write_text(MODEL)
    argv = [sys.executable, "-c", OWNER]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdin is not None
        address = owner.stdout.readline().strip()
        (tmp_path / "job.yaml").write_text(CONFIG.replace("ADDRESS", address).replace("CPUS", "null"))
        run = start(tmp_path)
        try:
            end = time.monotonic() + PATIENCE
            while stored(tmp_path) < 2:
                assert time.monotonic() < end
                assert run.poll() is None, run.communicate()[1]
                time.sleep(0.1)
            (tmp_path / "begun").touch()
            if way == "its owner leaves":
                owner.stdin.close()
            else:
                below(owner.pid, "raylet").send_signal(signal.SIGTERM)
            _, told = run.communicate(timeout=PATIENCE)
        finally:
            run.kill()
            owner.stdin.close()
    assert run.returncode == 4, told
    assert "Traceback" not in told
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("interrupted", 4)
    assert "run again to go on" in result["message"]
