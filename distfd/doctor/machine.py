"""The machine: cores, threads, memory, limits and the clock."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.doctor.finding import Finding
from distfd.workers.cgroups import group_possible
from distfd.workers.cores import countable_cores, usable_cores
from distfd.workers.memory import available_memory
from distfd.workers.threads import VARIABLES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_FILES = 4096
"""Open files that Ray asks for; its workers and sockets are many."""
_MEMORY = 2**30
_SHARED = 2**28
_EARLIEST = 1_735_689_600
"""2025-01-01, before which distfd was not there."""


def machine_findings(counted: int | None, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Cores against what a private cluster counts, and the rest.

    Parameters
    ----------
    counted : int or None
        Cores that the configuration has a private cluster count; None for all that this process may use.
    environ : mapping
        The environment.
    """
    yield _cores(counted, os.cpu_count() or 1, usable_cores())
    yield _threads(environ)
    yield _memory()
    yield _open_files()
    yield _left_running()
    yield _clock(time.time())


def _cores(counted: int | None, all_cores: int, usable: float) -> Finding:
    text = f"{usable:g} of {all_cores} are this process's to use"
    given = counted or countable_cores()
    if given > usable:
        return Finding(
            "cores",
            f"{text}; a private cluster counts {given}, so evaluations would share them",
            "warning",
            f"cluster: {{num_cpus: {max(1, int(usable))}}}; more is right only for evaluations that mostly wait",
        )
    return Finding("cores", text)


def _threads(environ: Mapping[str, str]) -> Finding:
    given = [f"{name}={environ[name]}" for name in VARIABLES if environ.get(name)]
    text = "BLAS and OpenMP get resources.num_cpus threads in each worker"
    return Finding("threads", f"{text}, in the place of {', '.join(given)}" if given else text)


def _memory() -> Finding:
    import psutil

    free = int(available_memory())
    shared = Path("/dev/shm")  # noqa: S108  # Ray's own place, only looked at
    shm = psutil.disk_usage(str(shared)).free if shared.is_dir() else None
    text = f"{_amount(free)} available" + (f", {_amount(shm)} of shared memory" if shm is not None else "")
    if free < _MEMORY:
        return Finding("memory", text, "warning", "end other programs; Ray alone takes some 500 MiB")
    if shm is not None and shm < _SHARED:
        return Finding(
            "memory", text, "warning", "give the container more /dev/shm (docker run --shm-size=1g); Ray shares x there"
        )
    return Finding("memory", text)


def _open_files() -> Finding:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} open files allowed"
    if 0 <= soft < _FILES:
        return Finding("limits", text, "warning", f"ulimit -n {_FILES if hard < 0 else min(_FILES, hard)}")
    return Finding("limits", text)


def _left_running() -> Finding:
    if group_possible():
        return Finding("left running", "each worker has a control group, which is ended with it as a whole")
    text = "no control group may be made here, so what workers leave is found by parents and marks alone"
    return Finding("left running", text)


def _clock(now: float) -> Finding:
    text = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if now < _EARLIEST:
        return Finding("clock", text, "warning", "set the clock (timedatectl set-ntp true); clusters compare times")
    return Finding("clock", text)


def _amount(n: float) -> str:
    return f"{n / 2**30:.1f} GiB"
