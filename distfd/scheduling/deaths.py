"""Attempts whose process died under them, and processes that never came so far as to attempt anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Batch, Failure, Status

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.workers.protocols import SlotStarting, SlotUp

DEAD_STARTS = 5
"""So many workers in a row that die before they are up, while none is, and it is no accident."""


def record(
    failure: Failure,
    index: NDArray[np.int64],
    process: SlotUp | SlotStarting | None,
    slot: int,
    *,
    started: float,
    ended: float,
) -> Batch:
    """Attempts at these points, which all ended by this; times since the epoch."""
    n = len(index)
    return Batch(
        index=index,
        status=np.full(n, failure.status, dtype=np.uint8),
        size=np.zeros(n, dtype=np.int64),
        flat=np.empty(0),
        started=np.full(n, started),
        ended=np.full(n, ended),
        attempt=np.ones(n, dtype=np.int32),
        host=process.host if process else "",
        pid=process.pid if process else 0,
        slot=slot,
        failures=dict.fromkeys(index.tolist(), failure),
    )


def overran(timeout: float) -> Failure:
    """J did not end."""
    return Failure(Status.TIMEOUT, f"timeout: still running after {timeout:g} s; its process was killed")


def setup_overran(limit: float) -> Failure:
    """J was not made ready."""
    text = (
        f"timeout: J's constructor or setup() was still running after {limit:g} s; its process was killed "
        "(evaluation.setup_timeout sets that limit)"
    )
    return Failure(Status.TIMEOUT, text)


def setup_died(failure: Failure) -> Failure:
    """J's process died while J was made ready."""
    if failure.status == Status.TIMEOUT:
        return failure
    return Failure(failure.status, f"in J's constructor or setup(): {failure.text}", failure.detail)
