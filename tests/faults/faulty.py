"""A J that does wrong in a way, and at a point, that its x says: one objective, and so one set of workers, for all."""

from __future__ import annotations

import ctypes
import math
import os
import resource
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NAMES = ["code", "width", "depth"]
POSITIONS = {"baseline": "x itself (the baseline)", "first": "coordinate 0 ('code')", "last": "coordinate 2 ('depth')"}
"""Where a J goes wrong, and what a message calls that point."""


class LockedError(Exception):
    """One that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


RETURNS: dict[str, tuple[Callable[[], Any], str]] = {
    "nan": (lambda: math.nan, r"J returned nan"),
    "inf": (lambda: math.inf, r"J returned inf"),
    "-inf": (lambda: np.array([-math.inf]), r"J returned -inf"),
    "None": (lambda: None, r"must return a number; it returned None \(NoneType\)"),
    "str": (lambda: "14.0", r"it returned '14\.0' \(str\)"),
    "bytes": (lambda: b"14", r"it returned b'14' \(bytes\)"),
    "bool": (lambda: True, r"it returned True \(bool\)"),
    "complex": (lambda: 14 + 0j, r"it returned \(14\+0j\) \(complex\)"),
    "vector": (lambda: np.ones(2), r"it returned an array of shape \(2,\); for several outputs use jacobian"),
    "matrix": (lambda: np.ones((1, 1)), r"it returned an array of shape \(1, 1\)"),
    "empty": (lambda: np.array([]), r"it returned an array of shape \(0,\)"),
    "object array": (lambda: np.array([14.0], dtype=object), r"dtype object"),
    "dict": (lambda: {"J": 14.0}, r"it returned \{'J': 14\.0\} \(dict\)"),
    "list": (lambda: [14.0], r"it returned \[14\.0\] \(list\)"),
    "masked": (lambda: np.ma.array([14.0], mask=[True]), r"MaskedArray"),
    "huge int": (lambda: 10**400, r"\(int\): int too large"),
}
"""What J returns in place of a number, and what is said of it."""


def _raise() -> None:
    raise ValueError("negative width")


def _raise_locked() -> None:
    raise LockedError("the mesh is locked")


def _exhaust() -> None:
    # A limit on this process, as batch systems set them; a worker is ended by the next test anyway.
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (min(2**36, hard) if hard > 0 else 2**36, hard))
    try:
        np.ones(2**37)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _interrupt() -> None:
    raise KeyboardInterrupt


CRASHES: dict[str, tuple[Callable[[], Any], str]] = {
    "raises": (_raise, r"ValueError: negative width"),
    "raises what cannot travel": (_raise_locked, r"LockedError: the mesh is locked"),
    "sys.exit": (lambda: sys.exit(3), r"J called sys\.exit\(3\)"),
    "memory": (_exhaust, r"MemoryError"),
    "os._exit": (lambda: os._exit(3), r"the worker process died"),
    "SIGSEGV": (lambda: ctypes.string_at(0), r"the worker process died"),
    "KeyboardInterrupt": (_interrupt, r"KeyboardInterrupt|TaskCancelledError"),
}
"""How J ends in place of returning, and what is said of it."""

CONTAINED = ("raises", "raises what cannot travel", "sys.exit", "memory")
"""Those that the caller's own process survives."""

_ALL = [make for make, _ in (*RETURNS.values(), *CRASHES.values())]
_CODES = {name: code for code, name in enumerate((*RETURNS, *CRASHES))}


def start(fault: str, position: str) -> NDArray[np.float64]:
    """The x at which `faulty` has this fault at this position."""
    return np.array([_CODES[fault] + 100.0 * list(POSITIONS).index(position) + 1, 2.0, 3.0])


def slopes(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of `faulty` where it has values."""
    return np.array([1.0, 2 * x[1], 2 * x[2]])


def faulty(x: NDArray[np.float64]) -> Any:
    """J: x[0] + x[1]^2 + x[2]^2 but for what x[0] asks for."""
    code = int(np.round(x[0])) - 1
    moved = "first" if x[0] != np.round(x[0]) else "last" if x[2] != 3.0 else "" if x[1] != 2.0 else "baseline"
    if moved == list(POSITIONS)[code // 100]:
        return _ALL[code % 100]()
    return float(x[0] + x[1] ** 2 + x[2] ** 2)
