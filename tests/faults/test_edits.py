"""Files that are edited while a run is on: every point is of the J that the run began with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MODEL = """
import os, pathlib, time
import helper
HERE = pathlib.Path(__file__).parent
def fun(x):
    import late                                     # imported once J runs, after the edit
    crashed = HERE / "crashed"
    if x[3] != 4.0 and not crashed.exists():        # once
        crashed.touch()
        (HERE / "helper.py").write_text("def square(x): return 1000.0 * float(x @ x)\\n")
        (HERE / "late.py").write_text("K = 1000.0\\n")
        text = (HERE / "model.py").read_text()
        (HERE / "model.py").write_text(text.replace("1.0 *", "777.0 *"))
        os._exit(7)
    time.sleep(0.02)
    return 1.0 * helper.square(x) * late.K
"""
CONFIG = """
objective: {python: "model:fun"}
x0: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]
cluster: {address: local, num_cpus: 2}
output: out
"""


@pytest.mark.parametrize("joined", [False, True], ids=["private", "joined"])
def test_a_worker_that_is_replaced_has_the_sessions_text(joined: bool, tmp_path: Path, ray_address: str) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "helper.py").write_text("def square(x): return float(x @ x)\n")
    (tmp_path / "late.py").write_text("K = 1.0\n")
    (tmp_path / "job.yaml").write_text(CONFIG)
    argv = [sys.executable, "-m", "distfd", "run", "job.yaml"]
    if joined:
        argv += [f"cluster.address={ray_address}", "cluster.num_cpus=null"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(argv, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "crashed").exists()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["derivative"] == pytest.approx([2.0 * k for k in range(1, 14)], rel=1e-5)
    assert result["value"] == 819.0
