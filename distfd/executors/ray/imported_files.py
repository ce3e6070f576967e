"""In a worker: which of the user's modules it has imported, and whether their files have been edited since.

The driver checks the modules that it has loaded itself. J may import others when it is called, which only the worker
knows.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import sysconfig
import threading
import time
import weakref
from pathlib import Path
from typing import TypeAlias

from distfd.workers.processes import child_processes

_Signature: TypeAlias = tuple[int, int, int]
"""Time of change in nanoseconds, size in bytes, number in the file system."""


class ImportedFiles:
    """The files of all modules of this process that are neither installed nor Python's own nor distfd's."""

    def __init__(self) -> None:
        self._born = time.time_ns()
        self._seen: set[str] = set()
        self._newest = (0, "")
        """How many modules there were at the last look, and which was imported last."""
        self._files: dict[str, _Signature | None] = {}
        self._modules: list[str] = []
        self._caches: weakref.WeakSet[functools._lru_cache_wrapper[object]] = weakref.WeakSet()
        self._frozen = 0
        # Not sys.prefix, which may be /usr, with somebody's modules below it.
        roots = {sysconfig.get_path(each) for each in ("stdlib", "platstdlib", "purelib", "platlib")}
        self._installed = tuple(f"{place}{os.sep}" for place in roots | {str(Path(root).resolve()) for root in roots})

    def note_helpers(self) -> None:
        """Note the threads and child processes that exist now: they belong to this worker, not to J."""
        self._threads, self._children = set(threading.enumerate()), child_processes()

    @property
    def left_behind(self) -> bool:
        """Whether J has left threads or child processes running, which would disturb the next J."""
        return bool(set(threading.enumerate()) - self._threads or child_processes() - self._children)

    @property
    def modules(self) -> tuple[str, ...]:
        """Names of the user's modules that were imported when `look` was called last."""
        return tuple(self._modules)

    def clear_caches(self) -> None:
        """Empty what functools.cache and lru_cache keep for functions of the user's modules, wherever they are held."""
        if not self._modules:
            return  # the first look takes some 70 ms
        # By type(): to ask a user's object what it is may run code of its own.
        self._caches.update(
            value
            for value in gc.get_objects()
            if type(value) is functools._lru_cache_wrapper  # noqa: SLF001
        )
        own = frozenset(self._modules)
        for cache in self._caches:
            if cache.__module__ in own:
                cache.cache_clear()
        if len(sys.modules) != self._frozen:
            # What is frozen is not listed again: a look through some 300,000 objects takes 20 ms, and this is done
            # after each J. Garbage goes first, as in what is frozen nobody looks for more.
            gc.collect()
            gc.freeze()
            self._frozen = len(sys.modules)

    def look(self) -> None:
        """Take in the modules that have been imported since the last look."""
        newest = len(sys.modules), next(reversed(sys.modules), "")
        if newest == self._newest:
            return  # it is asked for several times a call
        self._newest = newest
        for name in [name for name in list(sys.modules) if name not in self._seen]:
            self._seen.add(name)
            file = None
            with contextlib.suppress(Exception):  # of a module that is imported once it is asked for something
                file = getattr(sys.modules.get(name), "__file__", None)
            if not isinstance(file, str) or name.partition(".")[0] == "distfd" or file.startswith(self._installed):
                continue
            if not {"site-packages", "dist-packages"} & set(Path(file).parts):
                self._files[file] = _signature(file)
                self._modules.append(name)

    def edited(self) -> bool:
        """Whether a file has changed since it was imported, or perhaps while it was read: its module may be stale."""
        self.look()
        return any(now is None or now != then or now[0] > self._born for now, then in self._now())

    def _now(self) -> list[tuple[_Signature | None, _Signature | None]]:
        return [(_signature(file), then) for file, then in self._files.items()]


def own_modules() -> frozenset[str]:
    """Names of the user's modules that are imported in this process, the driver's."""
    _HERE.look()
    return frozenset(name for name in _HERE.modules if name in sys.modules)


_HERE = ImportedFiles()


def _signature(file: str) -> _Signature | None:
    try:
        found = os.stat(file)  # noqa: PTH116  # a path object for each would cost more than the look
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino
