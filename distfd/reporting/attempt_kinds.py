"""Classifies attempts: values, retries, stragglers, duplicates, failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

VALUE, RETRY, STRAGGLER, DUPLICATE, FAILED = range(5)
CLASSES = ("value", "retry", "straggler", "duplicate", "failed")
WORDS = (
    "a value",
    "a value after a retry",
    "a straggler: a value that took over three times the median",
    "a duplicate that was not needed",
    "failed",
)
_TIMES, _SECONDS = 3.0, 0.2
"""A straggler takes at least this many times the median, and this many seconds more than it."""


def kinds(rows: NDArray[Any]) -> NDArray[np.uint8]:
    """The kind of each attempt of a store."""
    found = np.full(len(rows), VALUE, dtype=np.uint8)
    seconds = rows["ended"] - rows["started"]
    ok = rows["status"] == Status.OK
    known = seconds[ok & np.isfinite(seconds)]
    if len(known):
        usual = float(np.median(known))
        found[ok & (seconds > _TIMES * usual) & (seconds > usual + _SECONDS)] = STRAGGLER
    found[ok & (rows["attempt"] > 1)] = RETRY
    found[~ok] = FAILED
    found[rows["status"] == Status.CANCELLED] = DUPLICATE
    return found
