"""Who has an executor evaluate: one call at a time, from whatever thread and for whatever Evaluator."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable


class Open(Protocol):
    """An evaluation that was begun, and goes on once somebody asks for it."""

    def settle(self) -> None:
        """Finish it."""


class Turn:
    """Held while a call has an executor evaluate; other threads wait for it.

    A thread that asks for it while it has it is refused, as it would wait for itself.
    """

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._pid = os.getpid()
        self._left: Callable[[], None] | None = None
        self._open: weakref.ref[Open] | None = None

    def _of_this_process(self) -> None:
        """In a forked child, where the thread that has the turn may not be, begin with a turn that nobody has."""
        if self._pid != os.getpid():
            self._renew()

    def __enter__(self) -> None:
        self._of_this_process()
        if self._owner == threading.get_ident():
            raise InputError(
                "this executor is evaluating already: J, observers and callbacks cannot call it, or an Evaluator that "
                "has it, meanwhile; give them an executor of their own"
            )
        self._lock.acquire()
        self._owner = threading.get_ident()

    def take(self, seconds: float | None) -> bool:
        """Take the turn as ``with`` does, if it comes in so many seconds; whether it came."""
        self._of_this_process()
        if self._owner == threading.get_ident() or seconds is None:
            self.__enter__()
            return True
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            return False
        self._owner = threading.get_ident()
        return True

    def __exit__(self, *exc: object) -> None:
        self._owner = None
        self._lock.release()
        with contextlib.suppress(Exception):  # of another call's work: this call's result is not to be lost for it
            self._do_left()

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
        self._of_this_process()
        if self._owner == threading.get_ident():
            work()
            return
        self._left = work
        self._do_left()

    def _do_left(self) -> None:
        # Whoever has the lock meanwhile comes by here once it is free.
        while self._left is not None and self._lock.acquire(blocking=False):
            try:
                work, self._left = self._left, None
                if work is not None:
                    work()
            finally:
                self._lock.release()


_turns: weakref.WeakKeyDictionary[object, Turn] = weakref.WeakKeyDictionary()
_making = threading.Lock()


def turn_of(executor: object) -> Turn:
    """The turn of an executor, the same for all who have it."""
    with _making:
        try:
            return _turns.setdefault(executor, Turn())
        except TypeError:  # one that can be in no such table, as of a class with __slots__ or with an __eq__ alone
            return Turn()
