"""The memory that this process may still take: what the machine has available, or what a control group leaves of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from distfd.workers.control_groups import GROUPS, MOUNT, own_groups

if TYPE_CHECKING:
    from pathlib import Path

_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By version: the file with the limit, that with what is used, and what of it the kernel gives back when asked."""


def available_memory(groups: Path = GROUPS, mount: Path = MOUNT) -> float:
    """Bytes that may still be taken without swapping.

    Parameters as for `distfd.workers.control_groups.own_groups`.
    """
    import psutil

    least = float(psutil.virtual_memory().available)
    for version, at in own_groups("memory", groups, mount):
        limit, used, cache = _FILES[version]
        most, taken = _number(at / limit), _number(at / used)
        if math.isfinite(most) and math.isfinite(taken):
            least = min(least, most - max(0.0, taken - _cached(at / "memory.stat", cache)))
    return max(0.0, least)


def _number(file: Path) -> float:
    """The number in a file; infinite where there is none, or no such file."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return math.inf


def _cached(file: Path, name: str) -> float:
    try:
        rows = dict(line.split() for line in file.read_text().splitlines())
        return float(rows.get(name, 0))
    except (OSError, ValueError):
        return 0.0
