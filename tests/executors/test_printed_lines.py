"""What J prints arrives line by line: a private cluster merges no lines, unless the user has Ray do so."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from distfd.executors.ray import internals

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, sys, time
from pathlib import Path
import ray  # which reads its variables now
import distfd

def misfit(x):
    Path(f"worker-{os.getpid()}").touch()
    end = time.monotonic() + 60
    while len(list(Path().glob("worker-*"))) < 2 and time.monotonic() < end:  # until both slots have work
        time.sleep(0.05)
    time.sleep(0.1)
    print("J was here")
    return float(x @ x)

with distfd.Evaluator(misfit, executor=distfd.RayExecutor(num_cpus=2), check=False) as ev:
    ev.gradient([1.0] * 9)
    sys.stdin.read()  # until the lines have arrived, which Ray sends when it comes to it
"""


def printed(folder: Path, variables: Mapping[str, str], enough: Callable[[list[str]], bool]) -> list[str]:
    """The lines of J, once there are enough, or none comes any more for two minutes."""
    (folder / "program.py").write_text(PROGRAM)
    clean = {name: text for name, text in os.environ.items() if name != "RAY_DEDUP_LOGS"}
    lines: list[str] = []
    with subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=folder,
        env={**clean, "RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT), **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as ran:
        assert ran.stdin is not None
        assert ran.stdout is not None
        late = threading.Timer(120, ran.stdin.close)
        late.start()
        for line in ran.stdout:
            if "J was here" in line:
                lines.append(line)
            if enough(lines):
                break
        late.cancel()
        ran.stdin.close()
        lines += [line for line in ran.stdout if "J was here" in line]
    assert ran.returncode == 0
    return lines


def test_the_same_line_of_every_evaluation_arrives(tmp_path: Path) -> None:
    lines = printed(tmp_path, {}, lambda lines: len(lines) >= 10)
    assert len(lines) == 10
    assert len({line.partition("J was")[0] for line in lines}) == 2  # of two processes
    assert not any("repeated" in line for line in lines)


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
