"""Faults as a user's shell sees them: exit code, one message, and what result.json says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
MODEL = """
import math, os, time

def at(x, fault):
    if x[1] == 2.0 or (fault == "wall" and x[1] < 2.0):
        return float(x @ x)
    if fault == "nan":
        return math.nan
    if fault == "exit":
        os._exit(7)
    raise ValueError("negative width")

class Never:
    def __init__(self, fault):
        self.fault = fault

    def setup(self):
        if self.fault == "exit":
            os._exit(7)
        while True:
            time.sleep(3600)

    def reset(self):
        pass

    def evaluate(self, x):
        return float(x @ x)
"""

CASES: dict[str, tuple[dict[str, Any], str, int, str, str]] = {
    "nan": ({"python": "model:at", "args": ["nan"]}, "raise", 3, "failed", "J returned nan"),
    "death": ({"python": "model:at", "args": ["exit"]}, "raise", 3, "failed", "the worker process died"),
    "missing component": ({"python": "model:at", "args": ["nan"]}, "nan", 3, "partial", ""),
    "one side": ({"python": "model:at", "args": ["wall"]}, "repair", 0, "done", ""),
    "no side": ({"python": "model:at", "args": ["raise"]}, "repair", 3, "partial", ""),
    "program": ({"command": "exit 5"}, "raise", 3, "failed", "return code 5"),
    "setup hangs": ({"simulator": "model:Never", "args": ["hang"]}, "raise", 3, "failed", "setup() was still running"),
    "setup dies": ({"simulator": "model:Never", "args": ["exit"]}, "raise", 3, "failed", "setup(): the worker process"),
    "no program": ({"command": None}, "raise", 2, "", "no-such-simulator is not installed"),
}
"""Objective, on_failure, exit code, status, and what the message says."""


def write(folder: Path, objective: dict[str, Any], on_failure: str) -> None:
    (folder / "model.py").write_text(MODEL)
    (folder / "deck.j2").write_text("{{ width }} {{ mass }}")
    if "command" in objective:
        code = f"test $(cut -d' ' -f1 deck) = 2 || {objective['command']}; echo 1"
        argv = ["no-such-simulator"] if objective["command"] is None else ["sh", "-c", code]
        outputs = {"J": {"file": "stdout", "regex": "(.+)"}}
        objective = {"command": {"argv": argv, "inputs": {"deck": "deck.j2"}, "outputs": outputs}}
    hangs = objective.get("args") == ["hang"]
    config = {
        "objective": objective,
        "parameters": [{"name": name, "value": value} for name, value in (("mass", 1.5), ("width", 2.0))],
        "evaluation": {"on_failure": on_failure, "retries": 0} | ({"setup_timeout": 5} if hangs else {}),
        "output": "run",
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=[] if case in {"death", "nan", "no program", "setup dies"} else [pytest.mark.nightly])
        for case in CASES
    ],
)
def test_exit_code_message_and_result(tmp_path: Path, ray_address: str, case: str) -> None:
    objective, on_failure, code, status, text = CASES[case]
    write(tmp_path, objective, on_failure)
    env = {**os.environ, "RAY_ADDRESS": ray_address, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "distfd", "run", "job.yaml"]
    ran = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == code, ran.stderr
    assert text in ran.stderr
    assert "distfd/" not in ran.stderr, "a traceback of distfd's own"
    if not status:
        assert not (tmp_path / "run" / "result.json").exists()
        return
    found = json.loads((tmp_path / "run" / "result.json").read_text())
    assert found["status"] == status
    if "setup" in case:
        assert found["derivative"] is None
        return
    if status == "failed":
        assert "coordinate 1 ('width')" in ran.stderr
        assert "coordinate 1 ('width')" in found["message"]
        assert found["derivative"] is None
        return
    assert found["missing"] == (["width"] if status == "partial" else [])
    assert list(found["repaired"]) == ([] if status == "partial" else ["width"])
    assert (found["derivative"][1] is None) == (status == "partial")
    assert found["derivative"][0] == pytest.approx(3.0, rel=1e-6)
    assert "width" in ran.stdout
    if status == "done":
        assert found["derivative"][1] == pytest.approx(4.0, rel=1e-6)
        assert "J failed at x + 2.98e-08 (error: ValueError: negative width)" in found["repaired"]["width"]
        assert "repaired: width: J failed at" in ran.stdout


@pytest.mark.parametrize("command", ["run ../job.yaml", "plan ../job.yaml", "doctor", "init"])
def test_a_working_directory_that_is_gone(tmp_path: Path, command: str) -> None:
    (tmp_path / "job.yaml").write_text("objective: {python: 'math:fsum'}\nx0: [1, 2]\noutput: out\n")
    gone = tmp_path / "gone"
    gone.mkdir()
    argv = ["sh", "-c", f'rmdir ../gone && exec "$0" -m distfd {command}', sys.executable]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(argv, cwd=gone, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "distfd: the working directory has been removed: change to one that is there (cd)\n"
