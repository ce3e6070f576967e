"""Batches as evaluations would make them."""

from __future__ import annotations

import numpy as np

from distfd.core.records import Batch, Failure, Status


def batch(n: int, failed: int = 0) -> Batch:
    """n evaluations of which the first few failed."""
    status = np.full(n, Status.OK, dtype=np.uint8)
    status[:failed] = Status.ERROR
    return Batch(
        index=np.arange(n),
        status=status,
        size=(status == Status.OK).astype(np.int64),
        flat=np.zeros(n - failed),
        started=np.zeros(n),
        ended=np.ones(n),
        attempt=np.ones(n, dtype=np.int32),
        host="here",
        pid=1,
        slot=0,
        failures={k: Failure(Status.ERROR, "no") for k in range(failed)},
    )
