"""The contract of an executor: slots that evaluate chunks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

from distfd.executors.turn import turn_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.executors.turn import Turn
    from distfd.objectives.base import Objective
    from distfd.workers.job_walltime import TimeLimit
    from distfd.workers.messages import Chunk, Report, SlotStarting, SlotUp


class Executor(ABC):
    """Slots that evaluate chunks; one thread at a time calls it, the one that has its ``turn``.

    A slot is known by its number. It takes chunks (`distfd.workers.messages`) and hands each back by a `ChunkDone`, in
    whatever order. A failure of J never raises here: a failed evaluation is a row of a batch, and a process that died
    is a `SlotLost`.

    In the process that evaluates, `distfd.workers.worker.Worker` does what a chunk asks for. The executor makes one
    with the objective (``own_process=True`` where the process does nothing else), has it ``prepare()`` before it
    reports the slot as up, calls ``run(chunk)``, and ``close()`` where the process ends in good order. Before all that
    it pins the threads of BLAS and OpenMP (`distfd.workers.threads.pin_threads`), as round-off depends on their number.
    Once the worker is ``worn`` its process is replaced. Where J runs in the caller's own process, a Ctrl-C cuts a chunk
    short: the executor reports what ``run`` returned of it, and then raises the worker's ``interrupt``.

    Objectives and chunks are pickled by cloudpickle, so that lambdas travel. Exceptions in a batch may be such as
    cannot be pickled: `distfd.workers.exception_transport` brings over those that can.
    """

    def __enter__(self) -> Self:
        """Return the executor itself, for any number of sessions; the end of the block ends all that it has started."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give every slot back."""
        self.close()

    def note_setup_limit(self, *, limited: bool) -> None:  # noqa: B027  # most make J ready apart anyway
        """Note, before `open`, whether J's setup has a time limit, or is to be over before a slot is up.

        Where it is not, a slot may be up sooner, and make J ready as part of its first chunk.
        """

    @abstractmethod
    def open(self, objective: Objective) -> Sequence[SlotUp | SlotStarting]:
        """Start the slots, unless they run already for this objective; return those that are up or starting.

        Returns before the others are up. Each of them announces itself by a SlotUp from ``wait``, after a SlotStarting
        where to make J ready happens in a process of its own.

        Raises
        ------
        ClusterError
            If no slot can be had.
        """

    @property
    @abstractmethod
    def slots(self) -> int:
        """How many slots there are, up or starting."""

    @abstractmethod
    def submit(self, slot: int, chunk: Chunk) -> None:
        """Queue a chunk on a slot."""

    @abstractmethod
    def wait(self, seconds: float) -> Sequence[Report]:
        """What happened since the last call; returns at the first news, or empty after that many seconds."""

    @abstractmethod
    def kill(self, slot: int) -> None:
        """End a slot's process and all it started, at once, and start another in its place.

        No report follows but the SlotUp of the new one.
        """

    def rest(self) -> None:  # noqa: B027  # most have nobody to share with
        """Note that a wave is over: no chunk comes until `open` is called, and others may use the CPUs."""

    @abstractmethod
    def close(self) -> None:
        """Give every slot back."""

    @property
    def turn(self) -> Turn:
        """Held by the call that has it evaluate; calls of other threads, or Evaluators, wait in line for it."""
        return turn_of(self)

    @property
    def opened_for(self) -> Objective | None:
        """The objective that the slots have now; None where there are none, or the executor does not say."""
        return None

    @property
    def duplicates_are_free(self) -> bool:
        """Whether evaluating a point in vain on an idle slot costs nothing; False if it takes a licence, say."""
        return True

    @property
    def idle_slots_are_free(self) -> bool:
        """Whether one more evaluation on an idle slot costs nothing; False if each evaluation takes a licence, say."""
        return True

    @property
    def has_own_processes(self) -> bool:
        """Whether evaluations run in other processes, which may finish one after this process has died."""
        return False

    @property
    def kills_are_free(self) -> bool:
        """Whether ``kill`` ends nothing that would have to be started again."""
        return False

    @property
    def can_end_evaluations(self) -> bool:
        """Whether ``kill`` can end a running J; if not, a time limit can only refuse a value that comes too late."""
        return True

    @property
    def time_limit(self) -> TimeLimit | None:
        """When the time of the batch job that this process belongs to ends; None if there is no limit."""
        return None


def adapted(given: Any) -> Executor | None:
    """An executor, or an object of another class that has the abstract members, as an `Executor`; None if neither."""
    if isinstance(given, Executor):
        return given
    needed = ("open", "slots", "submit", "wait", "kill", "close")
    return _Adapted(given) if all(hasattr(given, name) for name in needed) else None


class _Adapted(Executor):
    """An object that has the contract's abstract members, and perhaps some of the others."""

    def __init__(self, given: Any) -> None:
        self._given = given

    def open(self, objective: Objective) -> Sequence[SlotUp | SlotStarting]:
        reports: Sequence[SlotUp | SlotStarting] = self._given.open(objective)
        return reports

    @property
    def slots(self) -> int:
        return int(self._given.slots)

    def submit(self, slot: int, chunk: Chunk) -> None:
        self._given.submit(slot, chunk)

    def wait(self, seconds: float) -> Sequence[Report]:
        reports: Sequence[Report] = self._given.wait(seconds)
        return reports

    def kill(self, slot: int) -> None:
        self._given.kill(slot)

    def note_setup_limit(self, *, limited: bool) -> None:
        getattr(self._given, "note_setup_limit", super().note_setup_limit)(limited=limited)

    def rest(self) -> None:
        getattr(self._given, "rest", super().rest)()

    def close(self) -> None:
        self._given.close()

    @property
    def turn(self) -> Turn:
        return turn_of(self._given)

    @property
    def opened_for(self) -> Objective | None:
        found: Objective | None = getattr(self._given, "opened_for", None)
        return found

    @property
    def duplicates_are_free(self) -> bool:
        return bool(getattr(self._given, "duplicates_are_free", True))

    @property
    def idle_slots_are_free(self) -> bool:
        return bool(getattr(self._given, "idle_slots_are_free", True))

    @property
    def has_own_processes(self) -> bool:
        return bool(getattr(self._given, "has_own_processes", False))

    @property
    def kills_are_free(self) -> bool:
        return bool(getattr(self._given, "kills_are_free", False))

    @property
    def can_end_evaluations(self) -> bool:
        return bool(getattr(self._given, "can_end_evaluations", True))

    @property
    def time_limit(self) -> TimeLimit | None:
        limit: TimeLimit | None = getattr(self._given, "time_limit", None)
        return limit
