"""The workers of a session, one actor a slot, and the calls whose answers they owe."""

from __future__ import annotations

import contextlib
import itertools
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from distfd.core.errors import ClusterError, InputError
from distfd.core.records import NOTHING, Failure, Status
from distfd.executors.ray.chunk_serialization import ChunkSerializer
from distfd.executors.ray.failures import (
    HUNG,
    IDLE,
    OUT_OF_MEMORY,
    RETURNED,
    failure_of,
    no_environment,
    node_lost,
)
from distfd.executors.ray.imported_files import own_modules
from distfd.executors.ray.module_state import Differing
from distfd.executors.ray.outstanding_calls import Call, FitnessAnswers, OutstandingCalls
from distfd.executors.ray.spare_worker import SpareWorker
from distfd.executors.ray.worker import Refusal, Stale, unpacked_reply
from distfd.workers.messages import CallChunk, ChunkDone, EvaluationChunk, SlotLost, SlotStarting, SlotUp
from distfd.workers.recycle import RECYCLED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distfd.executors.ray.elastic_slots import ElasticSlots
    from distfd.executors.ray.nodes import Nodes
    from distfd.executors.ray.placement_groups import PlacementGroups
    from distfd.executors.ray.worker_start import RemoteCall, WorkerStarter
    from distfd.objectives.base import Objective
    from distfd.workers.messages import Chunk, Report

_CLOSE_SECONDS = 5.0
_IDLE = 0.02
"""Seconds. A worker that has reported nothing for so long, and was not seen to run, is checked before it gets a single
point, as it may have died: by its process id on this machine, by a call on another."""


@dataclass(frozen=True)
class IdleWorker:
    """A worker that is up and sound and has no slot; it still has the J that it had there."""

    actor: Any
    up: SlotUp
    node: str


