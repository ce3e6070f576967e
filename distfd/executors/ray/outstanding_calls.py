"""The calls whose answers the workers of a session owe, and the chunks that wait for such an answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
