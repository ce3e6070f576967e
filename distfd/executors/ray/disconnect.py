"""Disconnecting from a Ray cluster that is lost: Ray's own functions for that wait for servers that are gone."""

from __future__ import annotations

import atexit
import contextlib
import gc
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distfd.executors.ray.cluster_health import ServerProbe, as_address, probe
from distfd.executors.ray.internals import server_pids

if TYPE_CHECKING:
    from distfd.executors.ray.cluster_health import Address

_PATIENCE = 15.0
"""Seconds that Ray may take to disconnect: it took 7 when the head was killed, and did not end when the head hung."""
_ANSWER = 5.0
"""Seconds that a server has to answer when the interpreter ends."""


def leave(*, private: bool, asking: bool) -> None:
    """Disconnect this process from a cluster that is lost; if it was private, end the servers that are left of it.

    Does not raise, and takes a bounded time. Where Ray cannot be left, it is kept from being left again when the
    interpreter ends.

    Parameters
    ----------
    private : bool
        Whether the cluster was this process's own.
    asking : bool
        Whether another thread waits for an answer of the cluster: Ray crashes if it is left meanwhile.
    """
    import ray

    if not ray.is_initialized():
        return
    if private:
        end_servers()
    if asking:
        atexit.unregister(ray.shutdown)
        return
    thread = threading.Thread(target=_shut_down, name="distfd leaves Ray", daemon=True)
    thread.start()
    thread.join(_PATIENCE)
    if thread.is_alive():
        atexit.unregister(ray.shutdown)


@dataclass(frozen=True)
class _Joined:
    servers: tuple[Address, ...]
    private: bool


_last: list[_Joined] = []


def joined(servers: tuple[Address, ...], *, private: bool) -> None:
    """Note that this process depends on these servers, so that it can end even if they do not answer then."""
    if not _last:
        atexit.register(_at_exit)
    _last[:] = [_Joined(servers, private)]


def _at_exit() -> None:
    """Ray disconnects after this, and would wait for a head that hangs for ever."""
    import ray

    (at,) = _last
    if not ray.is_initialized() or as_address(ray.get_runtime_context().gcs_address) not in at.servers:
        return
    if all(pulse is ServerProbe.ANSWERS for pulse in probe(at.servers, _ANSWER).values()):
        return
    if at.private:
        end_servers()  # to ask one that is gone fails soon
    else:
        atexit.unregister(ray.shutdown)


def end_servers() -> None:
    """Kill the remaining servers of a cluster that this process started; processes that its workers started end too."""
    import psutil

    # Ray has no public way that does not ask its servers first.
    with contextlib.suppress(Exception):
        servers = [psutil.Process(pid) for pid in server_pids()]
        for process in [*servers, *(child for server in servers for child in _below(server))]:
            with contextlib.suppress(psutil.Error):
                process.kill()


def _below(process: Any) -> list[Any]:
    import psutil

    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def shut_down() -> None:
    """Disconnect from Ray with garbage collection off: to free one of Ray's objects then would end the process.

    IPython's threads, for instance, collect at any time what cycles of the caller's hold: references to actors, or to
    answers of theirs.
    """
    import ray

    gc.collect()
    collects = gc.isenabled()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        if collects:
            gc.enable()


def _shut_down() -> None:
    with contextlib.suppress(Exception):
        shut_down()
