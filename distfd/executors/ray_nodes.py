"""The nodes of a cluster, as far as slots and this process depend on them."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from distfd.executors.ray_leave import joined
from distfd.executors.ray_probe import as_address
from distfd.executors.ray_watch import Watch, head, raylet

if TYPE_CHECKING:
    from distfd.executors.ray_probe import Address
    from distfd.executors.ray_watch import Vital


class Nodes:
    """Which node each slot is on, and which of them are there.

    Parameters
    ----------
    private : bool
        Whether the cluster is this process's own.
    """

    def __init__(self, *, private: bool) -> None:
        self.private = private
        self._raylets = _raylets()
        self._at: dict[int, Address] = {}
        vital = _vital(self._raylets, private=private)
        joined(tuple(each.address for each in vital), private=private)
        self._watch = Watch(vital).start()
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

    def came(self, slot: int, node: str) -> None:
        """A slot's worker has started on a node, by Ray's id of it."""
        if node not in self._raylets:
            self._raylets = _raylets()  # it has joined since
        at = self._raylets.get(node)
        if at is not None:
            self._at[slot] = at
            self._watch.add(at)

    def left(self, slot: int) -> None:
        """A slot's worker is given up."""
        self._at.pop(slot, None)

    def gone(self, slot: int) -> bool:
        """Ask now whether a slot's node is gone: of a worker that has died, that tells whose fault it was."""
        return slot in self._at and self._watch.gone(self._at[slot])

    def hung(self) -> list[int]:
        """Slots on nodes that have not answered for long."""
        hung = self._watch.hung
        return [slot for slot, at in self._at.items() if at in hung] if hung else []

    def stop(self) -> None:
        """Look after them no more."""
        self._watch.stop()


def _raylets() -> dict[str, Address]:
    """Where each node's raylet listens, by the node's id."""
    import ray

    nodes = ray.nodes()  # type: ignore[no-untyped-call]  # Ray lacks types
    return {node["NodeID"]: (node["NodeManagerAddress"], node["NodeManagerPort"]) for node in nodes if node["Alive"]}


def _vital(raylets: dict[str, Address], *, private: bool) -> list[Vital]:
    """The servers without which this process cannot go on."""
    import ray

    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]  # Ray lacks types
        return []  # a proxy stands between, and Ray's client tells by itself when that is lost
    context = ray.get_runtime_context()
    own = raylets.get(context.get_node_id())
    vital = [head(as_address(context.gcs_address), private=private)]
    return vital if own is None else [*vital, raylet(own)]
