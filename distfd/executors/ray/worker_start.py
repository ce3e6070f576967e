"""How a slot's worker is started."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.executors.ray.code_shipping import packed_code
from distfd.executors.ray.pickling import pickled_bytes
from distfd.executors.ray.worker import PickledObjective, RayWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from distfd.executors.ray.placement_groups import PlacementGroups
    from distfd.executors.ray.resources import Resources
    from distfd.objectives.base import Objective


def worker_starter(
    objective: Objective,
    resources: Resources,
    places: PlacementGroups,
    *,
    runtime_env: Mapping[str, Any] | None = None,
    ship: bool = False,
) -> Callable[[int], Any]:
    """A function that starts the worker of a slot; the objective is in the cluster then.

    Parameters
    ----------
    runtime_env : mapping, optional
        Ray's, for the workers.
    ship : bool
        Whether workers may be on other hosts, which do not see the user's modules and files.

    Raises
    ------
    InputError
        If the objective cannot be pickled.
    """
    import ray

    pickled = ray.put(PickledObjective(pickled_bytes(objective)))
    luggage = ray.put(packed_code(objective.shipped_files())) if ship else None
    paths = [str(Path(path).resolve()) for path in sys.path]
    threads = max(1, int(resources.num_cpus))
    actor: Any = ray.remote(RayWorker)
    options: dict[str, Any] = {
        "num_cpus": resources.num_cpus,
        "num_gpus": resources.num_gpus,
        "memory": resources.memory,
        "resources": dict(resources.custom) or None,
        "label_selector": dict(resources.labels) or None,
        "runtime_env": dict(runtime_env) if runtime_env else None,
        "max_restarts": 0,
        "max_task_retries": 0,
    }

    def start(slot: int) -> Any:
        made = actor.options(**options, scheduling_strategy=places.strategy(slot))
        return made.remote(pickled, slot, threads, paths, nodes=resources.nodes, luggage=luggage)

    return start
