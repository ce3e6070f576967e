"""One worker beside the slots, without a J, which takes the place of the next slot whose process is lost.

A new process takes from half a second to some seconds until it is up; one that runs already, some milliseconds. The
first slot that is lost has to wait for a new process. The spare is started once that one is up: J which has ended one
process may end others, and a session that loses none has no use for another process.

Ray counts CPUs by processes, and there is one process more than slots: so one of them holds none, at first the spare.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distfd.executors.ray.worker_start import WorkerStarter


class SpareWorker:
    """The spare of a session; it may be there or not.

    It is on the node where a slot was lost last, and takes the place of slots of that node alone: on another one it
    would run beside as many as the node has room for.

    Parameters
    ----------
    make : WorkerStarter
    wanted : bool
        Whether there may be one at all: where evaluations hold nothing but CPUs.
    """

    def __init__(self, make: WorkerStarter, *, wanted: bool) -> None:
        self._make, self._wanted = make, wanted
        self._due: str | None = None
        """The id of the node on which a spare is to be started; None if no spare is due."""
        self._actor: Any = None
        self._there: Any = None
        """The reference to the spare's answer that it has started."""
        self._light = True
        """Whether the spare holds no CPU."""
        self._light_slots: set[int] = set()
        """Slots whose workers hold none."""

    def replace(self, slot: int, node: str | None) -> tuple[Any, bool]:
        """The worker that takes a lost one's place, and whether it was there already.

        Parameters
        ----------
        node : str or None
            Where the lost one was, by Ray's id; None: it had not yet come up.
        """
        self._due = node if self._wanted else None
        if node is None or self._node() != node:
            return self._make(slot, light=slot in self._light_slots), False
        actor, light = self._actor, self._light
        self._actor = None
        (self._light_slots.add if light else self._light_slots.discard)(slot)
        return actor, True

    def start(self) -> None:
        """Start one where a slot was lost since the last one was started; to be called when all slots are up."""
        node, self._due = self._due, None
        if node is None or self._node() == node:
            return
        self.end()
        self._light = not self._light_slots
        self._actor = self._make.spare(node, light=self._light)
        self._there = self._actor.here.remote()

    def ended(self, slots: Iterable[int]) -> None:
        """These slots are given up without another in their place; so is the spare, which may hold a CPU."""
        self._light_slots.difference_update(slots)
        self.end()

    def is_light(self, slot: int) -> bool:
        """Whether a slot's worker holds no CPU."""
        return slot in self._light_slots

    def end(self) -> None:
        """End it, if there is one."""
        import ray

        actor, self._actor, self._there = self._actor, None, None
        if actor is not None and ray.is_initialized():
            with contextlib.suppress(Exception):  # it may be gone already
                ray.kill(actor, no_restart=True)

    def _node(self) -> str | None:
        """Where the spare is, if it is up."""
        import ray

        if self._actor is None or not ray.wait([self._there], timeout=0)[0]:
            return None
        try:
            return str(ray.get(self._there)[2])
        except Exception:  # it has died
            self.end()
            return None
