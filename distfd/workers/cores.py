"""The cores that this process may use: what its affinity and its control groups leave of those of the machine."""

from __future__ import annotations

import math
import os
import re
from typing import TYPE_CHECKING

from distfd.workers.control_groups import GROUPS, MOUNT, own_groups

if TYPE_CHECKING:
    from pathlib import Path


def countable_cores() -> int:
    """Whole cores that a private cluster counts where it is told no number; at least 1."""
    return max(1, int(usable_cores()))


def usable_cores(groups: Path = GROUPS, mount: Path = MOUNT) -> float:
    """Cores that this process may use: those of its affinity (taskset), or fewer by its control group's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(affinity, cgroup_quota(groups, mount))


def cgroup_quota(groups: Path = GROUPS, mount: Path = MOUNT) -> float:
    """Cores' worth of time that the control groups of this process allow; infinite where they set no limit.

    Parameters as for `distfd.workers.control_groups.own_groups`.
    """
    least = math.inf
    for version, at in own_groups("cpu", groups, mount):
        files = (at / "cpu.max",) if version == 2 else (at / "cpu.cfs_quota_us", at / "cpu.cfs_period_us")
        least = min(least, _quota(*files))
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
