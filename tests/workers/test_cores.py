"""Cores that a process may use, by its affinity and its control group."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from distfd.workers.cores import cgroup_quota, countable_cores, usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
ASK = "from distfd.workers.cores import countable_cores, usable_cores; print(usable_cores(), countable_cores())"


def asked(*before: str) -> tuple[float, int]:
    """What another process says of itself, started by these words."""
    argv = [*before, sys.executable, "-c", ASK]
    said = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return float(said[0]), int(said[1])


def test_the_quota_of_a_container(tmp_path: Path) -> None:
    """Its own group is the root there."""
    groups = tmp_path / "groups"
    groups.write_text("0::/\n")
    assert cgroup_quota(groups, tmp_path) == math.inf
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert cgroup_quota(groups, tmp_path) == math.inf
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert cgroup_quota(groups, tmp_path) == 1.5
    assert usable_cores(groups, tmp_path) <= 1.5
    assert cgroup_quota(tmp_path / "none", tmp_path) == 1.5


def test_the_least_quota_on_the_way_up_counts(tmp_path: Path) -> None:
    groups = tmp_path / "groups"
    groups.write_text("0::/slice/job/step\n")
    (tmp_path / "slice/job/step").mkdir(parents=True)
    (tmp_path / "slice/job/step/cpu.max").write_text("800000 100000\n")
    assert cgroup_quota(groups, tmp_path) == 8.0
    (tmp_path / "slice/cpu.max").write_text("300000 100000\n")
    assert cgroup_quota(groups, tmp_path) == 3.0


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path: Path, controllers: str) -> None:
    groups = tmp_path / "groups"
    groups.write_text(f"9:memory:/m\n4:{controllers}:/job\n1:cpuset:/job\n")
    at = tmp_path / controllers / "job"
    at.mkdir(parents=True)
    (at / "cpu.cfs_period_us").write_text("100000\n")
    (at / "cpu.cfs_quota_us").write_text("-1\n")
    assert cgroup_quota(groups, tmp_path) == math.inf
    (at / "cpu.cfs_quota_us").write_text("50000\n")
    assert cgroup_quota(groups, tmp_path) == 0.5


@pytest.mark.skipif(shutil.which("taskset") is None, reason="NOT tested: taskset is missing")
def test_one_core_by_affinity() -> None:
    first = min(os.sched_getaffinity(0))
    assert asked("taskset", "-c", str(first))[1] == 1


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group of this test, where the machine lets one be made."""
    top = Path("/sys/fs/cgroup/cpu")
    version_1 = (top / "cpu.cfs_quota_us").exists() or (top / "cgroup.procs").exists()
    made = (top if version_1 else Path("/sys/fs/cgroup")) / f"distfd-test-{os.getpid()}"
    try:
        made.mkdir()
        if version_1:
            (made / "cpu.cfs_quota_us").write_text("50000")
        else:
            (made / "cpu.max").write_text("50000 100000")
    except OSError as error:
        if made.exists():
            made.rmdir()
        pytest.skip(f"NOT tested: no control group with a quota can be made here ({error})")
    yield made
    made.rmdir()


def test_a_real_control_group(group: Path) -> None:
    enter = f'echo $$ > {group}/cgroup.procs && exec "$0" "$@"'
    assert asked("sh", "-c", enter) == (0.5, 1)


def test_this_process() -> None:
    assert 1 <= countable_cores() <= (os.cpu_count() or 1)
