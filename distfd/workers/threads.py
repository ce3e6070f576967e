"""The same number of BLAS and OpenMP threads everywhere: round-off depends on it."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

_one_at_a_time = threading.RLock()


@dataclass
class _Blas:
    """Who wants BLAS to have one thread."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    limits: Any = None


@dataclass
class _Found:
    """Libraries, and how many modules there were when they were found."""

    libraries: Any = None
    modules: int = 0


_blas = _Blas()
_found = _Found()

VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


def _libraries() -> Any:
    """The libraries that have threads; looked for anew only once more was imported.

    To read what is mapped takes 4 ms, and a wave of short evaluations less.
    """
    from threadpoolctl import ThreadpoolController

    if _found.modules != len(sys.modules):
        _found.libraries, _found.modules = ThreadpoolController(), len(sys.modules)
    return _found.libraries


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Inside, libraries that are loaded use that many threads, and child processes are told to.

    The limit is the whole process's, so one thread at a time is inside.
    """
    with _one_at_a_time:
        before = {name: os.environ.get(name) for name in VARIABLES}
        os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
        try:
            with _libraries().limit(limits=threads):
                yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside, BLAS in this process uses one thread; unlike `limited_threads` any number of threads may be inside.

    SciPy's L-BFGS-B solves systems of ten equations, for which OpenBLAS wakes a thread a core: 4.2 ms a step in place
    of 0.02, where other processes want these cores. And round-off no longer depends on their number.
    """
    with _blas.lock:
        _blas.inside += 1
        if _blas.inside == 1:
            _blas.limits = _libraries().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _blas.lock:
            _blas.inside -= 1
            if not _blas.inside and _blas.limits is not None:
                _blas.limits.restore_original_limits()


def pin_threads(threads: int) -> None:
    """From now on, in this process and its children."""
    from threadpoolctl import threadpool_limits

    os.environ.update(dict.fromkeys(VARIABLES, str(threads)))
    threadpool_limits(limits=threads)
