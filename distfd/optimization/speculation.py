"""Whether to send the derivative's points out together with a trial's value."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from distfd.core.errors import InputError

_REMEMBERED = 10
"""Trials by which the next one is judged."""
_SELDOM = 0.25
"""Share of trials that are accepted below which their derivatives are not worth their evaluations."""
_RESTART = 1.0
"""Seconds that cancelling costs at most: what would take longer is killed, and a process takes as long to start."""


@dataclass
class Speculation:
    """What became of the last trials, and what follows for the next.

    It decides on evaluations alone, never on a value, so it may look at slots and time.

    Parameters
    ----------
    wanted : bool or "auto"

    Raises
    ------
    InputError
        If it is anything else.
    """

    wanted: bool | str = "auto"
    points: int = 0
    """Of the last derivative, J(x) included."""
    seconds: float = 0.0
    """Mean time of an evaluation."""
    planned_slots: int | None = None
    """Evaluations that a round may hold, where it is not as many as there are slots."""
    _accepted: deque[bool] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))

    def __post_init__(self) -> None:
        if not isinstance(self.wanted, bool) and self.wanted != "auto":
            raise InputError(f"speculative: must be true, false or auto (was {self.wanted!r})")

    def note(self, *, accepted: bool) -> None:
        """A trial's derivative was asked for, or was not."""
        self._accepted.append(accepted)

    def worthwhile(self, slots: int) -> bool:
        """Whether the next trial's derivative is to go out with its value.

        With n points and W slots that saves 1 + ceil((n - 1) / W) - ceil(n / W) rounds if the derivative is asked for,
        and costs, if not, the rounds until the slots are free again.
        """
        if isinstance(self.wanted, bool):
            return self.wanted
        n = self.points
        if not n:
            return True  # x0: its derivative is asked for in any case
        slots = self.planned_slots or slots
        rounds = math.ceil(n / slots)
        saved = 1 + math.ceil((n - 1) / slots) - rounds
        lost = min(rounds - 1.0, max(1.0, _RESTART / self.seconds) if self.seconds else 1.0)
        likely = (sum(self._accepted) + 1) / (len(self._accepted) + 1)
        return likely > _SELDOM and likely * saved > (1 - likely) * lost
