"""Decides what is sent to workers by value, and what by reference through Ray's object store.

Ray ends this process, without an exception, if it has an object in the store of a node that leaves the cluster in good
order (Ray 2.60: "The connection to the plasma store is failed. Terminate the process"). So what is small travels by
value, and a session of a usual J has nothing there.
"""

from __future__ import annotations

from typing import Any

BY_VALUE = 16_384
"""Bytes up to which an argument travels with each call: Ray's head keeps those with which an actor is made."""


def put(value: Any, size: int) -> Any:
    """The value, or a reference to it where it has more than `BY_VALUE` bytes; as an argument both are the same.

    Parameters
    ----------
    value : object
    size : int
        Bytes, about.
    """
    import ray

    return value if size <= BY_VALUE else ray.put(value)


def get(given: Any, seconds: float) -> Any:
    """The value of a result of `put` that was sent inside another object.

    Raises
    ------
    ray.exceptions.GetTimeoutError
        If it does not come in time.
    """
    import ray

    return ray.get(given, timeout=seconds) if isinstance(given, ray.ObjectRef) else given
