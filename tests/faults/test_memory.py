"""An evaluation takes so much memory that Ray ends workers for it: the culprit is charged, and nobody else."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BLOCK = 2**28
ROOM, MOST = 6 * 10**9, 85 * 10**8
"""Bytes above what is used now at which Ray ends workers, and those that are taken: other programs come and go too."""
MODEL = """
import os, pathlib, subprocess, sys, time

FOLDER = pathlib.Path(__file__).parent
TAKE = "held = []\\nfor _ in range(BLOCKS): held.append(bytearray(b'1') * BLOCK)\\nimport time; time.sleep(30)"

def alive(pid):
    return pathlib.Path(f"/proc/{pid}").exists()

def fun(x):
    time.sleep(1.0)  # one point a chunk
    once = FOLDER / "once"
    if x[0] != 1:  # at work beside the first greedy one, until that is dead
        while not once.exists() or alive(int(once.read_text())):
            time.sleep(0.1)
    if x[1] != 2 and not once.exists():
        (FOLDER / "new").write_text(str(os.getpid()))
        (FOLDER / "new").rename(once)
        exec(TAKE)
    if x[2] != 3:  # the memory of a program is not counted as its worker's
        subprocess.run([sys.executable, "-c", TAKE])
        time.sleep(30)
    return float(x @ x)
"""
CONFIG = """
objective: {python: "model:fun"}
parameters:
  - {name: beside, value: 1}
  - {name: once, value: 2}
  - {name: always, value: 3}
  - {name: other, value: 4}
evaluation: {on_failure: nan, retries: {crash: 1}, deterministic: false}
cluster: {address: local, num_cpus: 2}
output: out
"""


def test_memory_is_charged_to_whoever_takes_it(tmp_path: Path) -> None:
    # As Ray's monitor counts it: a container's share, where there is one.
    import ray._private.utils as ray_utils

    total: int = ray_utils.get_system_memory()  # type: ignore[attr-defined]  # Ray lacks types
    used: int = ray_utils.get_used_memory()  # type: ignore[no-untyped-call]  # the same
    room = min(ROOM, (total - used) // 3)
    blocks = min(MOST, (total - used) * 9 // 10) // BLOCK
    (tmp_path / "model.py").write_text(MODEL.replace("BLOCKS", str(blocks)).replace("BLOCK", str(BLOCK)))
    (tmp_path / "job.yaml").write_text(CONFIG)
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_memory_usage_threshold": f"{(used + room) / total:.6f}",
        "RAY_memory_monitor_refresh_ms": "100",
    }
    argv = [sys.executable, "-m", "distfd", "run", "job.yaml"]
    run = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 3, run.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (result["status"], result["missing"]) == ("partial", ["always"])
    assert [result["derivative"][k] for k in (0, 1, 3)] == pytest.approx([2, 4, 8], rel=1e-6)
    with closing(sqlite3.connect(tmp_path / "out" / "evaluations.sqlite")) as base:
        rows = base.execute("SELECT parameter, status, cause FROM evaluations").fetchall()
    ends = Counter((parameter, status) for parameter, status, _ in rows)
    assert {key: n for key, n in ends.items() if key[1] not in ("ok", "lost")} == {("always", "crash"): 2}
    assert {parameter for parameter, status, _ in rows if status == "ok"} == {None, "beside", "once", "other"}
    assert all("its node ran out of memory" in cause for _, status, cause in rows if status == "crash")
    told = [cause for parameter, status, cause in rows if (parameter, status) == ("once", "lost")]
    assert "others were at work there" in told[0]
