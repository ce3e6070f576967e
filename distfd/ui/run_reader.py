"""Reads runs for all pages of the server: one that has not changed since is read once."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from distfd.reporting.run_data import read_run
from distfd.stores.file_lock import holder

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.reporting.run_data import RunData

_FILES = (
    *("result.json", "check.json", "config.yaml", "log.jsonl", "work"),
    *("evaluations.sqlite", "evaluations.sqlite-wal", "evaluations.sqlite.lock"),
)
_TICK = 0.1
"""Seconds. A file that was written less long ago may be written again without another time."""


@dataclass(frozen=True)
class Signature:
    """What changes whenever a run's files do."""

    writer: str | None
    """The process that runs it now, in words."""
    files: tuple[tuple[int, int, int] | None, ...]
    """Number, size and time in nanoseconds of each; None where there is none."""

    @property
    def newest(self) -> float:
        """When a file was last written, in seconds since the epoch."""
        return max((state[2] for state in self.files if state), default=0) * 1e-9


def run_signature(path: Path) -> Signature:
    """The signature of the run at ``path``; nothing is opened but the lock."""
    files: list[tuple[int, int, int] | None] = []
    writer = holder(path / "evaluations.sqlite.lock")
    for name in _FILES:
        try:
            state = (path / name).lstat()
        except OSError:
            files.append(None)
        else:
            files.append((state.st_ino, state.st_size, state.st_mtime_ns))
    return Signature(writer, tuple(files))


@dataclass(eq=False)
class _Kept:
    lock: Lock = field(default_factory=Lock)
    """Held while the run is read: those who ask for the same run meanwhile wait for it."""
    signature: Signature | None = None
    data: RunData | None = None


class RunReader:
    """Reads runs; the last ones that it read are kept for as long as their files do not change.

    Any number of threads may use it.

    Parameters
    ----------
    most : int
        Number of runs that are kept.
    """

    def __init__(self, most: int = 4) -> None:
        self._most = most
        self._lock = Lock()
        self._kept: OrderedDict[Path, _Kept] = OrderedDict()

    def __call__(self, path: Path) -> RunData:
        """What the run at ``path`` left.

        Raises
        ------
        InputError
            If there is no run.
        """
        with self._lock:
            kept = self._kept.setdefault(path, _Kept())
            self._kept.move_to_end(path)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        with kept.lock:
            signature = run_signature(path)
            if kept.data is None or kept.signature != signature:
                kept.data = None  # two of them would take twice the memory
                kept.signature = signature if time.time() - signature.newest > _TICK else None
                kept.data = read_run(path)
            return kept.data
