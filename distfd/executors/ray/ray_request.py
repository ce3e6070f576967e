"""Asking an autoscaler for room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distfd.executors.ray.resources import Resources

Ask = dict[str, Any]
"""So many ``bundles`` of ``needs`` on nodes with these ``labels``; as JSON has them."""


def asked_for(resources: Resources, slots: int) -> Ask:
    """What makes room for so many evaluations at once."""
    spread = resources.nodes > 1
    return {
        "needs": resources.on_each_node if spread else resources.needs,
        "labels": dict(resources.labels),
        "bundles": slots * resources.nodes,
    }


def request(asks: Iterable[Ask]) -> None:
    """Have an autoscaler make room for all of this, and for nothing else; where there is none, nobody reads it.

    The cluster remembers one request, whoever made it, until the next.
    """
    import ray
    from ray.autoscaler.sdk import request_resources

    asks = list(asks)
    bundles = [dict(ask["needs"]) for ask in asks for _ in range(ask["bundles"])]
    labels = (
        [dict(ask["labels"]) for ask in asks for _ in range(ask["bundles"])] if any(a["labels"] for a in asks) else None
    )
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]  # Ray lacks types
        # Ray's client has no such call.
        remote: Any = ray.remote(num_cpus=0)(request_resources)
        ray.get(remote.remote(bundles=bundles, bundle_label_selectors=labels))
    else:
        request_resources(bundles=bundles, bundle_label_selectors=labels)
