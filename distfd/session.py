"""What stays from one wave to the next: the slots, the store and who watches."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from distfd import events
from distfd.errors import DistfdError
from distfd.protocols import SlotUp
from distfd.scheduling.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.protocols import Executor, Objective, Observer, Store
    from distfd.recycle import Recycle
    from distfd.scheduling.policy import Policy
    from distfd.warm import Warm


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
    """

    objective: Objective
    executor: Executor
    store: Store
    observers: Sequence[Observer]
    policy: Policy
    salt: int = 0
    names: Sequence[str] | None = None
    pool: Pool = field(default_factory=lambda: Pool(slots=1))
    recycle: Recycle | None = None
    warm: Warm | None = None
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
                    warnings.warn(
                        f"an observer ({type(observer).__qualname__}) failed at {type(event).__name__}: "
                        f"{type(error).__name__}: {error}; the evaluations go on, and this is not told again",
                        RuntimeWarning,
                        stacklevel=2,
                    )

    @property
    def awaits_leftovers(self) -> bool:
        """Whether workers of an earlier driver may still add to the store's values."""
        return bool(getattr(self.store, "awaits_leftovers", False))

    def spool_place(self) -> str | None:
        """Where workers leave long evaluations, in case this process dies; None where they die with it."""
        # Both are hints that a store or executor of the user's own need not know of.
        place = getattr(self.store, "spool_place", None)
        return place() if place is not None and getattr(self.executor, "apart", False) else None

    def start(self) -> None:
        """Have the executor start its slots, if it has not yet."""
        before = self.pool.up
        now = {up.slot: up for up in self.executor.open(self.objective)}
        self.pool.opened(max(1, self.executor.slots), now)
        for up in now.values():
            if before.get(up.slot) != up:
                self.emit(events.SlotStarted(up.slot, up.host, up.pid))

    def wait_until_up(self) -> None:
        """Wait until every slot is up, or one of them was lost."""
        while len(self.pool.up) < self.pool.slots:
            for report in self.executor.wait(1.0):
                if not isinstance(report, SlotUp):
                    return  # the next wave finds out what is the matter
                self.pool.up[report.slot] = report
                self.emit(events.SlotStarted(report.slot, report.host, report.pid))

    def stop(self) -> None:
        """Give the slots back; the next wave starts others."""
        self.executor.close()
        self.pool.opened(self.pool.slots, {})
