"""A cluster that is lost while nothing is evaluated there: this process leaves it, and the next call finds another.

Ray ends a process without an exception 60 s after it has lost its head, also one that has long been busy with something
else: a notebook would be gone for a cluster that it does not need any more.
"""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING

from distfd.executors.ray.cluster_health import ClusterWatch
from distfd.executors.ray.connection import connection, is_private, made_here
from distfd.executors.ray.disconnect import leave
from distfd.executors.ray.internals import ended_servers
from distfd.executors.ray.nodes import heads_of_connection

if TYPE_CHECKING:
    from distfd.executors.ray.slot_registry import SlotRegistry
    from distfd.executors.ray.warm_workers import WarmWorkers

_log = logging.getLogger("distfd")


class IdleLoss:
    """Sees that the cluster of this process's connection is there, as long as the connection is.

    Parameters
    ----------
    registry : SlotRegistry
        Knows whose waves are waited for: these notice the loss themselves, and say so.
    warm : WarmWorkers
        What is parked there goes with the cluster.
    """

    def __init__(self, registry: SlotRegistry, warm: WarmWorkers) -> None:
        self._registry = registry
        self._warm = warm
        self._cluster = ""
        self._watch: ClusterWatch | None = None

    def watch(self) -> None:
        """Watch the cluster of a connection that distfd has made, if it does not yet."""
        cluster = connection()
        if cluster == self._cluster:
            return
        if self._watch is not None:
            self._watch.stop()
        self._cluster, self._watch = cluster, None
        heads = heads_of_connection(private=is_private(cluster)) if made_here(cluster) else []
        if heads:
            self._watch = ClusterWatch(heads, unheard=partial(self._lost, cluster)).start()

    def leave_ended(self) -> None:
        """Leave a private cluster whose servers have ended, unless a wave is waited for there.

        The caller holds ``registry.opening``.
        """
        if "ray" not in sys.modules:  # nor is it to be imported before it is told of the token
            return
        cluster = connection()
        if is_private(cluster) and not self._registry.waited(cluster) and (ended := ended_servers()):
            self._leave(cluster, f"{' and '.join(ended)} ended")

    def _lost(self, cluster: str, reason: str) -> None:
        with self._registry.opening:
            if connection() == cluster and not self._registry.waited(cluster):
                self._leave(cluster, reason)

    def _leave(self, cluster: str, reason: str) -> None:
        asking = False
        for holder in self._registry.on(cluster):
            asking = not holder.stop_asking() or asking
        self._warm.drop(cluster)
        private = is_private(cluster)
        leave(private=private, asking=asking)
        if not connection():
            _log.warning(
                "this process has left %s Ray cluster, which was lost while nobody waited for an evaluation there (%s)",
                "its private" if private else "a",
                reason,
            )
