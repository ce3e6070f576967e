"""What a session with warm starts remembers: in which states the latest baselines left J."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from distfd.differentiation.method import Request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from distfd.core.points import Points
    from distfd.core.records import Batch
    from distfd.differentiation.method import Wave

Mode = Literal["baseline", "iterate"]
MODES: tuple[Mode, ...] = ("baseline", "iterate")

_KEPT = 4
"""Baselines whose states are kept: a line search may come back to one of the last."""


@dataclass(eq=False)
class WarmState:
    """The state in which the evaluation of one point left J.

    Attributes
    ----------
    key : bytes
        The key of that evaluation.
    request : Request
        To make it again.
    start : Left or None
        Where it started itself; None for J's own first state, and once the state is known.
    state : (n,) ndarray of uint8 or None
        Pickled; None where only the value is known.
    """

    key: bytes
    request: Request
    start: WarmState | None
    state: NDArray[np.uint8] | None = None


@dataclass(eq=False)
class WarmStarts:
    """What a session remembers of states.

    Attributes
    ----------
    mode : "baseline" or "iterate"
    automatic : bool
        Whether each baseline counts as accepted as soon as the next one, at another x, is asked for.
    again : list of (Wave, list of Batch, float)
        Evaluations that were made again for their states, and the seconds they took, for whoever counts.
    """

    mode: Mode
    automatic: bool = True
    again: list[tuple[Wave, list[Batch], float]] = field(default_factory=list)
    _started: bool = False
    _start: WarmState | None = None
    """Where the points of this call start, once one has."""
    _accepted: WarmState | None = None
    _latest: WarmState | None = None
    _known: dict[bytes, tuple[WarmState | None, WarmState]] = field(default_factory=dict)
    """The latest baselines by their points alone: where each started, and what it left."""

    def begin(self) -> None:
        """A new call."""
        self._started, self._start = False, None

    def forget(self) -> None:
        """J has changed: nothing starts from a state that the old one left."""
        self._started, self._start, self._accepted, self._latest = False, None, None, None
        self._known.clear()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Inside, nothing is accepted but by `accept`."""
        self.automatic = False
        try:
            yield
        finally:
            self.automatic = True

    def taken_again(self) -> list[tuple[Wave, list[Batch], float]]:
        """What was made again since this was asked last."""
        again, self.again = self.again, []
        return again

    def accept(self, points: Points, baseline: int = 0) -> None:
        """What follows starts from what J left at this point; if that is none of the latest baselines, at the last."""
        known = self._known.get(_place(points, baseline))
        self._accepted = known[1] if known is not None else self._latest
        self._latest = self._accepted

    def of_baseline(self, points: Points, baseline: int) -> WarmState | None:
        """Where a baseline starts: a point that was one of the latest starts where it did then."""
        if self.mode == "baseline":
            return None
        known = self._known.get(_place(points, baseline))
        if known is not None:
            return known[0]
        return self._current()

    def _current(self) -> WarmState | None:
        if self.automatic and self._latest is not None:
            self._accepted = self._latest
        return self._accepted

    def note(self, request: Request, start: WarmState | None, key: bytes, state: NDArray[np.uint8] | None) -> WarmState:
        """A baseline has a value now: what it left, its state with it where that was brought home."""
        assert request.baseline is not None, "only baselines are remembered"
        place = _place(request.points, request.baseline)
        _, left = self._known.pop(place, (None, None))
        if left is None or left.key != key:
            only = Request(request.points.take(np.array([request.baseline])), 0, request.vector, request.lenient)
            left = WarmState(key, only, start)
        if state is not None:
            left.state, left.start = state, None
        self._known[place] = start, left
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        self._latest = left
        return left

    def left(self, points: Points, baseline: int) -> WarmState | None:
        """What J left at one of the latest baselines."""
        known = self._known.get(_place(points, baseline))
        return None if known is None else known[1]

    def use(self, start: WarmState | None) -> None:
        """The points that follow in this call without a baseline of their own start here."""
        self._started, self._start = True, start

    @property
    def start(self) -> WarmState | None:
        """Where points without a baseline of their own start: as the others of their call, or where the next would."""
        if self._started or self.mode == "baseline":
            return self._start
        return self._current()


def _place(points: Points, k: int) -> bytes:
    """What a point is, whatever it starts from."""
    return bytes(points.take(np.array([k])).keys()[0])
