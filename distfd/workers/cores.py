"""The cores that this process may use: what its affinity and its control groups leave of those of the machine."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path

_PROC = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def countable_cores() -> int:
    """Whole cores that a private cluster counts where it is told no number; at least 1."""
    return max(1, int(usable_cores()))


def usable_cores(groups: Path = _PROC, mount: Path = _MOUNT) -> float:
    """Cores that this process may use: those of its affinity (taskset), or fewer by its control group's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(affinity, cgroup_quota(groups, mount))


def cgroup_quota(groups: Path = _PROC, mount: Path = _MOUNT) -> float:
    """Cores' worth of time that the control groups of this process allow; infinite where they set no limit.

    A group's limit holds for all groups below it, so the least of those from its own group up to the root counts.
    Inside a container the root is the container's own group.

    Parameters
    ----------
    groups : path
        The groups of this process, as in /proc/self/cgroup: ``0::/path`` (version 2) or ``4:cpu,cpuacct:/path``.
    mount : path
        Where the groups are mounted.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    least = math.inf
    for controllers, path in [("", "/"), ("cpu", "/"), *(tuple(line.split(":", 2)[1:]) for line in lines)]:
        if controllers and "cpu" not in controllers.split(","):
            continue
        own = Path(path.strip("/"))
        for group in (own, *own.parents):
            if not controllers:
                least = min(least, _quota(mount / group / "cpu.max"))
                continue
            for top in ("cpu", controllers):
                at = mount / top / group
                least = min(least, _quota(at / "cpu.cfs_quota_us", at / "cpu.cfs_period_us"))
    return least


def _quota(*files: Path) -> float:
    """Quota over period, from the words of these files; infinite where there is none."""
    try:
        words = [word for file in files for word in file.read_text().split()]
    except OSError:
        return math.inf
    if len(words) < 2 or not all(re.fullmatch(r"\d+", word) for word in words[:2]) or not int(words[1]):
        return math.inf
    return int(words[0]) / int(words[1])
