"""How many points go to a slot at once: enough to be worth the journey, few enough to keep all slots busy."""

from __future__ import annotations

import math

_OVERHEAD = 0.02
"""Seconds that one more chunk costs, where driver and workers share few cores; less elsewhere."""
_LONGEST = 1.0
"""Seconds of the longest chunk of several points: what is lost, or held back, when its slot dies."""
_QUEUE_BELOW = 0.5
"""A second chunk waits on a slot only if chunks are shorter than this many seconds."""
_MIN_BUDGET = 0.2


def chunk_size(waiting: int, slots: int, mean: float | None) -> int:
    """Points a chunk: one until the time t of an evaluation is known, then as many as cost least.

    In chunks of c, n points cost each of S slots o n / (S c) seconds between chunks, and about c t at the end, when
    others are still at their last; the sum is least at c = sqrt(n o / (S t)).
    """
    if mean is None:
        return 1
    mean = max(mean, 1e-9)
    share = waiting / slots
    return max(1, min(math.ceil(share), math.ceil(math.sqrt(share * _OVERHEAD / mean)), int(_LONGEST / mean)))


def may_queue(waiting: int, slots: int, mean: float | None) -> bool:
    """Whether a chunk may wait behind another: a short one, and while there is more for slots that become idle."""
    return mean is not None and waiting > slots and chunk_size(waiting, slots, mean) * mean < _QUEUE_BELOW


def budget(points: int, mean: float | None) -> float:
    """Seconds after which a slot hands a chunk back, done or not."""
    return max(_MIN_BUDGET, 2 * points * (mean or 0.0))
