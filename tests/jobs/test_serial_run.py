"""A run in distfd's own process: `cluster: {address: serial}`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from distfd.config.load import load_config
from distfd.jobs.preview import plan_job

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """objective: {python: "j:f"}
parameters: [{name: a, value: 2.0}, {name: b, value: 3.0}]
derivative: {scheme: central}
cluster: {address: serial}
output: run
"""
NO_RAY = """import sys
sys.modules["ray"] = None
from distfd.cli import main
sys.exit(main())
"""


def test_it_runs_without_ray(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(TEXT)
    (tmp_path / "j.py").write_text("def f(x):\n    return x[0] ** 2 * x[1]\n")
    (tmp_path / "no_ray.py").write_text(NO_RAY)
    command = [sys.executable, "no_ray.py", "run", "c.yaml"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["derivative"] == pytest.approx([12.0, 4.0], rel=1e-8)
    assert found["slots"] == 1


def test_plan_has_one_slot(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(TEXT)
    found = plan_job(load_config(tmp_path / "c.yaml"), no_import=True)
    assert (found.fields["slots"], found.fields["rounds"]) == (1, found.fields["evaluations"]["usual"])
    assert ("slots", "1 (this process, without Ray)") in found.rows
