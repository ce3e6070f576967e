"""A control group for each worker, below the one it began in, where the kernel lets it have one.

What a worker starts is in its group, whatever it does to its parents, session and environment, and the kernel can end
a whole group at once. No controller is turned on: limits and accounts stay those of the group above, as Slurm,
systemd or a container have set them.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from distfd.workers.reaper import end_group

_PREFIX = "distfd-worker-"


def enter_group(mark: str) -> Path | None:
    """Move this process into a new group below its own; None where that may not be had, and nothing has changed.

    What is left of workers that are gone, and whose reapers are gone as well, is ended first.
    """
    above = _own_group()
    if above is None:
        return None
    _end_forsaken(above)
    group = above / f"{_PREFIX}{os.getpid()}-{mark}"
    try:
        group.mkdir()
        (group / "cgroup.kill").stat()  # not there before Linux 5.14
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")
    except OSError:
        with contextlib.suppress(OSError):
            group.rmdir()
        return None
    return group


def group_possible() -> bool:
    """Whether a process here may have a group below its own; one is made and removed again, and nothing is moved."""
    above = _own_group()
    if above is None:
        return False
    group = above / f"{_PREFIX}{os.getpid()}-probe"
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        # Whoever moves a process writes to the group above both.
        return (group / "cgroup.kill").exists() and os.access(above / "cgroup.procs", os.W_OK)
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def _own_group() -> Path | None:
    """The folder of this process's group in the hierarchy of version 2."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    name = next((line[3:] for line in groups if line.startswith("0::/")), None)
    for mount in mounts:
        left, _, right = mount.partition(" - ")
        if name is None or not right.startswith("cgroup2 "):
            continue
        root, place = left.split()[3:5]
        folder = Path(place) / os.path.relpath(name, root)
        # Inside a container the names of the two files may have other beginnings.
        with contextlib.suppress(OSError):
            if str(os.getpid()) in (folder / "cgroup.procs").read_text(encoding="ascii").split():
                return folder
    return None


def _end_forsaken(above: Path) -> None:
    """End the groups beside ours whose workers are gone."""
    with contextlib.suppress(OSError):
        for group in above.glob(f"{_PREFIX}*"):
            worker = group.name.removeprefix(_PREFIX).partition("-")[0]
            members = (group / "cgroup.procs").read_text(encoding="ascii").split()
            # 0 is a process of another namespace, whose numbers say nothing here.
            if not {worker, "0"} & set(members) and not Path("/proc", worker).exists():
                end_group(str(group))
