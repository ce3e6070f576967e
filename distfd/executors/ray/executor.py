"""Evaluations on a Ray cluster: one actor a slot.

An actor keeps its process, and with it J's model, for the whole session; a chunk of points goes to it by one call, and
a second one may wait behind the first. Ray's own retries are off: the scheduler counts attempts.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Unpack

from distfd.core.errors import ClusterLostError, InputError
from distfd.core.records import NOTHING
from distfd.core.unknown_keywords import answers_misuse
from distfd.executors.base import Executor
from distfd.executors.ray import worker as ray_worker
from distfd.executors.ray.connection import connection, forked, is_private, join, worker_environment
from distfd.executors.ray.disconnect import leave, shut_down
from distfd.executors.ray.elastic_slots import ClusterCapacity, ElasticSlots
from distfd.executors.ray.idle_loss import IdleLoss
from distfd.executors.ray.nodes import LEFT, Nodes
from distfd.executors.ray.options import KEEP_IDLE, ClusterOptions, as_keep_idle
from distfd.executors.ray.placement_groups import PlacementGroups
from distfd.executors.ray.resources import Resources, check_needs, count_slots, live_nodes, make_resources
from distfd.executors.ray.slot_registry import Capacity, Fixed, LocalShare, SlotRegistry
from distfd.executors.ray.slots import Slots
from distfd.executors.ray.warm_workers import HandingOn, ParkedWorkers, WarmWorkers
from distfd.executors.ray.worker_start import WorkerStarter
from distfd.workers.job_walltime import find_time_limit
from distfd.workers.messages import ChunkDone, SlotLost

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from distfd.executors.ray.resources import Needs
    from distfd.objectives.base import Objective
    from distfd.workers.job_walltime import TimeLimit
    from distfd.workers.messages import Chunk, Report, SlotStarting, SlotUp

_ANSWER = 5.0
"""Seconds to wait until parked workers say whether J has left threads or state behind; they need a few milliseconds."""

_HANDED = 2.0
"""Seconds for which the worker of a slot that was given back waits for the session that waits for the slot."""

_SOON = 0.05
"""Seconds for which a wave that has too few slots waits for news before it looks at what others have given back."""

_registry = SlotRegistry()
_warm = WarmWorkers(_registry)
_idle_loss = IdleLoss(_registry, _warm)


class RayExecutor(Executor):
    """Slots on a Ray cluster, joined or started when first needed.

    Parameters
    ----------
    address : str, optional
        "local" (always a private cluster), "auto" (one running on this machine), "host:port", "ray://host:port".
        None takes the cluster this process is connected to, else RAY_ADDRESS, else starts a private one, which ends
        with the process.
    num_cpus : int, optional
        CPUs that a private cluster counts; by default all that this process may use, by its affinity and its control
        group. Evaluations that mostly wait can share cores: count
        more than there are.
    max_slots : int, optional
        Evaluations at once, at most.
    request_slots : int, optional
        Evaluations at once for which an autoscaler is to make room.
    stop_before, max_wall_time : float, optional
        Seconds. `TimeUpError` is raised so long before the Slurm job's end, or that of the time that may be taken from
        now on; no evaluation is begun that should take longer than what is left until then.
    runtime_env : mapping, optional
        Ray's, for the workers: ``env_vars``, ``pip``, ``working_dir``, ``py_modules`` ... Modules of your own, and a
        program's files, reach other hosts without it.
    resources : Resources or mapping, optional
        What one evaluation needs: ``num_cpus`` (1), ``num_gpus`` (0), ``memory`` (bytes), ``custom`` ({name: amount}),
        ``nodes`` (1): with several, it holds the first three on each, and J finds the nodes' names, with commas
        between them, in the environment variable DISTFD_HOSTS, and a program in the file hosts.txt too. ``labels``:
        those of the nodes it may run on.
    show_output : bool
        Whether what J prints is printed here too; Ray's log files have it in any case.
    keep_idle : float or str
        Seconds, or a text such as "5min", for which the workers of a function stay after a call has ended, for the next
        one with the same or another J; 0 ends them at once. They make room as soon as another executor of this process,
        or something else on the cluster, waits for it, and end with `distfd.shutdown`, with the block of a ``with`` of
        this executor, and with the process. Those that have GPUs or custom resources, span nodes, or hold a simulator
        end with the call.
    **needs
        ``num_gpus``, ``memory``, ``custom``, ``nodes`` and ``labels`` may also be given here, for short.

    Raises
    ------
    InputError
        If an argument makes no sense.
    """

    @answers_misuse("RayExecutor")
    def __init__(
        self,
        *,
        address: str | None = None,
        num_cpus: int | None = None,
        max_slots: int | None = None,
        request_slots: int | None = None,
        stop_before: float | None = None,
        max_wall_time: float | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        resources: Resources | Mapping[str, Any] | None = None,
        show_output: bool = True,
        keep_idle: float | str = KEEP_IDLE,
        **needs: Unpack[Needs],
    ) -> None:
        check_needs(needs, [word for word in inspect.signature(RayExecutor).parameters if word != "needs"])
        self._options = ClusterOptions(address, num_cpus, max_slots, request_slots, runtime_env or {})
        self._time_limit = find_time_limit(stop_before, max_wall_time)
        self._show_output = show_output
        if not isinstance(resources, Resources):
            resources = make_resources({} if resources is None else resources)
        self._resources = replace(resources, **needs)
        self._hands_on = HandingOn(self._options, self._resources, self._show_output, as_keep_idle(keep_idle))
        self._objective: Objective | None = None
        self._setup_limited = True
        self._kept: Hashable | None = None
        """The key under which this executor's workers were last left in the pool for the next call."""
        self._slots: Slots | None = None
        self._cluster: str | None = None
        self._share: LocalShare | None = None
        self._places = PlacementGroups(self._resources)
        self._nodes: Nodes | None = None
        self._driven = threading.RLock()
        """Held while the slots are asked for their reports."""
        self._stash: list[Report] = []
        """Reports that came in while another session of this process asked the slots."""

    def __repr__(self) -> str:
        given = {
            "address": self._options.address,
            "num_cpus": self._options.num_cpus,
            "max_slots": self._options.max_slots,
        }
        told = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
        state = "not open" if self._slots is None else f"{self.slots} slot{'' if self.slots == 1 else 's'}"
        return f"<RayExecutor({told}): {state}>"

    def __exit__(self, *_: object) -> None:
        """End all workers, and those that stayed for the next call; where another thread evaluates, after its call."""
        self.turn.at_end(self._end_all)

    def _end_all(self) -> None:
        self._end()
        if self._kept is not None and not forked():
            _warm.end(self._kept)

    @property
    def has_own_processes(self) -> bool:
        """True: workers may end an evaluation after this process has died."""
        return True

    @property
    def time_limit(self) -> TimeLimit | None:
        """The end of the Slurm job, or of the time that may be taken, whichever comes first."""
        return self._time_limit

    @property
    def slots(self) -> int:
        """Evaluations at once; 0 before `open`."""
        return len(self._slots or ())

    @property
    def duplicates_are_free(self) -> bool:
        """False if an evaluation takes custom resources such as licences: a duplicate would take more of them."""
        return not self._resources.custom

    @property
    def opened_for(self) -> Objective | None:
        """The objective that the workers have."""
        return self._objective

    @property
    def idle_slots_are_free(self) -> bool:
        """False if an evaluation takes custom resources such as licences."""
        return not self._resources.custom

    def note_setup_limit(self, *, limited: bool) -> None:
        """Whether a limit holds for the time in which a worker makes J ready, so that no chunk comes with J."""
        self._setup_limited = limited

    def open(self, objective: Objective) -> Sequence[SlotUp | SlotStarting]:
        """Join or start the cluster and start a worker for each slot; return the slots that are up or starting.

        Raises
        ------
        ClusterError
            If the cluster cannot be reached, was lost since, or can never run an evaluation.
        """
        if ray_worker.inside:
            raise InputError("the ray executor cannot be used inside an evaluation; use executor='serial' there")
        if forked():
            join(None, None)  # refuses; and the lock may be the parent's
        with _registry.opening, self._driven:  # or another session would have slots lent that are being started
            return self._open(objective)

    def _open(self, objective: Objective) -> Sequence[SlotUp | SlotStarting]:
        _idle_loss.leave_ended()
        self._check()
        options = self._options
        join(options.address, options.num_cpus, runtime_env=options.runtime_env, show_output=self._show_output)
        _idle_loss.watch()
        cluster = connection()
        _registry.make_room(self)  # what others leave may fit
        taken = self._take_warm(objective, cluster)
        if len(_warm):
            _warm.end(but=self._hands_on.fitting_key(objective, cluster))
        _registry.begin(self, cluster)
        if taken and self._slots is not None and self._nodes is not None:
            if self._renewed(self._slots, self._nodes, objective, anew=True):
                return self._slots.known
            self._end()
        slots, nodes = self._slots, self._nodes
        if (
            slots
            and nodes is not None
            and self._cluster == cluster
            and (self._objective is objective or self._renewed(slots, nodes, objective))
        ):
            return slots.known
        if self._cluster == cluster:
            self._end()
        self._forget()
        _registry.begin(self, cluster)
        self._nodes = nodes = Nodes(private=is_private(cluster))
        self._cluster = cluster
        with nodes.explained():
            self._fill(objective, nodes)
        self._objective = objective  # only now: an interrupt on the way leaves nothing that looks open
        return []

    def _renewed(self, slots: Slots, nodes: Nodes, objective: Objective, *, anew: bool = False) -> bool:
        """Give all workers this J, or end them all, as after an interrupt some would have another J."""
        with nodes.explained():
            try:
                later = objective.leaves_process_clean and not self._setup_limited
                done = slots.renew(objective, anew=anew, later=later)
            except BaseException:
                self._objective = None
                self._end()
                raise
            if done:
                self._objective = objective
            return done

    def _fill(self, objective: Objective, nodes: Nodes) -> None:
        """Start as many workers as a private cluster has slots, or as this driver's share of a joined cluster."""
        if nodes.private:
            most = count_slots(self._resources, live_nodes(), self._options.max_slots)
            capacity: Capacity = Fixed(most)
        else:
            census = ClusterCapacity(self._resources, self._options, partial(_connected_to, self._cluster))
            census.start()
            capacity = census
        self._share = share = LocalShare(_registry, self, capacity, self._options.max_slots)
        resizing, count = ElasticSlots(share), share.target
        env = worker_environment(self._options.runtime_env)
        make = WorkerStarter(objective, self._resources, self._places, runtime_env=env, private=nodes.private)
        self._slots = Slots(make, nodes, self._places, resizing, spares=self._resources.cpus_alone)
        self._slots.fill(count)

    def submit(self, slot: int, chunk: Chunk) -> None:
        """Queue a chunk on a slot's worker."""
        with self._driven:  # or another session might have the slot lent in the middle of it
            slots, nodes = self._opened_slots()
            if any(isinstance(report, SlotLost) and report.slot == slot for report in self._stash):
                self._stash.insert(0, ChunkDone(slot, chunk.id, NOTHING))  # the caller has not heard of it yet
                return
            with nodes.explained():
                slots.submit(slot, chunk)

    def wait(self, seconds: float) -> Sequence[Report]:
        """What the workers reported.

        Raises
        ------
        ClusterLostError
            If the cluster is gone; `close` then disconnects without a call to its servers.
        """
        self._check()
        with _registry.driving(self), self._driven:
            stash, self._stash = self._stash, []
            return stash or self._wait(seconds)

    def _wait(self, seconds: float) -> Sequence[Report]:
        if self._nodes is not None and self._nodes.doubted:
            # A call to this node's raylet, if that is gone, makes Ray end this process. So make none until the watch is
            # sure.
            time.sleep(min(seconds, 0.05))
            return []
        if self._slots is None or self._nodes is None or not self._connected():
            raise ClusterLostError(LEFT)
        with self._nodes.explained():
            if _registry.shares(self) and self._slots.lacking:
                seconds = min(seconds, _SOON)  # what another session gives back is to be taken over soon
            reports = self._slots.wait(seconds)
            self._hand_on(self._slots, self._nodes)
        return reports

    def _hand_on(self, slots: Slots, nodes: Nodes) -> None:
        """Park the workers of slots that were given back, for a session of this process that waits for such."""
        if not slots.has_returned:
            return
        objective, cluster = self._objective, self._cluster
        if objective is None or cluster is None or not self._hands_on.allows(objective) or not _registry.wanted(self):
            slots.end_returned()
            return
        try:
            around = Nodes(private=nodes.private)
            part = slots.apart(around)
        except Exception:  # the reports that came with them are not to be lost for it
            slots.end_returned()
            return
        key = self._hands_on.key(objective, cluster, slots.paths)
        _warm.park(ParkedWorkers(key, cluster, part, around, PlacementGroups(self._resources)), _HANDED)

    def take_over(self) -> bool:
        """Take parked workers in the place of processes that have not started; whether there are too few still."""
        with self._driven:
            slots, nodes, objective, cluster = self._slots, self._nodes, self._objective, self._cluster
            if slots is None or nodes is None or objective is None or cluster is None:
                return True
            if nodes.lost or nodes.doubted or not self._connected():
                return True
            key = self._hands_on.fitting_key(objective, cluster) if slots.lacking else None
            for parked in _warm.like(key) if key is not None else ():
                with nodes.explained():
                    parked.slots.check_parked(_ANSWER)
                    slots.take_over(parked.slots)
                if not len(parked.slots):
                    _warm.close(parked)
            return slots.lacking > 0

    def kill(self, slot: int) -> None:
        """End a slot's process and start another."""
        with self._driven:
            if self._slots is None or self._nodes is None:
                return  # all ended with the connection
            slots, nodes = self._slots, self._nodes
            if not self._connected():
                self._forget()  # the caller has left Ray, which ends the workers; a word would start another cluster
                return
            # No report follows but the SlotUp of the new one.
            self._stash = [report for report in self._stash if report.slot != slot]
            if slots.has(slot):  # or it was lent, and the caller has not heard of it yet
                with nodes.explained():
                    slots.kill(slot)

    def lend(self) -> None:
        """Give idle slots back beyond this executor's share, if no thread waits for its wave just now."""
        if not self._driven.acquire(blocking=False):
            return  # somebody does, in another thread
        try:
            if self._slots is not None and self._nodes is not None and not self._nodes.lost and self._connected():
                self._stash += self._wait(0.0)
        finally:
            self._driven.release()

    def stop_asking(self) -> bool:
        """Ask the cluster nothing more, as it is lost; whether no question is under way."""
        return self._slots is None or self._slots.stop()

    def rest(self) -> None:
        """Note that a wave is over; the workers stay for the next, unless another executor here needs the CPUs."""
        _registry.rest(self)

    def close(self) -> None:
        """Give every slot back; idle workers stay for the next call (``keep_idle``), and so does a private cluster."""
        if forked():
            self._leave_to_the_parent()
            return
        # Another thread may be at the point of having it lend slots.
        with _registry.opening, self._driven:
            if not self._park():
                self._close()

    def _end(self) -> None:
        """End all workers; the cluster stays, for the next call of this process."""
        if forked():
            self._leave_to_the_parent()
            return
        with _registry.opening, self._driven:
            self._close()

    def _leave_to_the_parent(self) -> None:
        """In a forked child: forget the workers, without any message to Ray over the parent's connections."""
        _of_parents.append((self._slots, self._objective, self._nodes, self._places, self._share))
        self._slots = self._objective = self._nodes = self._share = None

    def _take_warm(self, objective: Objective, cluster: str) -> bool:
        """Take over the parked workers of an executor with the same key; whether there are any."""
        if self._slots is not None and self._cluster == cluster:
            return False
        key = self._hands_on.fitting_key(objective, cluster)
        parked = None if key is None else _warm.take(key, cluster)
        if parked is None or parked.share is None:
            return False
        self._forget()
        try:
            fit = parked.slots.check_parked(_ANSWER)
        except BaseException:
            parked.end()  # they are in no list any more
            raise
        if not fit:
            parked.end()
            return False
        self._slots, self._nodes, self._places = parked.slots, parked.nodes, parked.places
        self._cluster, self._share = parked.cluster, parked.share
        self._share.hand_to(self)
        return True

    def _park(self) -> bool:
        """Park the idle workers for the next call; whether there are any."""
        objective, slots, nodes, share, cluster = (
            self._objective,
            self._slots,
            self._nodes,
            self._share,
            self._cluster,
        )
        if objective is None or slots is None or nodes is None or share is None or cluster is None:
            return False
        if not self._hands_on.allows(objective) or nodes.lost or nodes.doubted or not self._connected():
            return False
        try:
            if not slots.park():
                return False
        except Exception:  # the cluster may be about to be lost
            return False
        self._kept = self._hands_on.key(objective, cluster, slots.paths)
        _registry.end(self)
        share.rest()
        parked = ParkedWorkers(self._kept, cluster, slots, nodes, self._places, share)
        self._places = PlacementGroups(self._resources)
        self._stash, self._slots, self._objective, self._nodes, self._share = [], None, None, None, None
        _warm.park(parked, self._hands_on.seconds)
        return True

    def _close(self) -> None:
        connected = self._nodes is not None and self._connected()
        if self._nodes is not None and self._nodes.lost:
            if connected:
                leave(private=self._nodes.private, asking=self._slots is not None and not self._slots.stop())
            self._places = PlacementGroups(self._resources)
        elif self._slots is not None and self._nodes is not None and connected:
            with self._nodes.explained():
                self._slots.close()
                self._places.free()
        self._forget()

    def _opened_slots(self) -> tuple[Slots, Nodes]:
        if self._slots is None or self._nodes is None:
            raise ClusterLostError(LEFT)
        return self._slots, self._nodes

    def _check(self) -> None:
        """Disconnect and raise if the cluster is gone."""
        if self._nodes is not None and self._nodes.lost:
            nodes, connected = self._nodes, self._connected()
            self.close()
            if connected:  # or the caller has left it, and it may be gone for that reason
                nodes.check()

    def _connected(self) -> bool:
        return _connected_to(self._cluster)

    def _forget(self) -> None:
        _registry.end(self)
        self._stash = []
        if self._slots is not None:
            self._slots.stop()
        self._slots, self._objective = None, None
        if self._nodes is not None:
            self._nodes.stop()
        self._nodes = None


def _connected_to(cluster: str | None) -> bool:
    return connection() == cluster


def shutdown() -> None:
    """End the workers that stay for the next call, and the private Ray cluster that distfd started in this process.

    Another thread that waits for evaluations there gets a ClusterError; what was finished is kept. A cluster that the
    caller connected to, or that was joined, is left as it is. The next call starts what it needs.
    """
    if "ray" not in sys.modules or forked():
        return
    import ray

    with _registry.opening, contextlib.ExitStack() as held:
        _warm.end()
        if ray.is_initialized() and is_private(connection()):
            for holder in _registry.on(connection()):
                if isinstance(holder, RayExecutor):
                    held.enter_context(holder._driven)  # noqa: SLF001  # Ray would end the process of who asks it
            shut_down()


_of_parents: list[Any] = []
"""Ray objects of the parent, kept alive in a forked child so that freeing them sends no message to Ray."""
