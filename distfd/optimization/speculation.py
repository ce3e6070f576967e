"""Decides whether the derivative's points are evaluated together with a trial's value."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from distfd.core.errors import InputError

_REMEMBERED = 10
"""Number of recent trials that decide about the next one."""
_SELDOM = 0.25
"""If fewer trials than this part are accepted, evaluating their derivatives early is not worthwhile."""
_RESTART = 1.0
"""Upper limit of the cost of cancelling, in seconds: a longer evaluation is killed, and a process needs about so long
to start."""


@dataclass
class Speculation:
    """Keeps what became of the last trials, and decides about the next.

    The decision changes only what is evaluated, never a value, so it may depend on slots and time.

    Parameters
    ----------
    wanted : bool or "auto"

    Raises
    ------
    InputError
        If ``wanted`` is anything else.
    """

    wanted: bool | str = "auto"
    points: int = 0
    """Number of points of the last derivative, with J(x)."""
    seconds: float = 0.0
    """Mean time of an evaluation, in seconds."""
    planned_slots: int | None = None
    """Number of evaluations in a round, if it is not the number of slots."""
    _accepted: deque[bool] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def __post_init__(self) -> None:
        if not isinstance(self.wanted, bool) and self.wanted != "auto":
            raise InputError(f"speculative: must be true, false or auto (was {self.wanted!r})")

    def note(self, *, accepted: bool) -> None:
        """Notes whether a trial's derivative was asked for."""
        self._accepted.append(accepted)

    def worthwhile(self, slots: int) -> bool:
        """Whether to evaluate the next trial's derivative together with its value.

        With n points and W slots, this saves 1 + ceil((n - 1) / W) - ceil(n / W) rounds if the derivative is asked for.
        If not, it costs the rounds until the slots are free again.
        """
        if isinstance(self.wanted, bool):
            return self.wanted
        n = self.points
        if not n:
            return True  # the first point is x0, whose derivative is always asked for
        slots = self.planned_slots or slots
        rounds = math.ceil(n / slots)
        saved = 1 + math.ceil((n - 1) / slots) - rounds
        lost = min(rounds - 1.0, max(1.0, _RESTART / self.seconds) if self.seconds else 1.0)
        likely = (sum(self._accepted) + 1) / (len(self._accepted) + 1)
        return likely > _SELDOM and likely * saved > (1 - likely) * lost
