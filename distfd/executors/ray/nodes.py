"""The nodes of a cluster, as far as slots and this process depend on them."""

from __future__ import annotations

import contextlib
import functools
import signal
import weakref
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.core.errors import ClusterError, ClusterLostError, DistfdError
from distfd.executors.ray.cluster_health import ClusterWatch, as_address, head, raylet
from distfd.executors.ray.disconnect import end_servers, joined
from distfd.executors.ray.internals import starting_nothing, tells_left
from distfd.workers.emergency_exit import emergency_exit
from distfd.workers.processes import kernel_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distfd.executors.ray.cluster_health import Address, WatchedServer

LEFT = (
    "this process left the Ray cluster (ray.shutdown), or lost it, while evaluations were running there; finished "
    "evaluations are kept: make the same call again to continue"
)
"""To whoever waits for evaluations on a cluster that another thread has left."""

_KILLED = 1 << (signal.SIGKILL - 1)
"""The bit of this signal among those that wait for a process."""


class Nodes:
    """Which node each slot is on, and which of them are there.

    Parameters
    ----------
    private : bool
        Whether the cluster is this process's own.
    """

    def __init__(self, *, private: bool) -> None:
        self.private = private
        # Ray's own first question to a head that hangs would never return.
        ClusterWatch(heads_of_connection(private=private)).settle()
        self._raylets = _raylets()
        self._at: dict[int, Address] = {}
        heads = heads_of_connection(private=private)
        self._own = _own_node() if heads else None
        self._ids: dict[int, str] = {}
        """Ray's ids of the nodes, by slot."""
        self._near: dict[int, int] = {}
        """Process ids of the workers on this machine, by slot."""
        own = self._raylets.get(self._own or "")
        self._vital = heads if own is None else [*heads, raylet(own)]
        joined(tuple(each.address for each in self._vital), private=private)
        self._watch = ClusterWatch(self._vital, unheard=partial(_unheard, private=private)).start()
        weakref.finalize(self, self._watch.stop)

    @property
    def lost(self) -> bool:
        """Whether the cluster is gone."""
        return self._watch.lost is not None

    def check(self) -> None:
        """See that the cluster is there.

        Raises
        ------
        ClusterLostError
            If it is not.
        """
        self._watch.check()

    @property
    def doubted(self) -> bool:
        """Whether a server that this process needs seems to be gone; it may still come back."""
        return self._watch.refusing

    def assure(self) -> None:
        """Wait until all servers that this process needs answer.

        Raises
        ------
        ClusterLostError
            If they never do.
        """
        ClusterWatch(self._vital).settle(self._watch.check)

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Inside, an error that Ray raises because the cluster is lost is raised as a lost cluster, not as a bug.

        Raises
        ------
        ClusterLostError
            If the cluster is gone, or another thread has left it meanwhile.
        ClusterError
            If it is there and Ray failed all the same.
        """
        import ray
        from ray.exceptions import RayError

        try:
            with starting_nothing():
                yield
        except DistfdError:
            raise
        except SystemExit as error:
            if not tells_left(error):
                raise
            raise ClusterLostError(LEFT) from error
        except Exception as error:
            if not ray.is_initialized():
                raise ClusterLostError(LEFT) from error
            self.assure()
            if isinstance(error, (RayError, ConnectionError)):
                first = next(iter(str(error).strip().splitlines()), "")
                raise ClusterError(f"Ray failed: {type(error).__name__}: {first}") from error
            raise

    def came(self, slot: int, node: str, pid: int) -> None:
        """Note on which node a slot's worker has started, by Ray's id of the node."""
        self._ids[slot] = node
        if node == self._own:
            self._near[slot] = pid
        if node not in self._raylets:
            self._raylets = _raylets()  # it has joined since
        at = self._raylets.get(node)
        if at is not None:
            self._at[slot] = at
            self._watch.add(at)

    def left(self, slot: int) -> None:
        """Note that a slot's worker is given up."""
        self._at.pop(slot, None)
        self._ids.pop(slot, None)
        self._near.pop(slot, None)

    def of(self, slot: int) -> str | None:
        """Ray's id of the node of a slot's worker, as the worker has reported it."""
        return self._ids.get(slot)

    def is_near(self, slot: int) -> bool:
        """Whether a slot's process was started on this machine."""
        return slot in self._near

    def sees(self, slot: int) -> bool:
        """Whether a slot's process surely runs, found without a call to it: /proc shows processes on this machine."""
        return slot in self._near and _runs(self._near[slot])

    def misses(self, slot: int) -> bool:
        """Whether a slot's process ran on this machine and has ended; False if there is no /proc."""
        return slot in self._near and _has_proc() and not _runs(self._near[slot])

    def gone(self, slot: int) -> bool:
        """Ask now whether a slot's node is gone: if its worker has died, this tells whether the node was the cause."""
        return slot in self._at and self._watch.gone(self._at[slot])

    def hung(self) -> list[int]:
        """Slots on nodes that have not answered for long."""
        hung = self._watch.hung
        return [slot for slot, at in self._at.items() if at in hung] if hung else []

    def stop(self) -> None:
        """Stop checking the cluster's servers."""
        self._watch.stop()


def _unheard(reason: str, *, private: bool) -> None:
    if private:
        end_servers()
    emergency_exit(reason)


def _raylets() -> dict[str, Address]:
    """Where each node's raylet listens, by the node's id."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray lacks types
    return {node["NodeID"]: (node["NodeManagerAddress"], node["NodeManagerPort"]) for node in nodes if node["Alive"]}


def heads_of_connection(*, private: bool) -> list[WatchedServer]:
    """The head's address; none with Ray's client, which connects to a proxy and notices itself when that is lost."""
    import ray

    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]  # Ray lacks types
        return []
    return [head(as_address(ray.get_runtime_context().gcs_address), private=private)]


def _own_node() -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


@functools.cache
def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()


def _runs(pid: int) -> bool:
    """Whether a process runs and is not about to end, by proc_pid_status(5); False where there is no /proc (macOS).

    A process that has been killed is there until the kernel gets round to it, which takes a while on a busy machine.
    """
    try:
        status = kernel_file(f"/proc/{pid}/status")
    except OSError:
        return False
    return _field(status, b"State")[:1] not in (b"Z", b"X") and not int(_field(status, b"ShdPnd") or b"0", 16) & _KILLED


def _field(status: bytes, name: bytes) -> bytes:
    """A field of such a file: this is asked of each slot at each call, and the file has 60 of them."""
    _, _, rest = status.partition(b"\n" + name + b":")
    return rest.partition(b"\n")[0].strip()
