"""Evaluations that span several nodes: each has a placement group, and the names of its nodes for MPI."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from distfd.workers.hosts import HOSTS

if TYPE_CHECKING:
    from distfd.executors.ray.resources import Resources


class PlacementGroups:
    """Chooses the nodes of each slot's worker; a slot keeps its nodes when its process is replaced.

    Parameters
    ----------
    resources : Resources
        Of one evaluation. Nothing is reserved where it spans one node.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._groups: dict[int, Any] = {}

    def strategy(self, slot: int) -> Any:
        """Ray's scheduling strategy for the slot's worker."""
        if self._resources.nodes == 1:
            return "SPREAD"
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        if slot not in self._groups:
            each = self._resources.on_each_node
            # The worker is in the first; the others are held for what it starts there.
            bundles = [{**each, **self._resources.custom}, *(dict(each) for _ in range(self._resources.nodes - 1))]
            labels = [dict(self._resources.labels)] * len(bundles) if self._resources.labels else None
            self._groups[slot] = placement_group(bundles, strategy="STRICT_SPREAD", bundle_label_selector=labels)
        return PlacementGroupSchedulingStrategy(self._groups[slot], placement_group_bundle_index=0)

    def free(self, *slots: int) -> None:
        """Remove the placement groups of these slots, or all."""
        for group in [self._groups.pop(slot) for slot in slots or tuple(self._groups) if slot in self._groups]:
            from ray.util.placement_group import remove_placement_group

            with contextlib.suppress(Exception):  # its cluster may be gone
                remove_placement_group(group)


def publish_hosts(nodes: int) -> None:
    """In a worker: put the names of its nodes into the environment, its own first; none where there is one node."""
    os.environ.pop(HOSTS, None)  # what an outer evaluation may have left
    if nodes == 1:
        return
    import ray
    from ray.util.placement_group import get_current_placement_group, placement_group_table

    table: Any = placement_group_table(get_current_placement_group())
    names = {node["NodeID"]: node["NodeManagerHostname"] for node in ray.nodes()}  # type: ignore[no-untyped-call]  # Ray lacks types
    at = table["bundles_to_node_id"]
    os.environ[HOSTS] = ",".join(names[at[bundle]] for bundle in sorted(at))
