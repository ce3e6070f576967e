"""The control groups of this process, whose limits of cores and memory hold for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GROUPS = Path("/proc/self/cgroup")
MOUNT = Path("/sys/fs/cgroup")


def own_groups(controller: str, groups: Path = GROUPS, mount: Path = MOUNT) -> Iterator[tuple[int, Path]]:
    """Version, 1 or 2, and directory of each group that this process is in, with those above it.

    A group's limit holds for all groups below it, so the least of those from its own group up to the root counts.
    Inside a container the root is the container's own group.

    Parameters
    ----------
    controller : str
        "cpu" or "memory".
    groups : path
        The groups of this process, as in /proc/self/cgroup: ``0::/path`` (version 2) or ``4:cpu,cpuacct:/path``.
    mount : path
        Where the groups are mounted.
    """
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        lines = []
    for controllers, path in [("", "/"), (controller, "/"), *(tuple(line.split(":", 2)[1:]) for line in lines)]:
        if controllers and controller not in controllers.split(","):
            continue
        own = Path(path.strip("/"))
        for group in (own, *own.parents):
            if not controllers:
                yield 2, mount / group
                continue
            for top in (controller, controllers):
                yield 1, mount / top / group
