"""Translates Ray's errors into failures and errors of distfd."""

from __future__ import annotations

from distfd.core.records import Failure, Status
from distfd.executors.ray.internals import tells_disowned, tells_failed_start, tells_lost_node, tells_no_memory

IDLE = Failure(Status.LOST, "the worker's process ended while it was idle")
"""Nobody is to blame for that."""
HUNG = Failure(Status.LOST, "the node of the worker does not answer")
RETURNED = Failure(Status.LOST, "the slot was given back to the cluster")
OUT_OF_MEMORY = "the worker was killed because its node ran out of memory (resources.memory says what one needs)"
"""When a node runs out of memory, Ray ends the workers that were started last, whichever of them took the memory."""

_DISOWNED = (
    "the head of the cluster cannot ask this process about its workers and ended them; do both use the same token, or "
    "none (RAY_AUTH_MODE=token or disabled), and is there no firewall between them?"
)


def failure_of(error: Exception) -> Failure:
    """The failure that an error of Ray's stands for, when a worker was lost."""
    from ray import exceptions

    if tells_no_memory(error):
        return Failure(Status.CRASH, OUT_OF_MEMORY, str(error))
    if tells_lost_node(error):
        return node_lost(str(error))
    if tells_disowned(error):
        # Nobody here let go of it: the head asks this process after its actors, and took no answer for an answer.
        return Failure(Status.CRASH, _DISOWNED, str(error))
    if tells_failed_start(error):
        last = next(line for line in reversed(str(error).splitlines()) if line.strip())
        return Failure(Status.CRASH, f"the worker could not start: {last.strip()}{_missing_here(last)}", str(error))
    if isinstance(error, exceptions.RayTaskError):
        return Failure(Status.CRASH, f"the worker failed outside J: {type(error).__name__}", str(error))
    return Failure(Status.CRASH, "the worker process died (a signal, os._exit, or no memory left)", str(error))


def no_environment(error: Exception) -> str:
    """The error of a runtime environment that Ray cannot set up: the last error in Ray's message, or its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("ERROR")] or lines
    return f"cluster.runtime_env: Ray could not make it on a node: {told[-1]}"


def node_lost(detail: str) -> Failure:
    """The failure of a worker that was lost together with its node."""
    return Failure(Status.LOST, "the node of the worker was lost", detail)


def _missing_here(line: str) -> str:
    return "; install distfd on the nodes of the cluster, in its Python" if "'distfd'" in line else ""
