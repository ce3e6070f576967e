"""When slots are to be killed: what they do is past its timeout, or wanted no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distfd.scheduling.wave_state import WaveState

_GRACE = 3.0
"""Seconds past its timeout that a model which limits itself is given to say so."""
WORTH_ENDING = 1.0
"""Seconds that a slot may go on with what nobody wants any more: to start another process takes as long."""


def work_limits(wave: WaveState) -> Iterator[tuple[int, float]]:
    """Slots at work, and when each is to be killed."""
    for slot, (since, _) in list(wave.pool.draining.items()):
        yield slot, since + WORTH_ENDING
    timeout = wave.policy.timeout
    if timeout is None and not wave.backups:
        return
    for slot, queue in wave.queues:
        head = queue[0]
        if wave.backups and wave.unwanted(queue):
            yield slot, head.started + WORTH_ENDING
        elif timeout is not None:
            # Between points a slot looks at its budget, so at any time one evaluation is running that began in it.
            slack = head.budget if len(head.index) > 1 else 0.0
            yield slot, head.started + timeout + slack + (_GRACE if wave.policy.limits_itself else 0.0)


def setup_limits(wave: WaveState) -> Iterator[tuple[int, float]]:
    """Slots whose J is being made ready, and when each is to be killed."""
    if wave.policy.setup_limit is not None:
        for slot, (_, since) in wave.pool.starting.items():
            yield slot, since + wave.policy.setup_limit
