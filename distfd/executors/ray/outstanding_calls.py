"""The calls whose answers the workers of a session owe, and the chunks that wait for such an answer."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from distfd.executors.ray.worker_start import RemoteCall, WorkerStarter
    from distfd.workers.messages import Chunk


@dataclass(frozen=True)
class Call:
    """What an outstanding Ray reference stands for; ``chunk`` is None while a worker makes itself and J ready."""

    slot: int
    chunk: int | None = None
    ready: bool = False
    """Whether J is ready once it returns."""
    adopts: bool = False
    """Whether a worker that was idle goes on with another J."""
    by: WorkerStarter | RemoteCall | None = None
    """The object that knows the driver's J, for calls in which a worker compares it with its own J."""
    held: list[Chunk] = field(default_factory=list)
    """Chunks to send, in this order, once the call returns: until then an idle worker may have died unseen."""
    first: bool = False
    """Whether the call brings a J and the first of these chunks, which is evaluated unless J differs there."""


class OutstandingCalls:
    """All of them, in the order in which they were made."""

    def __init__(self) -> None:
        self._by_reference: dict[Any, Call] = {}
        self._holding: dict[int, Call] = {}
        """Calls that hold chunks back, by slot."""

    def __bool__(self) -> bool:
        return bool(self._by_reference)

    @property
    def references(self) -> list[Any]:
        """Ray's references to the answers."""
        return list(self._by_reference)

    def add(self, reference: Any, call: Call) -> None:
        """Note a call; where it holds chunks back, those that come for its slot are to wait too."""
        self._by_reference[reference] = call
        if call.held:
            self._holding[call.slot] = call

    def pop(self, reference: Any) -> Call | None:
        """The call that is answered; None where its slot was lost meanwhile."""
        return self._by_reference.pop(reference, None)

    def get(self, reference: Any) -> Call | None:
        """The call, which stays outstanding; None as for `pop`."""
        return self._by_reference.get(reference)

    def of(self, slot: int) -> bool:
        """Whether a slot's worker owes any answer."""
        return any(call.slot == slot for call in self._by_reference.values())

    def owing(self) -> set[int]:
        """Slots whose workers owe an answer."""
        return {call.slot for call in self._by_reference.values()}

    def evaluating(self) -> set[int]:
        """Slots whose workers have a chunk."""
        return {call.slot for call in self._by_reference.values() if call.chunk is not None}

    def holding(self, slot: int) -> Call | None:
        """The call that holds a slot's chunks back."""
        return self._holding.get(slot)

    def let_go(self, call: Call) -> bool:
        """Note that a call is answered, and holds nothing back; False if another J has been sent to its slot since."""
        if self._holding.get(call.slot) is not call:
            return False
        del self._holding[call.slot]
        return True

    def supersede(self, slot: int) -> None:
        """Note that another J is sent to a slot: no answer that its worker owes tells anything of that one."""
        self._holding.pop(slot, None)
        self._by_reference = {
            reference: replace(call, ready=False, by=None) if call.slot == slot else call
            for reference, call in self._by_reference.items()
        }

    def forget(self, slot: int) -> None:
        """Expect no answer of a slot any more."""
        self._by_reference = {ref: call for ref, call in self._by_reference.items() if call.slot != slot}
        self._holding.pop(slot, None)

    def clear(self) -> None:
        """Expect no answer at all."""
        self._by_reference.clear()
        self._holding.clear()


class FitnessAnswers:
    """What parked workers owe since they were told to forget J: whether they are fit for another one."""

    def __init__(self) -> None:
        self._slots: dict[Any, int] = {}
        """By Ray's reference to the answer."""

    def ask(self, workers: Mapping[int, Any]) -> None:
        """Have these workers, by slot, forget J."""
        self._slots = {worker.release.remote(): slot for slot, worker in workers.items()}

    def unfit(self, up: Container[int], patience: float) -> list[int]:
        """Slots whose workers have said that they are unfit, or have died.

        Parameters
        ----------
        up : container of int
            Slots whose workers are up.
        patience : float
            Seconds for which the answers of these are waited for; who has not answered then counts as unfit. 0: those
            that have not answered are left for later.
        """
        import ray

        owing = [ref for ref, slot in self._slots.items() if slot in up] if patience else []
        if owing:
            ray.wait(owing, num_returns=len(owing), timeout=patience)
        asked = list(self._slots)
        came = set(ray.wait(asked, num_returns=len(asked), timeout=0)[0]) if asked else set()
        answers = {ref: self._slots.pop(ref) for ref in {*came, *owing}}
        return [slot for ref, slot in answers.items() if ref not in came or not _is_fit(ref)]

    def clear(self) -> None:
        """Expect no answer any more."""
        self._slots.clear()


def _is_fit(ref: Any) -> bool:
    """Whether a worker's answer to `release` lets it take another J."""
    import ray

    try:
        modules = ray.get(ref)
    except Exception:  # it has died
        return False
    # What J has imported there alone, nobody compares with the driver's: it may hold what J has left.
    return modules is not None and all(name in sys.modules for name in modules)