class Slots:
    """The workers of all slots, and the calls that they have not answered yet.

    Parameters
    ----------
    make : WorkerStarter
    nodes : Nodes
        Told where each worker is.
    places : Places, optional
        Told which of them are given up.
    resizing : Resizing, optional
        Which are to come and to go; None where that never changes.
    spares : bool
        Whether there may be a worker more than slots, for the next slot that loses its process.
    """

    def __init__(
        self,
        make: WorkerStarter,
        nodes: Nodes,
        places: PlacementGroups | None = None,
        resizing: ElasticSlots | None = None,
        *,
        spares: bool = False,
    ) -> None:
        self._make, self._nodes, self._places, self._resizing = make, nodes, places, resizing
        self._spare = SpareWorker(make, wanted=spares)
        self._function: RemoteCall | None = None
        """The function of the latest map."""
        self._learned: dict[int, object] = {}
        """By slot, the function of a map that its worker has received."""
        self._actors: dict[int, Any] = {}
        self._up: dict[int, SlotUp] = {}
        self._starting: dict[int, SlotStarting] = {}
        self._calls = OutstandingCalls()
        self._due: dict[int, frozenset[str] | None] = {}
        """Slots whose workers get J with their first chunk, and the ``loaded`` of `WorkerStarter.adopt`."""
        self._keep_j = False
        """Whether the workers are parked and have not been told yet to forget their J."""
        self._fitness = FitnessAnswers()
        self._returned: list[IdleWorker] = []
        """Of slots that were given back since `apart` was last called."""
        self._worn: set[int] = set()
        self._heard: dict[int, float] = {}
        """When a slot's worker has reported something, or was seen to run, by time.monotonic()."""
        self._parcels = ChunkSerializer(nodes.assure)

    def __len__(self) -> int:
        return len(self._actors)

    def has(self, slot: int) -> bool:
        """Whether it is one of these."""
        return slot in self._actors

    @property
    def paths(self) -> list[str]:
        """Where the workers look for modules."""
        return self._make.paths

    @property
    def busy(self) -> bool:
        """Whether any worker has a chunk."""
        return bool(self._calls.evaluating())

    @property
    def known(self) -> list[SlotUp | SlotStarting]:
        """The slots whose processes have started."""
        return [*self._up.values(), *self._starting.values()]

    def fill(self, count: int) -> None:
        """Start this many workers."""
        for slot in range(count):
            self._start(slot)

    def submit(self, slot: int, chunk: Chunk) -> None:
        """Queue a chunk on a slot's worker."""
        if self._resizing is None or not self._resizing.refuses(slot, chunk.id):
            self._give(slot, chunk)

    def _give(self, slot: int, chunk: Chunk) -> None:
        if slot in self._due:
            self._adopt_with(slot, chunk)
        elif (call := self._calls.holding(slot)) is not None:
            call.held.append(chunk)
        elif isinstance(chunk, CallChunk) and self._learned.get(slot) is not (known := self._function_of(chunk)):
            self._learned[slot] = known
            self._calls.add(known.teach(self._actors[slot]), Call(slot, chunk.id, held=[chunk], by=known))
        elif len(chunk.index) == 1 and self._may_be_gone(slot):
            # The point must not be blamed.
            self._calls.add(self._actors[slot].here.remote(), Call(slot, chunk.id, held=[chunk]))
        else:
            self._send(slot, chunk)

    def _function_of(self, chunk: CallChunk) -> RemoteCall:
        """A map's function, which is pickled once."""
        if self._function is None or self._function.series is not chunk.series or chunk.series is None:
            self._function = self._make.function(chunk)
        return self._function

    def renew(self, objective: Objective, *, anew: bool = False, later: bool = False) -> bool:
        """Have the workers go on with another objective; False where others have to be started for it.

        Parameters
        ----------
        anew : bool
            Whether J is made anew even if it is the one that they have.
        later : bool
            Whether idle workers may get J with their first chunk, which saves a call to each.
        """
        adopts = self._make.renew(objective)
        if adopts is None:
            return False
        self._spare.end()  # it was made for the files of the J before
        loaded = own_modules() if self._keep_j else None
        owing = self._calls.owing()
        for slot in list(self._actors if adopts or anew else self._due):
            known = self._due.pop(slot, loaded)
            if later and slot in self._up and slot not in owing and self._nodes.is_near(slot):
                self._due[slot] = known
            else:
                self._adopt(slot, known)
        self._fitness.clear()
        self._keep_j = False
        return True

    def park(self) -> int:
        """End the workers that are not idle and sound; `release` has the others forget J. How many are left.

        Those that have died meanwhile are found by `check_parked`, before the next J.
        """
        for slot in {*self._calls.evaluating(), *self._worn}:
            self._drop(slot)
        self._spare.end()
        self._function = None
        self._learned.clear()
        self._due.clear()
        self._make.release()
        self._keep_j = True
        return len(self._actors)

    @property
    def has_returned(self) -> bool:
        """Whether `wait` has given slots back whose workers run on; `apart` or `end_returned` has to follow."""
        return bool(self._returned)

    def end_returned(self) -> None:
        """End the workers of slots that `wait` has given back."""
        for worker in self._returned:
            self._end(worker.actor)
        self._returned = []

    def apart(self, nodes: Nodes) -> Slots:
        """The workers of slots that `wait` has given back, parked as slots of their own."""
        part = Slots(self._make, nodes)
        for slot, worker in enumerate(self._returned):
            part._actors[slot], part._up[slot] = worker.actor, replace(worker.up, slot=slot)
            nodes.came(slot, worker.node, worker.up.pid)
        self._returned = []
        part._keep_j = True
        return part

    @property
    def lacking(self) -> int:
        """Slots that are to be there and whose processes have not started."""
        return 0 if self._resizing is None else self._resizing.lacking(len(self._up) + len(self._starting))

    def take_over(self, parked: Slots) -> None:
        """Go on with parked workers in the place of processes that have not started, as many as there are of both."""
        if not self._make.continues(parked._make):
            return
        loaded = own_modules() if parked._keep_j else None
        pending = [slot for slot in self._actors if slot not in self._up and slot not in self._starting]
        free = itertools.chain(
            [slot for slot in pending if not self._spare.is_light(slot)],
            (slot for slot in itertools.count() if slot not in self._actors),
        )
        for old in [slot for slot in parked._up if not parked._spare.is_light(slot)][: self.lacking]:
            slot, worker = next(free), parked._idle_worker(old)
            parked._remove(old)
            if slot in self._actors:
                self._give_up(slot)
            self._actors[slot] = worker.actor
            self._await(slot, adopts=True, loaded=loaded)

    def _idle_worker(self, slot: int) -> IdleWorker:
        node = self._nodes.of(slot)
        assert node is not None, "it is up"
        return IdleWorker(self._actors[slot], self._up[slot], node)

    def release(self) -> None:
        """Have parked workers forget J, which may be large.

        Where a call follows on another at once they do so as they adopt the next J, which saves a word to each.
        """
        if self._keep_j:
            self._keep_j = False
            self._fitness.ask(self._actors)

    def check_parked(self, patience: float = 0.0) -> int:
        """Drop the workers that have died since they were parked, or are unfit for another J; how many are left.

        Parameters
        ----------
        patience : float
            Seconds for which those are waited for that have been up and have not yet said what they are; 0: they are
            left for later. Those that are still starting have evaluated nothing.
        """
        import ray

        owed = self._calls.references
        ready, _ = ray.wait(owed, num_returns=len(owed), timeout=0) if owed else ([], [])
        for ref in ready:
            call = self._calls.get(ref)
            if call is not None:
                try:
                    ray.get(ref)
                except Exception:  # whatever it was, the next J is not to be blamed for it
                    self._drop(call.slot)
        for slot in self._fitness.unfit(self._up, patience):
            if slot in self._actors:
                self._drop(slot)
        now = time.monotonic()
        for slot in list(self._actors):
            if self._nodes.misses(slot):
                self._drop(slot)
            elif self._nodes.is_near(slot):
                self._heard[slot] = now
        return len(self._actors)

    def _drop(self, slot: int) -> None:
        """End a worker, without another in its place."""
        self._end(self._actors[slot])
        self._remove(slot)

    def _remove(self, slot: int) -> None:
        """Forget a slot and its worker, which runs on."""
        self._forget(slot)
        if self._places is not None:
            self._places.free(slot)
        self._heard.pop(slot, None)
        self._spare.ended([slot])
        del self._actors[slot]

    def end(self) -> None:
        """End all workers at once."""
        self._spare.end()
        for actor in self._actors.values():
            self._end(actor)
        # Here and now: whoever else holds these slots may let go of them at any time, and Ray's own things with them.
        for known in (self._actors, self._calls, self._due, self._fitness):
            known.clear()

    def _adopt(self, slot: int, loaded: frozenset[str] | None = None) -> None:
        up = self._up.pop(slot, None)
        if up is not None:
            self._starting[slot] = SlotStarting(slot, up.host, up.pid)
        # Who is still on the way to the J before is ready only once it has this one.
        self._calls.supersede(slot)
        answer = self._make.adopt(self._actors[slot], slot, loaded)
        self._calls.add(answer, Call(slot, ready=True, adopts=True, by=self._make))

    def _adopt_with(self, slot: int, chunk: Chunk) -> None:
        """Have a worker go on with J, and evaluate its first chunk in the same call where that can be told apart."""
        loaded = self._due.pop(slot)
        first = isinstance(chunk, EvaluationChunk) and chunk.timeout is None and self._is_there(slot)
        packed = self._parcels.pack(chunk) if first else ()
        call = Call(slot, chunk.id, adopts=not first, by=self._make, held=[chunk], first=first)
        self._calls.add(self._make.adopt(self._actors[slot], slot, loaded, packed), call)

    def wait(self, seconds: float) -> Sequence[Report]:
        """What the workers reported."""
        import ray

        if not self._calls:
            time.sleep(min(seconds, 0.05))
            return self._resized()
        calls = self._calls.references
        # Ready is what is here: what lies on a node that hangs could be waited for without end.
        ready, _ = ray.wait(calls, num_returns=1, timeout=seconds)
        if ready and len(calls) > 1:
            ready, _ = ray.wait(calls, num_returns=len(calls), timeout=0)
        # In the order of submission: what a worker did before it died comes before its death.
        came = set(ready)
        reports = [report for ref in calls if ref in came for report in self._reports(ref)]
        return reports + self._recycled() + self._hung() + self._resized()

    def kill(self, slot: int) -> None:
        """End a slot's process, and have another in its place."""
        node = self._nodes.of(slot)
        self._give_up(slot)
        self._actors[slot], was_there = self._spare.replace(slot, node)
        self._await(slot, adopts=was_there)

    def stop(self) -> bool:
        """Follow the cluster no more; whether no question to it is under way."""
        return self._resizing is None or self._resizing.stop()

    def close(self) -> None:
        """End all workers, the idle ones in good order."""
        import ray

        busy = self._calls.owing()
        bye = [self._actors[slot].close.remote() for slot in self._up if slot not in busy]
        if bye:
            ray.wait(bye, num_returns=len(bye), timeout=_CLOSE_SECONDS)
        self._spare.end()
        for actor in self._actors.values():
            self._end(actor)

    def _end(self, actor: Any) -> None:
        import ray

        if not ray.is_initialized():
            return  # the caller has left Ray, which ends the workers; a word to it would start another cluster
        with contextlib.suppress(Exception):  # it may be gone already
            ray.kill(actor, no_restart=True)

    def _give_up(self, slot: int) -> None:
        """End a slot's process, and forget what it was and owed."""
        self._end(self._actors[slot])
        self._forget(slot)

    def _forget(self, slot: int) -> None:
        self._calls.forget(slot)
        self._due.pop(slot, None)
        self._up.pop(slot, None)
        self._starting.pop(slot, None)
        self._nodes.left(slot)
        self._worn.discard(slot)
        self._learned.pop(slot, None)
        if self._resizing is not None:
            self._resizing.lost(slot)

    def _send(self, slot: int, chunk: Chunk) -> None:
        self._calls.add(self._actors[slot].run.remote(*self._parcels.pack(chunk)), Call(slot, chunk.id))

    def _start(self, slot: int) -> None:
        self._actors[slot] = self._make(slot)
        self._await(slot)

    def _await(self, slot: int, *, adopts: bool = False, loaded: frozenset[str] | None = None) -> None:
        """Ask a slot's worker to be there, and to make J ready."""
        worker = self._actors[slot]
        self._calls.add(worker.here.remote(), Call(slot))
        ready = self._make.adopt(worker, slot, loaded) if adopts else worker.hello.remote()
        self._calls.add(ready, Call(slot, ready=True, adopts=adopts, by=self._make))

    def _may_be_gone(self, slot: int) -> bool:
        """Whether it may have died unseen, as it has been idle for a while."""
        return not self._is_there(slot) and not self._calls.of(slot)

    def _is_there(self, slot: int) -> bool:
        """Whether it was there a moment ago, or is seen to be there now, without a call to it."""
        return time.monotonic() - self._heard.get(slot, 0.0) <= _IDLE or self._nodes.sees(slot)

    def _hung(self) -> list[Report]:
        """Slots on nodes that do not answer; Ray starts their workers elsewhere, once it sees it too."""
        slots = self._nodes.hung()
        for slot in slots:
            self.kill(slot)
        return [SlotLost(slot, HUNG) for slot in slots]

    def _resized(self) -> list[Report]:
        """Start slots where the cluster has more for this driver; end those that are over, once they are idle."""
        if self._resizing is None or self._resizing.settled(len(self._actors)):
            return []
        busy = self._calls.evaluating()
        change = self._resizing.change(self._actors, self._up, busy)
        sound = [slot for slot in change.end if self._is_sound(slot)]
        if change.start or change.end:
            self._spare.ended(change.end)
        for slot in change.start:
            self._start(slot)
        for slot in change.end:
            if slot in sound:
                self._returned.append(self._idle_worker(slot))
                self._remove(slot)
            else:
                self._drop(slot)
        return [*change.back, *(SlotLost(slot, RETURNED) for slot in change.end)]

    def _is_sound(self, slot: int) -> bool:
        """Whether a slot's worker, which has no chunk, may go on in another session."""
        unfit = self._calls.of(slot) or slot in self._worn or self._spare.is_light(slot) or self._nodes.misses(slot)
        return slot in self._up and not unfit

    def _recycled(self) -> list[Report]:
        """Slots whose processes have had their time, once all that they were given is in; others take their place.

        A report may come before that of an earlier chunk, so none is killed that still owes one. What it was given
        since it knew comes back at once, untouched.
        """
        owing = self._calls.owing()
        worn = [slot for slot in self._worn if slot not in owing]
        for slot in worn:
            self.kill(slot)
        return [SlotLost(slot, RECYCLED) for slot in worn]

    def _reports(self, ref: Any) -> list[Report]:
        import ray

        call = self._calls.pop(ref)
        if call is None:
            return []  # its slot was lost a moment ago
        try:
            result = ray.get(ref)
        except ray.exceptions.RuntimeEnvSetupError as error:
            raise ClusterError(no_environment(error)) from None
        except ray.exceptions.RayError as error:
            failure = self._blame(call, failure_of(error))
            self.kill(call.slot)  # it may live on where only the call failed
            return [SlotLost(call.slot, failure, shared=failure.text == OUT_OF_MEMORY)]
        self._heard[call.slot] = time.monotonic()
        if isinstance(result, (Refusal, Stale, Differing)):
            return self._answered(call, result)
        sent_on = self._sent_on(call, evaluated=isinstance(result, bytes))
        if isinstance(result, bytes):
            return self._done(call, result) + sent_on
        return sent_on if call.held else [self._came(call, *result)]

    def _done(self, call: Call, reply: bytes) -> list[Report]:
        assert call.chunk is not None, "it was evaluated"
        batch, worn = unpacked_reply(reply)
        if worn:
            self._worn.add(call.slot)
        # Untouched points are not handed back, or they would go to the same process again.
        return [ChunkDone(call.slot, call.chunk, batch)] if len(batch) else []

    def _sent_on(self, call: Call, *, evaluated: bool) -> list[Report]:
        """Send the chunks that a call has held back, but for the first where the call has had that evaluated."""
        left = call.held[1:] if evaluated else call.held
        if not self._calls.let_go(call):
            return [ChunkDone(call.slot, chunk.id, NOTHING) for chunk in left]  # another J has been sent since
        for chunk in left:
            self._give(call.slot, chunk)
        return []

    def _answered(self, call: Call, found: Refusal | Stale | Differing) -> list[Report]:
        """A worker says that J is not there what it is here."""
        slot = call.slot
        if isinstance(found, Stale):
            self.kill(slot)
            return [SlotLost(slot, IDLE)] if call.held else []
        if call.by is None:
            return [ChunkDone(slot, chunk.id, NOTHING) for chunk in call.held]  # another J has been sent since
        if isinstance(found, Refusal):
            raise InputError(found.text)
        again = replace(call, first=False)
        self._calls.add(self._actors[slot].amend.remote(call.by.amendment(found)), again)
        return []

    def _came(self, call: Call, host: str, pid: int, node: str, output: str) -> SlotUp | SlotStarting:
        """A worker is there, and with the second call J is."""
        slot = call.slot
        if call.ready:
            self._starting.pop(slot, None)
            self._up[slot] = SlotUp(slot, host, pid, output)
            if len(self._up) == len(self._actors):
                self._spare.start()
            return self._up[slot]
        self._nodes.came(slot, node, pid)
        self._starting[slot] = SlotStarting(slot, host, pid)
        return self._starting[slot]

    def _blame(self, call: Call, failure: Failure) -> Failure:
        """Why a worker was lost: by what it did, while it did nothing, or with its node."""
        if failure.status != Status.CRASH:
            return failure
        if self._nodes.gone(call.slot):
            return node_lost(failure.detail)
        # A worker that is started for J in its place tells whether J was to blame.
        return IDLE if (call.held and not call.first) or call.adopts else failure
