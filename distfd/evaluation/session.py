"""What stays from one wave to the next: the slots, the store and who watches."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core import awake_clock
from distfd.core.errors import DistfdError, InputError
from distfd.core.records import DOUBLE, Status
from distfd.core.warning import warn
from distfd.differentiation.step_limits import NOTHING_KNOWN, Known
from distfd.evaluation import usual_times
from distfd.evaluation.objective_watch import ObjectiveWatch
from distfd.evaluation.stall_notice import StallNotice, why_waiting
from distfd.results import events
from distfd.scheduling.slot_pool import SlotPool
from distfd.stores.registry import changed_salt
from distfd.workers.messages import SlotStarting, SlotUp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from distfd.core.records import Batch
    from distfd.evaluation.warm_states import WarmStarts
    from distfd.executors.base import Executor
    from distfd.objectives.base import Objective
    from distfd.observers.base import Observer
    from distfd.scheduling.policy import Policy
    from distfd.stores.base import Store
    from distfd.workers.messages import Report
    from distfd.workers.recycle import Recycle


_READ = 0.1
"""Seconds to wait for one more report; if none comes, all that were pending have been read."""


@dataclass(frozen=True, eq=False)
class KnownValue:
    """J at a point, told by the caller: it counts for one call, and is not stored.

    Attributes
    ----------
    key : (2,) ndarray of uint64
        Of the point.
    value : (m,) ndarray
    bits : int
        Of its number type.
    """

    key: NDArray[np.uint64]
    value: NDArray[np.float64]
    bits: int = DOUBLE

    def compare(self, batch: Batch, imaginary: NDArray[np.bool_]) -> None:
        """See that J has as many outputs elsewhere.

        Raises
        ------
        InputError
            If it has not.
        """
        size = np.where(imaginary[batch.index], batch.size // 2, batch.size)
        others = size[(batch.status == Status.OK) & (size != len(self.value))]
        if len(others):
            raise InputError(
                f"f0: has {len(self.value)} numbers, and J has {others[0]} outputs; give J(x0) as J returns it"
            )


_NUMBER_KINDS = ("gradient", "hessian", "hvp")
"""Kinds of derivatives of a J with one output."""


def known_value(f0: Any, key: NDArray[np.uint64], kind: str) -> KnownValue:
    """J at the point of this key, as the caller gives it.

    Raises
    ------
    InputError
        If it is nothing that J may return.
    """
    try:
        value = np.asarray(None if np.ma.is_masked(f0) else f0)
    except (TypeError, ValueError):
        value = np.array(None)
    if value.dtype.kind not in "iuf" or value.ndim > 1 or not value.size or not np.isfinite(value).all():
        raise InputError(f"f0: must be J(x0), a finite number or a one-dimensional array of them (was {f0!r})")
    if kind in _NUMBER_KINDS and value.size != 1:
        raise InputError(
            f"f0: must be one number, because a {kind} needs a J with one output (had shape {value.shape})"
        )
    bits = min(int(np.finfo(value.dtype).nmant), DOUBLE) if value.dtype.kind == "f" else DOUBLE
    return KnownValue(key, np.atleast_1d(value).astype(np.float64), bits)


@dataclass
class Session:
    """What stays from one wave to the next: the slots, the store and who watches.

    Attributes
    ----------
    salt : int
        Separates this objective's values from others' in the store.
    recycle : Recycle or None
        When workers' processes are replaced.
    warm : Warm or None
        From which states points start, where not from J's own first one.
    bits : int
        Of the number type in which J returned the values of the last whole wave, as steps are chosen by them
        (`distfd.differentiation.value_precision.step_bits`).
    known : Known
        What whole waves have shown of J.
    """

    objective: Objective
    executor: Executor
    store: Store
    observers: Sequence[Observer]
    policy: Policy
    salt: int = 0
    names: Sequence[str] | None = None
    pool: SlotPool = field(default_factory=lambda: SlotPool(slots=1))
    recycle: Recycle | None = None
    warm: WarmStarts | None = None
    bits: int = DOUBLE
    known: Known = NOTHING_KNOWN
    watch: ObjectiveWatch | None = None
    """Sees whether J has changed in this process; None: nobody looks."""
    given: KnownValue | None = None
    """J at the x of this call, where the caller knows it."""
    until: float | None = None
    """When (awake_clock) a call that waits only so long wants to be told that nothing has come; None: it waits."""
    _opened: Objective | None = None
    """With which the executor's slots were started last."""
    _depth: int = 0
    """Waves that have begun and not ended."""
    _troubled: set[int] = field(default_factory=set)
    """Observers that have failed."""

    def emit(self, event: events.Event) -> None:
        """Show an event to every observer; one that fails is told of once, and the wave goes on.

        Raises
        ------
        DistfdError
            If an observer that keeps what happened (the log) cannot write it, or one uses distfd in a way that is
            refused: these are no matter of looks.
        """
        for k, observer in enumerate(self.observers):
            try:
                observer(event)
            except DistfdError:
                raise
            except Exception as error:
                if k not in self._troubled:
                    self._troubled.add(k)
                    warn(
                        f"an observer ({type(observer).__qualname__}) failed at {type(event).__name__}: "
                        f"{type(error).__name__}: {error}; the evaluations go on, and later failures of it are "
                        "not reported",
                        RuntimeWarning,
                    )

    def refresh(self) -> bool:
        """See that J is what it was in the last call; where it has changed, go on with it as another J.

        Nothing that is known of the old one is used for the new: values have other keys, workers get J anew, and no
        point starts from a state that the old one left.

        Returns
        -------
        bool
            Whether it has changed.
        """
        if self.watch is None:
            return False
        changed = self.watch.changed
        if changed or self.watch.restless:
            self.watch.note()
            self.objective = self.watch.objective
        if not changed:
            return False
        self.salt = changed_salt(self.store, self.objective)
        self.bits, self.known = DOUBLE, NOTHING_KNOWN
        if self.warm is not None:
            self.warm.forget()
        return True

    def adopt(self, objective: Objective, names: Sequence[str]) -> None:
        """Go on with J as it is with names of its coordinates; nothing that is known of it so far is used for it."""
        self.watch = ObjectiveWatch(objective)
        self.objective, self.names = self.watch.objective, names
        self.salt = changed_salt(self.store, self.objective)
        self.bits, self.known = DOUBLE, NOTHING_KNOWN
        if self.warm is not None:
            self.warm.forget()

    def note(self) -> None:
        """After an evaluation in this process: what J has changed of itself there is no change of J."""
        if self.watch is not None and not self.executor.has_own_processes and self.watch.changed:
            self.watch.note()

    def check(self) -> None:
        """Before an evaluation in this process, for a call that began before: see that J is still the same.

        Raises
        ------
        InputError
            If it is not: the values of two would be mixed.
        """
        if self.watch is not None and not self.executor.has_own_processes and self.watch.changed:
            raise InputError(
                "J, an object that it refers to, the environment or the working directory was changed between begin() "
                "and result(), and this executor evaluates in this process: the derivative would mix two functions; "
                "change it before begin() or after result()"
            )

    def spool_place(self) -> str | None:
        """Where workers leave long evaluations, in case this process dies; None where they die with it."""
        return self.store.spool_place() if self.executor.has_own_processes else None

    @contextlib.contextmanager
    def wave(self) -> Iterator[None]:
        """Inside, slots are in use; after it they may be lent to others. One may begin inside another."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self.executor.rest()

    def start(self, *, ready: bool = False) -> None:
        """Have the executor start its slots, if it has not yet.

        Parameters
        ----------
        ready : bool
            Whether J is to be ready in a slot before it is up; otherwise it may become so with its first chunk.
        """
        before = self.pool.up
        limits = (self.policy.timeout, self.policy.setup_limit)
        self.executor.note_setup_limit(limited=ready or any(limit is not None for limit in limits))
        self._opened = self.objective
        reports = self.executor.open(self.objective)
        self.pool.opened(max(1, self.executor.slots), reports, awake_clock.now())
        for up in self.pool.up.values():
            if before.get(up.slot) != up:
                self.emit(events.SlotStarted(up.slot, up.host, up.pid, up.output))

    def wait(self, seconds: float) -> Sequence[Report]:
        """What the slots report; there may be more or fewer of them since.

        Raises
        ------
        InputError
            If the slots have the J of another Evaluator by now: none of its values is taken for one of this J.
        """
        opened = self.executor.opened_for
        if opened is not None and opened is not self.objective:
            raise InputError(
                "another Evaluator has used this executor since begin(), so its slots now evaluate the other J; ask "
                "for the result earlier, or give each Evaluator an executor of its own"
            )
        begin = time.monotonic()
        reports = self.executor.wait(seconds)
        if self.executor.has_own_processes and awake_clock.waited(begin, seconds):
            # What came in while this process was stopped is read before anybody is judged to be late.
            while more := self.executor.wait(_READ):
                reports = [*reports, *more]
        self.pool.slots = max(1, self.executor.slots)
        return reports

    def take(self, report: SlotStarting | SlotUp) -> None:
        """A slot's process is there, or J is ready in it."""
        self.pool.take(report, awake_clock.now())
        if isinstance(report, SlotUp):
            self.emit(events.SlotStarted(report.slot, report.host, report.pid, report.output))

    def wait_until_up(self) -> None:
        """Wait until every slot is up, or one of them was lost, or took too long to make J ready."""
        silence = StallNotice(awake_clock.now())
        while (up := len(self.pool.up)) < self.pool.slots:
            for report in self.wait(1.0):
                if not isinstance(report, (SlotStarting, SlotUp)):
                    return  # the next wave finds out what is the matter
                self.take(report)
            limit, now = self.policy.setup_limit, awake_clock.now()
            if limit is not None and any(now - since > limit for _, since in self.pool.starting.values()):
                return
            self.tell_silence(silence, now, going=len(self.pool.up) > up)

    def tell_silence(self, silence: StallNotice, now: float, *, going: bool) -> None:
        """Say so, where for long nothing has been going on."""
        seconds = silence.look(now, going=going)
        if seconds is not None:
            self.emit(events.Waiting(seconds, why_waiting(self.pool)))

    @property
    def has_slots(self) -> bool:
        """Whether the executor's slots are this session's, and not those of another one that has the executor."""
        opened = self.executor.opened_for
        return opened is None or opened is self._opened

    def _give_back(self) -> None:
        if self.has_slots:
            self.executor.close()

    def stop(self) -> None:
        """Give the slots back; the next wave starts others.

        Where another thread has the executor evaluate, its slots are left to that one, or given back as it ends.
        """
        usual_times.remember(self.objective, self.pool.times)
        try:
            self.executor.turn.at_end(self._give_back)
        finally:
            self.pool.opened(self.pool.slots, (), awake_clock.now())
            self.emit(events.Stopped())
