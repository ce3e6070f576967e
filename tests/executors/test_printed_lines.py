"""What J prints arrives line by line: a private cluster merges no lines, unless the user has Ray do so."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from distfd.executors.ray import internals

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]

PROGRAM = """
import time
import ray  # which reads its variables now
import distfd

def misfit(x):
    time.sleep(0.1)  # so that both slots have work
    print("J was here")
    return float(x @ x)

with distfd.Evaluator(misfit, executor=distfd.RayExecutor(num_cpus=2), check=False) as ev:
    print("sum", ev.gradient([1.0] * 9).sum())
"""


def printed(folder: Path, variables: Mapping[str, str]) -> list[str]:
    (folder / "program.py").write_text(PROGRAM)
    clean = {name: text for name, text in os.environ.items() if name != "RAY_DEDUP_LOGS"}
    ran = subprocess.run(
        [sys.executable, "program.py"],
        check=False,
        cwd=folder,
        env={**clean, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    return [line for line in ran.stdout.splitlines() if "J was here" in line]


def test_the_same_line_of_every_evaluation_arrives(tmp_path: Path) -> None:
    lines = printed(tmp_path, {})
    assert len(lines) == 10
    assert len({line.partition("J was")[0] for line in lines}) == 2  # of two processes
    assert not any("repeated" in line for line in lines)


@pytest.mark.slow
def test_what_the_user_says_to_ray_holds(tmp_path: Path) -> None:
    lines = printed(tmp_path, {"RAY_DEDUP_LOGS": "1"})
    assert len(lines) < 10
    assert any("repeated" in line for line in lines)


@pytest.mark.parametrize("name", ["RAY_DEDUP_LOGS", internals.PLAIN])
def test_ray_is_left_as_it_is_where_a_variable_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logs: Any = importlib.import_module("ray._private.ray_logging")
    for other in ("RAY_DEDUP_LOGS", internals.PLAIN):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr(logs, "RAY_DEDUP_LOGS", True)
    with monkeypatch.context() as given:
        given.setenv(name, "1")
        internals.show_every_line()
        assert logs.RAY_DEDUP_LOGS is True
    internals.show_every_line()
    assert logs.RAY_DEDUP_LOGS is False
