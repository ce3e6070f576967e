"""The folder that runs go to: whether it is fast, safe and roomy enough for a database."""

from __future__ import annotations

import fcntl
import os
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

from distfd.doctor.finding import Finding
from distfd.stores.filesystem import network_filesystem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SLOW = 0.05
"""Seconds of a durable write from which on many short evaluations wait for it."""
_ROOM = 2**30
_LITTLE = 2**26
_SKEW = 5.0
"""Seconds by which the file system's clock may differ from this machine's."""


def storage_findings(output: Path) -> Iterator[Finding]:
    """The file system of ``output``, of which the folder that is there already is tried.

    Parameters
    ----------
    output : Path
        A run's directory, which need not exist.
    """
    folder = next(path for path in (output, *output.parents) if path.is_dir())
    kind = network_filesystem(folder)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            seconds = _fsync_seconds(file.fileno())
            skew = os.fstat(file.fileno()).st_mtime - time.time()
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        remedy = "choose another output, on a file system that can be written and locked"
        yield Finding("store", f"{folder} is of no use: {error.strerror or error}", "error", remedy, 5)
        return
    yield _room(folder)
    where = f"{folder} is on {kind}, a network file system" if kind else f"{folder} is on a local file system"
    text = f"{where}; a durable write takes {1000 * seconds:.2g} ms"
    if kind or seconds > _SLOW:
        remedy = "put output on a local disk where evaluations are shorter than a second, and copy it afterwards"
        yield Finding("store", text, "warning", remedy)
    else:
        yield Finding("store", text)
    if abs(skew) > _SKEW:
        text = f"the file system's clock is {skew:+.0f} s from this machine's"
        yield Finding("file clock", text, "warning", "synchronise both (timedatectl set-ntp true)")


def _fsync_seconds(fd: int) -> float:
    """The median of a few durable writes of a page, as each commit makes them."""
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        os.write(fd, bytes(4096))
        os.fsync(fd)
        times.append(time.perf_counter() - begin)
    return statistics.median(times)


def _room(folder: Path) -> Finding:
    import psutil

    free = psutil.disk_usage(str(folder)).free
    text = f"{free / 2**30:.1f} GiB free for runs"
    if free < _LITTLE:
        return Finding("disk", text, "error", f"make room in {folder}; an evaluation takes some 200 bytes", 5)
    if free < _ROOM:
        return Finding("disk", text, "warning", f"make room in {folder}, where programs' work directories are large")
    return Finding("disk", text)
