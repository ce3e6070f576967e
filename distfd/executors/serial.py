"""Evaluations in the caller's own process, one after the other: for debugging, tests and cheap functions.

A crash of J is a crash of the program here, and a Python function that hangs cannot be ended: where there is a time
limit, the session warns of that before the first evaluation, and a value that comes late is refused. Use the Ray
executor where J may do either.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from distfd.core.errors import InputError
from distfd.core.unknown_keywords import answers_misuse
from distfd.core.validation import is_whole
from distfd.executors.base import Executor
from distfd.workers.messages import ChunkDone, SlotLost, SlotUp
from distfd.workers.recycle import RECYCLED, as_recycle
from distfd.workers.threads import limited_threads
from distfd.workers.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.objectives.base import Objective
    from distfd.workers.messages import Chunk, Report
    from distfd.workers.recycle import Recycle


class SerialExecutor(Executor):
    """One slot, in this process.

    Parameters
    ----------
    num_threads : int
        Threads that BLAS and OpenMP may use in J; the same everywhere, as round-off depends on it.

    Raises
    ------
    InputError
        If it is no whole number >= 1.
    """

    slots = 1
    duplicates_are_free = False
    kills_are_free = True
    """Nothing runs between two calls, so there is no process to start again."""
    can_end_evaluations = False
    """J runs in the caller's own process; a program alone ends at its timeout, by what has started it."""

    @answers_misuse("SerialExecutor")
    def __init__(self, *, num_threads: int = 1) -> None:
        if not is_whole(num_threads) or num_threads < 1:
            raise InputError(f"num_threads: must be a whole number >= 1 (was {num_threads!r})")
        self._num_threads = num_threads
        self._objective: Objective | None = None
        self._worker: Worker | None = None
        self._queue: deque[Chunk] = deque()
        self._news: deque[SlotUp] = deque()

    def __repr__(self) -> str:
        return f"<SerialExecutor(num_threads={self._num_threads}): 1 slot, in this process>"

    @property
    def opened_for(self) -> Objective | None:
        """The objective that was opened last."""
        return self._objective

    def open(self, objective: Objective) -> Sequence[SlotUp]:
        """Take the objective; its model is made with the first point."""
        self._queue.clear()
        self._raise_interrupt()
        if self._worker is None or self._objective is not objective:
            self.close()
            self._objective = objective
            self._worker = Worker(objective, refuses_late=not objective.limits_itself)
        self._news.clear()
        return [SlotUp(0, self._worker.host, self._worker.pid)]

    def submit(self, slot: int, chunk: Chunk) -> None:  # noqa: ARG002  # there is only slot 0
        """Queue a chunk."""
        self._queue.append(chunk)

    def wait(self, seconds: float) -> Sequence[Report]:  # noqa: ARG002  # it never waits
        """Evaluate one chunk.

        Raises
        ------
        KeyboardInterrupt
            If Ctrl-C came while J was at work. If the chunk had finished points by then, they are reported first, and
            the next call raises it.
        """
        if self._worker is None or self._objective is None:
            raise RuntimeError("the executor is not open")
        self._raise_interrupt()
        if self._news:
            return [self._news.popleft()]
        if not self._queue:
            return []
        chunk = self._queue.popleft()
        with limited_threads(self._num_threads):
            batch = self._worker.run(replace(chunk, recycle=_without_memory(chunk.recycle)))
        done = ChunkDone(0, chunk.id, batch)
        if not self._worker.worn:
            return [done]
        # In the place of a fresh process there is at least a fresh model.
        self._worker = Worker(self._objective, refuses_late=not self._objective.limits_itself)
        self._queue.clear()
        self._news.append(SlotUp(0, self._worker.host, self._worker.pid))
        return [done, SlotLost(0, RECYCLED)]

    def _raise_interrupt(self) -> None:
        """Raise the Ctrl-C that cut the last chunk short."""
        if self._worker is not None and self._worker.interrupt is not None:
            error, self._worker.interrupt = self._worker.interrupt, None
            raise error

    def kill(self, slot: int) -> None:  # noqa: ARG002  # there is only slot 0
        """Forget what is queued; nothing can be running."""
        self._queue.clear()
        if self._worker is not None:
            self._news.append(SlotUp(0, self._worker.host, self._worker.pid))

    def close(self) -> None:
        """End the model."""
        self._queue.clear()
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _without_memory(recycle: Recycle | None) -> Recycle | None:
    """The limit on memory left out: the process is the caller's, and no fresh model makes it smaller."""
    return None if recycle is None else as_recycle(replace(recycle, memory=None))
