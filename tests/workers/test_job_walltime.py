"""Jobs whose time runs out: nothing is begun that cannot be done, and what was done is kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_slots import SimulatedSlots

import distfd
from distfd.core.awake_clock import now
from distfd.scheduling.policy import Policy
from distfd.scheduling.scheduler import Scheduler
from distfd.scheduling.slot_pool import SlotPool
from distfd.workers.job_walltime import TimeLimit, find_time_limit

if TYPE_CHECKING:
    from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]


def test_the_first_of_all_ends_counts() -> None:
    assert find_time_limit(None, None, {"SLURM_JOB_END_TIME": "1"}) is None, "Slurm's end is asked for with stop_before"
    alone = find_time_limit(None, 3600.0, {})
    assert alone is not None
    assert alone.end - now() == pytest.approx(3600, abs=60)
    soon = str(int(time.time()) + 100)
    slurm = find_time_limit(40.0, 3600.0, {"SLURM_JOB_END_TIME": soon})
    assert slurm is not None
    assert slurm.end - now() == pytest.approx(60, abs=20)
    assert "Slurm ends the job at" in slurm.why
    later = find_time_limit(40.0, 50.0, {"SLURM_JOB_END_TIME": str(int(time.time()) + 9000)})
    assert later is not None
    assert "max_wall_time is 50 s" in later.why


def test_an_older_slurm_is_asked_by_scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = datetime.fromtimestamp(time.time() + 500).replace(microsecond=0)  # noqa: DTZ006  # as scontrol: local time
    fake = tmp_path / "scontrol"
    fake.write_text(f'#!/bin/sh\n[ "$*" = "show job -o 77" ] && echo JobId=77 A=b=c EndTime={end.isoformat()} X=\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = find_time_limit(100.0, None, {"SLURM_JOB_ID": "77"})
    assert found is not None
    assert found.end - now() == pytest.approx(400, abs=30)
    fake.write_text("#!/bin/sh\necho JobId=77 EndTime=Unknown\n")
    with pytest.warns(RuntimeWarning, match="stop_before has no effect"):
        assert find_time_limit(100.0, None, {"SLURM_JOB_ID": "77"}) is None
    fake.write_text("#!/bin/sh\nexit 1\n")
    with pytest.warns(RuntimeWarning, match="stop_before has no effect"):
        assert find_time_limit(100.0, None, {"SLURM_JOB_ID": "77"}) is None


@pytest.mark.parametrize(
    ("stop_before", "max_wall_time", "text"),
    [(0.0, None, "stop_before: must be > 0"), (None, -1.0, "max_wall_time: must be > 0"), (9.0, 9.0, "leave nothing")],
)
def test_limits_that_make_no_sense(stop_before: float | None, max_wall_time: float | None, text: str) -> None:
    with pytest.raises(distfd.InputError, match=text):
        find_time_limit(stop_before, max_wall_time, {})


def limited(n: int, until: float, slots: int, seconds: list[float], *, seen: float | None) -> Any:
    """A wave on simulated slots until all is done or the scheduler says that the time is up."""
    pool = SlotPool(slots=slots)
    if seen is not None:
        pool.times.note(1, np.zeros(1, np.int64), np.array([seen]))
    policy = Policy(retries={}, limit=TimeLimit(until, "the test says so"), backups=True)
    scheduler = Scheduler(np.arange(n), None, policy, pool)
    return SimulatedSlots(scheduler, slots, lambda k: seconds[k])


@given(
    n=st.integers(1, 40),
    slots=st.integers(1, 5),
    second=st.sampled_from([0.001, 0.01, 0.3, 1.0, 7.0]),
    whole=st.integers(0, 8),
    part=st.floats(0.1, 0.9),
)
def test_what_fits_is_done_and_nothing_else_is_begun(
    n: int, slots: int, second: float, whole: int, part: float
) -> None:
    until = (whole + part) * second
    wave = limited(n, until, slots, [second] * n, seen=second)
    while not wave.scheduler.finished and not wave.scheduler.out_of_time(wave.now):
        wave.step()
    assert len(wave.final) == min(n, whole * slots)
    assert max(wave.busy_until.values(), default=0.0) <= until, "no evaluation is cut off"
    assert wave.now <= until


def test_of_unknown_length_one_is_tried_until_the_end() -> None:
    wave = limited(3, 5.0, 1, [4.0, 4.0, 4.0], seen=None)
    while not wave.scheduler.out_of_time(wave.now):
        wave.step()
    assert (len(wave.final), wave.now) == (1, 4.0), "the first tells how long the others take"
    wave = limited(1, 5.0, 1, [100.0], seen=None)
    while not wave.scheduler.out_of_time(wave.now):
        wave.step()
    assert (len(wave.final), wave.now) == (0, 5.0)


MODEL = """
import pathlib, time

def fun(x):
    with open("began", "a") as file:
        file.write("x")
    time.sleep(0.3 if pathlib.Path("slow").exists() else 0)
    with open("ended", "a") as file:
        file.write("x")
    return float(x @ x)
"""


@pytest.mark.slow
def test_a_run_stops_in_time_and_goes_on(tmp_path: Path, ray_address: str) -> None:
    """It would take 30 s on the two slots there are."""
    (tmp_path / "model.py").write_text(
        MODEL.replace('open("', f'open("{tmp_path}/').replace('Path("', f'Path("{tmp_path}/')
    )
    (tmp_path / "job.yaml").write_text(f"objective: {{python: 'model:fun'}}\nx0: {list(range(1, 200))}\noutput: out\n")
    (tmp_path / "slow").touch()
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ADDRESS": ray_address}

    def run(*overrides: str, **more: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "distfd", "run", "job.yaml", *overrides]
        return subprocess.run(argv, cwd=tmp_path, env=environ | more, capture_output=True, text=True, check=False)

    def lines() -> list[int]:
        files = [tmp_path / name for name in ("began", "ended")]
        return [len(file.read_text()) if file.exists() else 0 for file in files]

    short = run("cluster.max_wall_time=7s", "cluster.stop_before=1s")
    assert short.returncode == 130, short.stderr
    assert "the time is up (max_wall_time is 7 s)" in short.stderr
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["status"] == "interrupted"
    kept, (began, ended) = result["n_evaluations"], lines()
    assert kept < 200
    assert began - 2 <= kept <= ended, "one a slot at most was cut off, where the machine was slower than before"

    soon = str(int(time.time()) + 60)
    none = run("cluster.stop_before=1h", SLURM_JOB_END_TIME=soon)
    assert none.returncode == 130
    assert "Slurm ends the job at" in none.stderr
    assert lines() == [began, ended]

    (tmp_path / "slow").unlink()
    done = run()
    assert done.returncode == 0, done.stderr
    assert lines() == [began + 200 - kept, ended + 200 - kept], "what was kept is not made again"


def test_an_optimisation_gives_what_it_has() -> None:
    class Serial(distfd.SerialExecutor):
        time_limit: TimeLimit | None = None

    def fun(x: NDArray[np.float64]) -> float:
        calls.append(1)
        if len(calls) == 10:
            object.__setattr__(ev._session.policy, "limit", TimeLimit(now(), "the test says so"))
        return float(((x - 3) ** 4).sum())

    calls: list[int] = []
    ev = distfd.Evaluator(fun, executor=Serial())
    with ev:
        result = distfd.minimize(ev, np.zeros(2), speculative=False)
    assert not result.success
    assert result.message.startswith("the time is up (the test says so)")
    assert result.fun < 162
    with pytest.raises(distfd.TimeUpError, match="the time is up"):
        ev.gradient(np.ones(2))
