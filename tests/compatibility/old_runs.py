"""What the script that makes the old runs and the test that goes on with them have in common."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import IO

RUNS = Path(__file__).parent / "runs"
ROOT = Path(__file__).parents[2]
FINISHED = ("gradient", "bytecode", "simulator", "command", "minimized")
KILLED = ("minimize-killed", "left-by-workers")

_CLUSTER = """
import logging, sys
import ray
from distfd.executors.ray.internals import quick_start
with quick_start(log_monitor=False):
    ray.init(address="local", num_cpus=int(sys.argv[1]), include_dashboard=False, logging_level=logging.ERROR,
             log_to_driver=False)
print(ray.get_runtime_context().gcs_address, flush=True)
sys.stdin.read()  # until this program's maker ends, however it does
ray.shutdown()
"""


class Cluster:
    """A cluster whose workers write their calls into a folder: what they get is its environment, not the driver's.

    Parameters
    ----------
    folder : Path
        ``calls`` in it has a line for each call of J; while there is a file ``hold``, they wait.
    num_cpus : int
    seconds : float
        What each call takes at least.
    """

    def __init__(self, folder: Path, num_cpus: int, seconds: float = 0.0) -> None:
        self._folder = folder
        environ = {**_environ(), "OLD_RUNS": str(folder), "OLD_RUNS_SECONDS": str(seconds)}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CLUSTER, str(num_cpus)],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._address = _open(self._process.stdout).readline().strip()

    def close(self) -> None:
        """End it."""
        _open(self._process.stdin).close()
        self._process.wait()
        _open(self._process.stdout).close()

    def start(self, folder: Path, *args: str) -> subprocess.Popen[str]:
        """``distfd`` in a folder, on this cluster."""
        return subprocess.Popen(
            [sys.executable, "-m", "distfd", *args],
            cwd=folder,
            env={**_environ(), "RAY_ADDRESS": self._address},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, folder: Path, *args: str) -> tuple[int, str]:
        """Its exit code and all that it says."""
        process = self.start(folder, *args)
        told = "".join(process.communicate(timeout=120))
        return process.returncode, told

    def calls(self) -> list[str]:
        """Calls of J so far."""
        path = self._folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def forget_calls(self) -> None:
        """Count from 0 again."""
        (self._folder / "calls").unlink(missing_ok=True)

    def hold(self, wanted: bool) -> None:
        """Have calls wait, or go on."""
        if wanted:
            (self._folder / "hold").touch()
        else:
            (self._folder / "hold").unlink(missing_ok=True)


def _open(stream: IO[str] | None) -> IO[str]:
    assert stream is not None, "both are pipes"
    return stream


def _environ() -> dict[str, str]:
    environ = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return {**environ, "PYTHONPATH": str(ROOT)}


def lay_out(case: str, folder: Path, *, with_run: bool) -> None:
    """A case in a folder of its own, with or without the run's directory."""
    dropped = ("expected.json", "__pycache__") if with_run else ("expected.json", "__pycache__", "run")
    shutil.copytree(RUNS / case, folder, ignore=shutil.ignore_patterns(*dropped))


def n_held(run: Path) -> int:
    """Values that the store holds, or the spool beside it."""
    with closing(sqlite3.connect(run / "evaluations.sqlite")) as base:
        (stored,) = base.execute("SELECT count(*) FROM evaluations WHERE status = 'ok'").fetchone()
    return int(stored) + len(left(run))


def left(run: Path) -> list[Path]:
    """Files that workers left."""
    return sorted((run / "spool").glob("session-*/*.json"))
