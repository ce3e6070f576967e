"""Objects as bytes, by Ray's cloudpickle."""

from __future__ import annotations

from distfd.core.errors import InputError


def pickled_bytes(thing: object) -> bytes:
    """Pickle by Ray's cloudpickle, which takes lambdas, notebook functions and classes by value.

    Raises
    ------
    InputError
        If it cannot be pickled.
    """
    from ray import cloudpickle

    try:
        return bytes(cloudpickle.dumps(thing))  # type: ignore[no-untyped-call]  # Ray's own lacks types
    except Exception as error:  # pickling runs code of whatever is pickled
        raise InputError(
            f"J cannot be sent to another process: {type(error).__name__}: {error}; make what cannot travel (open "
            "files, locks, connections) inside J, or in a simulator's setup()"
        ) from error


def forget_classes() -> None:
    """Have classes that travel by value be made anew when they come next.

    Cloudpickle keeps each that this process has read, and gives it to later readers, with whatever has been stored in
    it since: another J would find what an earlier one has left there.
    """
    from ray.cloudpickle import cloudpickle

    # No public part of it; without them, each class is made anew in any case.
    for name in ("_DYNAMIC_CLASS_TRACKER_BY_ID", "_DYNAMIC_CLASS_TRACKER_BY_CLASS"):
        getattr(cloudpickle, name, {}).clear()
