"""Leaving a Ray cluster that is lost: Ray's own ways out wait for servers that are gone."""

from __future__ import annotations

import atexit
import contextlib
import threading

_PATIENCE = 15.0
"""Seconds that Ray has to disconnect; 7 were seen where the head had been killed, and it takes for ever of one that
hangs."""


def leave(*, private: bool) -> None:
    """Disconnect this process from Ray, and end the rest of a cluster that was its own.

    Does not raise, and takes a bounded time. Where Ray cannot be left, it is kept from being left again when the
    interpreter ends.
    """
    import ray

    if not ray.is_initialized():
        return
    if private:
        _end_servers()
    thread = threading.Thread(target=_shut_down, name="distfd leaves Ray", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if thread.is_alive():
        atexit.unregister(ray.shutdown)


def _end_servers() -> None:
    """Kill what is left of a cluster that this process started; workers, and what they started, go with it."""
    import ray

    with contextlib.suppress(Exception):
        # Ray has no public way that does not ask its servers first.
        node = ray._private.worker._global_node  # type: ignore[attr-defined]  # noqa: SLF001
        node.kill_all_processes(check_alive=False, allow_graceful=False)


def _shut_down() -> None:
    import ray

    with contextlib.suppress(Exception):
        ray.shutdown()
