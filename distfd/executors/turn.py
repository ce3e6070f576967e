"""Who has an executor evaluate: one call at a time, from whatever thread and for whatever Evaluator."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
import weakref
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

_LOOK = 0.5
"""Seconds between two looks whether the call that is waited for is still there."""


class Open(Protocol):
    """An evaluation that was begun, and goes on once somebody asks for it."""

    def settle(self) -> None:
        """Finish it."""


@dataclass(eq=False)
class Holding:
    """A call that has the turn.

    Attributes
    ----------
    thread : int
        Its thread, as `threading.get_ident` has it.
    frame : frame or None
        Of a function that is running as long as the call is; None once the turn is given back, as it refers to this.
    lock : Lock
        What it holds.
    """

    thread: int
    frame: FrameType | None
    lock: Any

    @property
    def is_over(self) -> bool:
        """Whether the call has ended without giving the turn back, as where Ctrl-C came between two of its lines."""
        frame = sys._current_frames().get(self.thread)  # noqa: SLF001  # Python's only way to see another thread
        while frame is not None and frame is not self.frame:
            frame = frame.f_back
        return frame is None


class Turn:
    """Held while a call has an executor evaluate; other threads wait for it.

    A thread that asks for it while it has it is refused, as it would wait for itself.
    """

    def __init__(self) -> None:
        self._left: deque[Callable[[], None]] = deque()
        self._open: weakref.ref[Open] | None = None
        self._mending = threading.Lock()
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._holding: Holding | None = None
        self._taken = 0
        """How often a call has taken it."""
        self._pid = os.getpid()

    @contextlib.contextmanager
    def held(self, frame: FrameType | None = None) -> Iterator[None]:
        """Inside, this call has the turn.

        Parameters
        ----------
        frame : frame, optional
            Of the function that is not left before the block is; by default of the one that has it.

        Raises
        ------
        InputError
            If this thread has the turn already.
        """
        holding = self.take(None, frame or sys._getframe(2))  # noqa: SLF001  # contextlib's is between
        try:
            yield
        finally:
            self.give_back(holding)

    def take(self, seconds: float | None, frame: FrameType) -> Holding | None:
        """Take the turn, if it comes in so many seconds; what to give back, or None if it did not come."""
        if self._pid != os.getpid():
            self._renew()  # forked: the thread that had the turn may not be in this process
        until = None if seconds is None else time.monotonic() + seconds
        taken_before = -1
        while True:
            lock, has, taken = self._lock, self._holding, self._taken
            mine = has is not None and has.thread == threading.get_ident()
            if mine and has is not None and not has.is_over:
                raise InputError(
                    "this executor is evaluating already: J, observers and callbacks cannot call it, or an Evaluator "
                    "that has it, meanwhile; give them an executor of their own"
                )
            wait = _LOOK if until is None else min(_LOOK, max(0.0, until - time.monotonic()))
            if lock.acquire(timeout=0.0 if mine else wait):
                if lock is not self._lock:
                    continue  # it was taken for lost meanwhile
                self._taken, self._holding = self._taken + 1, (holding := Holding(threading.get_ident(), frame, lock))
                return holding
            # Who has taken the lock is noted a moment later; where nobody was for long, Ctrl-C came in between.
            lost = taken == taken_before if has is None else has.is_over
            taken_before = taken if has is None else -1
            if lost and self._holding is has:
                self._mend(lock)
            elif until is not None and time.monotonic() >= until:
                return None

    def _mend(self, lost: Any) -> None:
        with self._mending:
            if self._lock is lost:
                self._lock, self._holding = threading.Lock(), None

    def give_back(self, holding: Holding | None) -> None:
        """End the turn of a call, unless it has been taken for over."""
        if holding is None:
            return
        self._release(holding)
        with contextlib.suppress(Exception):  # of another call's work: this call's result is not to be lost for it
            self._do_left()

    def _release(self, holding: Holding) -> None:
        if self._holding is holding:
            self._holding = None
            holding.lock.release()
        holding.frame = None

    def begun(self, evaluation: Open) -> None:
        """Note, for who has the turn, that this goes on when its caller asks for it again."""
        self._open = weakref.ref(evaluation)

    def settle(self) -> None:
        """Finish, for who has the turn, what was begun: the slots are to get another J."""
        evaluation, self._open = None if self._open is None else self._open(), None
        if evaluation is not None:
            evaluation.settle()

    def at_end(self, work: Callable[[], None]) -> None:
        """Do this now, or, while another thread has the turn, have that one do it as its turn ends."""
        has = self._holding
        if has is not None and has.thread == threading.get_ident() and not has.is_over:
            work()
            return
        self._left.append(work)
        self._do_left()

    def _do_left(self) -> None:
        # Whoever has the lock meanwhile comes by here once it is free.
        while self._left and (holding := self.take(0.0, sys._getframe())) is not None:  # noqa: SLF001
            try:
                while self._left:
                    self._left.popleft()()
            finally:
                self._release(holding)


_turns: dict[int, tuple[weakref.ref[object], Turn]] = {}
"""By the id of an executor: one that compares equal to another, or has no hash, has a turn of its own all the same."""
_making = threading.Lock()


def turn_of(executor: object) -> Turn:
    """The turn of an executor, the same for all who have it; one of its own for an object without weak references."""
    key = id(executor)
    with _making:
        known = _turns.get(key)
        if known is not None and known[0]() is executor:
            return known[1]
        turn = Turn()
        with contextlib.suppress(TypeError):
            _turns[key] = weakref.ref(executor, lambda gone: _forget(key, gone)), turn
        return turn


def _forget(key: int, gone: weakref.ref[object]) -> None:
    if (known := _turns.get(key)) is not None and known[0] is gone:  # and not another object of the same id
        _turns.pop(key, None)
