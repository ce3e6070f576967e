"""How much work goes to a slot at once: enough to be worth the journey, little enough to keep all slots busy."""

from __future__ import annotations

import math

_OVERHEAD = 0.04
"""Seconds that one more chunk costs, where driver and workers share few cores; less elsewhere."""
_LONGEST = 1.0
"""Seconds of the longest chunk of several points: what is lost, or held back, when its slot dies;"""
_A_SLOT = 0.025
"""so many for each slot, where that is more: the driver takes a millisecond for a chunk, and all slots may want one at
once;"""
_HELD = 10.0
"""and no more than this."""
_LEAST = 0.004
"""Seconds of the shortest: the journey alone takes as long, and halves of halves would all make it."""
_QUEUE_BELOW = 0.5
"""A second chunk waits on a slot only if chunks are shorter than this many seconds."""
_AHEAD = 0.05
"""Seconds before the end of its chunk at which a slot is given the next. If it were earlier, slots that have just begun
would share the processor with a driver that has time."""
_MIN_BUDGET = 0.2


def least_seconds(total: float, slots: int) -> float:
    """Seconds of the shortest chunk of a wave that takes so many in all; no more than one slot's share."""
    return min(_LEAST, total / slots)


def longest(slots: int) -> float:
    """Seconds of the longest chunk of several points."""
    return min(max(_LONGEST, _A_SLOT * slots), _HELD)


def chunk_seconds(waiting: float, slots: int, least: float = 0.0) -> float:
    """Seconds of work for the next chunk, where that many seconds of work wait for all slots.

    In chunks of s seconds, R seconds of work cost each of S slots o R / (S s) between chunks, with o the overhead of
    one, and about s at the end, when others are still at their last; the sum is least at s = sqrt(o R / S).
    """
    share = waiting / slots
    return max(least, min(share, math.sqrt(share * _OVERHEAD), longest(slots)))


def even_seconds(unfinished: float, slots: int, own: float) -> float:
    """The same where all evaluations take the same time: each slot's share of what is not done, in one piece.

    Then nobody waits for another at the end, and a slot that needs longer hands back what it has not begun.

    Parameters
    ----------
    unfinished : float
        Seconds of work that wait, or that slots still have before them.
    slots : int
    own : float
        Those of the slot in question.
    """
    return min(max(0.0, unfinished / slots - own), longest(slots))


def alone(mean: float) -> bool:
    """Whether an evaluation takes so long that a chunk never has two of them."""
    return mean >= 2 * _LONGEST


def next_due(started: float, expected: float) -> float:
    """When a slot that began then, with that much to do, is to be given its next chunk; infinite if once it is done."""
    return started + expected - _AHEAD if expected < _QUEUE_BELOW else math.inf


def budget(expected: float, *, even: bool) -> float:
    """Seconds after which a slot hands a chunk back, done or not; soon, where every chunk takes what it should."""
    return max(_MIN_BUDGET, (1.25 if even else 2.0) * expected)
