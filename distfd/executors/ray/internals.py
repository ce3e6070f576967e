"""All parts of Ray that distfd uses and Ray does not promise to keep: private names, and the texts of its errors.

For each part there is a check that it exists, and something that is done without it. No other file of distfd uses them.
`lacking` says which parts the installed version of Ray does not have, and what does not work then.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import importlib
import inspect
import json
import logging
import mmap
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.executors.ray import agent_stand_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_log = logging.getLogger("distfd")
_KEEPS_CHILDREN = "kill_child_processes_on_worker_exit"

_NAMES: Mapping[tuple[str, str], str] = {
    ("ray._private.worker", "_global_node"): "the servers of a cluster that hangs are not ended",
    ("ray._private.worker", "custom_excepthook"): "a process that is forked from a driver may hang as it ends",
    ("ray._private.worker", "global_worker"): "a process that is forked from a driver may hang as it ends",
    ("ray._private.auto_init_hook", "auto_init_ray"): "a thread may start a cluster while another one leaves Ray",
    ("ray._private.state", "state"): "a driver that has died keeps its share of a cluster for a minute",
    ("ray._private.services", "get_ray_address_from_environment"): "messages name a cluster 'auto', not its address",
    ("ray._raylet", "Config"): "programs that J starts on a cluster of others may end before J when a worker leaves",
    ("ray.experimental.internal_kv", "_internal_kv_list"): "drivers on one cluster do not share it fairly",
    ("ray.experimental.internal_kv", "_internal_kv_get"): "drivers on one cluster do not share it fairly",
    ("ray.experimental.internal_kv", "_internal_kv_put"): "drivers on one cluster do not share it fairly",
    ("ray.experimental.internal_kv", "_internal_kv_del"): "drivers on one cluster do not share it fairly",
    ("ray._private.ray_logging", "RAY_DEDUP_LOGS"): "equal lines that workers print are merged, and shown seconds late",
    ("ray.autoscaler.v2.sdk", "get_cluster_status"): "idle workers stay although other programs wait for their CPUs",
    ("ray.cloudpickle.cloudpickle", "_DYNAMIC_CLASS_TRACKER_BY_ID"): "workers are not kept for another J",
    ("ray.cloudpickle.cloudpickle", "_DYNAMIC_CLASS_TRACKER_BY_CLASS"): "workers are not kept for another J",
}
"""(Module, name): what does not work if the installed Ray does not have it."""


def lacking(*, loaded: bool = False) -> dict[str, str]:
    """The names that the installed version of Ray does not have, and what does not work without each.

    Parameters
    ----------
    loaded : bool
        Whether to check only those modules of Ray that are imported already, which takes no time.
    """
    importlib.import_module("ray")
    looked_at = {place: lost for place, lost in _NAMES.items() if not loaded or place[0] in sys.modules}
    return {f"{module}.{name}": lost for (module, name), lost in looked_at.items() if not _has(module, name)}


@functools.cache
def warn_of_what_lacks() -> None:
    """Warn once of the names that the installed version of Ray does not have."""
    for name, lost in lacking(loaded=True).items():
        _log.warning("Ray %s lacks %s: %s (this message appears once)", sys.modules["ray"].__version__, name, lost)


OLDEST = "2.50"
"""The oldest version of Ray that distfd supports; the same as in pyproject.toml."""


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except Exception:
        return False


@functools.cache
def keeps_classes_apart() -> bool:
    """Whether the installed Ray has what `forget_classes` needs."""
    return all(_has("ray.cloudpickle.cloudpickle", name) for name in _TRACKERS)


_TRACKERS = ("_DYNAMIC_CLASS_TRACKER_BY_ID", "_DYNAMIC_CLASS_TRACKER_BY_CLASS")


def forget_classes() -> None:
    """Have cloudpickle make classes that are sent by value anew when they come next.

    Cloudpickle keeps each class that this process has read and uses it again, with all attributes that were set since.
    So another J would find what an earlier one has stored in the class.
    """
    from ray.cloudpickle import cloudpickle

    for name in _TRACKERS:
        getattr(cloudpickle, name, {}).clear()


class _Threads(threading.local):
    start_nothing = 0
    """How many blocks of `starting_nothing` the thread is in."""


_threads = _Threads()


@contextlib.contextmanager
def starting_nothing() -> Iterator[None]:
    """In this block, functions of Ray that are called in this thread start no cluster where there is none.

    Ray starts one by itself in most of its functions. A thread of ours that asks something while the user's thread
    calls ``ray.shutdown()`` would so start one that nobody wants; it ends with the thread that started it, and a minute
    later Ray ends the whole process, as it has lost its cluster.
    """
    _heed_threads()
    _threads.start_nothing += 1
    try:
        yield
    finally:
        _threads.start_nothing -= 1


@functools.cache
def _heed_threads() -> None:
    for name in ("ray._private.auto_init_hook", "ray._private.client_mode_hook"):
        with contextlib.suppress(ImportError, AttributeError):
            module = importlib.import_module(name)
            module.auto_init_ray = _unless_nothing_is_to_start(module.auto_init_ray)  # type: ignore[attr-defined]


def _unless_nothing_is_to_start(start: Callable[[], None]) -> Callable[[], None]:
    @functools.wraps(start)
    def guarded() -> None:
        if not _threads.start_nothing:
            start()

    return guarded


def cluster_address() -> str:
    """The address that "auto" stands for, by Ray's own search; "auto" where it finds none, and will say so itself."""
    with contextlib.suppress(ImportError, AttributeError):
        from ray._private import services

        return services.get_ray_address_from_environment("auto", None) or "auto"
    return "auto"


def server_pids() -> list[int]:
    """Process ids of the servers that this process has started and that run; none where that cannot be told.

    The number of one that has ended may be another process's by now.
    """
    with contextlib.suppress(Exception):
        node: Any = importlib.import_module("ray._private.worker")._global_node  # noqa: SLF001
        started = [info.process for infos in node.all_processes.values() for info in infos]
        return [process.pid for process in started if process.poll() is None]
    return []


def ended_servers() -> list[str]:
    """Which of the head and the raylet that this process has started have ended; none where that cannot be told."""
    with contextlib.suppress(Exception):
        node: Any = importlib.import_module("ray._private.worker")._global_node  # noqa: SLF001
        started = {name: node.all_processes.get(name, ()) for name in ("gcs_server", "raylet")}
        return [name for name, infos in started.items() if any(info.process.poll() is not None for info in infos)]
    return []


def dead_jobs() -> set[str]:
    """Jobs whose drivers have ended, however they did; none where nobody can tell, as through Ray's client."""
    with contextlib.suppress(Exception):
        from ray._private import state  # ray.util.state needs a dashboard

        return {str(job["JobID"]) for job in state.jobs() if job["IsDead"]}  # type: ignore[no-untyped-call]  # Ray lacks types
    return set()


def others_wait() -> bool:
    """Whether tasks or actors on the cluster wait for room; False where that cannot be told."""
    import ray

    try:
        from ray.autoscaler.v2.sdk import get_cluster_status
    except ImportError:
        return False
    status: Any = get_cluster_status(ray.get_runtime_context().gcs_address)
    demands = status.resource_demands
    return bool(demands.ray_task_actor_demand or demands.placement_group_demand)


class ClusterNotes:
    """Short texts that all drivers of a cluster can read, kept by its head (as Ray's own libraries keep theirs).

    Where Ray has no such notes, they are those of this process alone.

    Parameters
    ----------
    space : bytes
        Notes of other spaces are not seen.
    """

    def __init__(self, space: bytes) -> None:
        self._space = space
        self._own: dict[str, bytes] = {}

    @property
    def _store(self) -> Any:
        try:
            store = importlib.import_module("ray.experimental.internal_kv")
        except ImportError:
            return None
        return store if hasattr(store, "_internal_kv_list") else None

    def names(self, prefix: str) -> Iterator[str]:
        """The names of all notes that begin with this prefix."""
        if (store := self._store) is None:
            return iter([name for name in self._own if name.startswith(prefix)])
        return (raw.decode() for raw in store._internal_kv_list(prefix, namespace=self._space))  # noqa: SLF001

    def get(self, name: str) -> bytes | None:
        """The text of a note; None if there is no such note."""
        if (store := self._store) is None:
            return self._own.get(name)
        found: bytes | None = store._internal_kv_get(name, namespace=self._space)  # noqa: SLF001
        return found

    def put(self, name: str, text: str) -> None:
        """Write a note, replacing one of the same name."""
        if (store := self._store) is None:
            self._own[name] = text.encode()
        else:
            store._internal_kv_put(name, text, overwrite=True, namespace=self._space)  # noqa: SLF001

    def remove(self, name: str) -> None:
        """Remove a note, if it exists."""
        if (store := self._store) is None:
            self._own.pop(name, None)
        else:
            store._internal_kv_del(name, namespace=self._space)  # noqa: SLF001


PLAIN = "DISTFD_PLAIN_RAY"
"""Environment variable: if it is set, no part of Ray is replaced while Ray starts."""


@contextlib.contextmanager
def quick_start(*, log_monitor: bool) -> Iterator[None]:
    """While this process starts a private cluster: leave out servers that nobody uses, and Ray's wait of a second.

    Ray starts its API server even where there is no dashboard, and a monitor of an autoscaler that is not there; each
    imports Ray anew. So do the node's two agents, for which it waits: they have stand-ins (`agent_stand_in`). After the
    raylet has begun it waits for a whole second between two looks for it. Where Ray does not have these parts by these
    names and with these parameters, or `PLAIN` is set, it starts as it comes.

    Parameters
    ----------
    log_monitor : bool
        Whether what workers print is to be brought here.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(Exception):
            for owner, name, instead in [] if os.environ.get(PLAIN) else _quick_parts(log_monitor=log_monitor):
                stack.callback(setattr, owner, name, getattr(owner, name))
                setattr(owner, name, instead)
        yield


def _quick_parts(*, log_monitor: bool) -> list[tuple[Any, str, Callable[..., Any]]]:
    """(Owner, name, replacement) for each part of Ray that is replaced; all of them or none."""
    node: Any = importlib.import_module("ray._private.node").Node
    services: Any = importlib.import_module("ray._private.services")
    client: Any = importlib.import_module("ray._raylet").GcsClient
    constants: Any = importlib.import_module("ray._private.ray_constants")
    look = services.get_node

    def no_api_server(self: Any, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
        del include_dashboard, raise_on_failure
        self._webui_url = None
        # An agent would look for this address once a second, and write a traceback each time; it has nothing to send.
        place = constants.DASHBOARD_ADDRESS.encode(), b"127.0.0.1:9", True, constants.KV_NAMESPACE_DASHBOARD
        self.get_gcs_client().internal_kv_put(*place)

    def nothing(self: Any) -> None:
        del self

    def seen_soon(gcs_address: str, node_id: str) -> Any:
        with contextlib.suppress(Exception):
            gcs, end = client(address=gcs_address), time.monotonic() + _START
            while time.monotonic() < end and not any(
                known.hex() == node_id for known in gcs.get_all_node_info(timeout=_START)
            ):
                time.sleep(0.01)
        return look(gcs_address, node_id)

    parts: list[tuple[Any, str, Callable[..., Any]]] = [
        (node, "start_api_server", no_api_server),
        (node, "start_monitor", nothing),
        (services, "get_node", seen_soon),
    ]
    if not log_monitor:
        parts.append((node, "start_log_monitor", nothing))
    parts += _agents(services, constants)
    for owner, name, instead in parts:
        if list(inspect.signature(getattr(owner, name)).parameters) != list(inspect.signature(instead).parameters):
            return []
    return parts


def _agents(services: Any, constants: Any) -> list[tuple[Any, str, Callable[..., Any]]]:
    """The part that has a stand-in started for each of a node's two agents; none where Ray has them otherwise."""
    raylet: Any = importlib.import_module("ray._raylet")
    name, node = "_build_python_executable_command_memory_profileable", "f" * 56
    names = ("METRICS_AGENT", "METRICS_EXPORT", "DASHBOARD_AGENT_LISTEN", "RUNTIME_ENV_AGENT")
    try:
        kinds = {constants.PROCESS_TYPE_DASHBOARD_AGENT: "none", constants.PROCESS_TYPE_RUNTIME_ENV_AGENT: "lazy"}
        built = getattr(services, name)
        files = [raylet.get_port_filename(node, getattr(raylet, f"{each}_PORT_NAME")) for each in names]
    except AttributeError:
        return []
    if files != [f"{each}_{node}" for each in (*agent_stand_in.NO_PORTS, agent_stand_in.LAZY_PORT)]:
        return []

    def build(component: str, session_dir: str, unbuffered: bool = True) -> list[str]:
        command: list[str] = built(component, session_dir, unbuffered)
        if component not in kinds:
            return command
        return [sys.executable, "-I", "-S", agent_stand_in.__file__, kinds[component], *command]

    return [(services, name, build)]


_MERGES = "RAY_DEDUP_LOGS"


def show_every_line() -> None:
    """Show each line that workers print at once, unless RAY_DEDUP_LOGS in the environment says otherwise.

    Ray merges lines that differ in numbers alone when several workers print them, and holds them back for 5 s. It
    reads its variable when it is imported, which may have been before distfd was; and it is not for other programs
    that this process starts, so that it is not set here.
    """
    if _MERGES in os.environ or os.environ.get(PLAIN):
        return
    with contextlib.suppress(Exception):
        module: Any = importlib.import_module("ray._private.ray_logging")
        if hasattr(module, _MERGES):
            setattr(module, _MERGES, False)


_START = 30.0
"""Seconds that a raylet may take to start: Ray's own limit."""


def leave_ray_to_the_parent() -> None:
    """In a forked child: keep Ray from its clean-up when this process ends, which only the parent may do."""
    with contextlib.suppress(Exception):
        worker: Any = sys.modules["ray._private.worker"]
        atexit.unregister(worker.shutdown)  # it would wait for threads that are not there
        if worker._global_node is not None:  # noqa: SLF001  # nothing public knows the servers
            worker._global_node.all_processes = {}  # noqa: SLF001  # it would end the parent's cluster
        if sys.excepthook is worker.custom_excepthook:
            sys.excepthook = sys.__excepthook__  # it would tell the head of the error, and wait for an answer
        state: Any = sys.modules["ray._private.state"]
        for owner, name in (
            (state.state, "_global_state_accessor"),
            (worker.global_worker, "core_worker"),
            (worker.global_worker, "_gcs_client"),
        ):
            # To free them waits for threads that the parent alone has, or ends with SIGSEGV.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(getattr(owner, name, None)))
        # So does what C++ does after Python's end: leave before it, by glibc's handler that is given the exit code.
        libc = ctypes.CDLL(None)
        libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)  # noqa: SLF001  # the C library's name


def leave_children_to_the_reaper() -> None:
    """In a worker: keep Ray from ending J's programs before J itself, which would return a value without them.

    The setting is that of a cluster which others have started, but each worker reads it as it leaves.
    """
    if not Path("/proc").exists():
        return
    with contextlib.suppress(Exception):
        core: Any = importlib.import_module("ray._raylet")
        with Path(core.__file__).open("rb") as file:
            # A setting that Ray does not know ends the process.
            if mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).find(_KEEPS_CHILDREN.encode()) >= 0:
                core.Config.initialize(json.dumps({_KEEPS_CHILDREN: False}))


_OUT_OF_MEMORY = ("OUT_OF_MEMORY", "running low on memory")
_NODE_DIED = "its node has died"
_DISOWNED = "references to the actor were removed"
_STARTING = "creation task"


def tells_no_memory(error: Exception) -> bool:
    """Whether an error of Ray's says that it has ended a worker because memory ran out."""
    from ray import exceptions

    return isinstance(error, exceptions.OutOfMemoryError) or _says(error, *_OUT_OF_MEMORY)


def tells_lost_node(error: Exception) -> bool:
    """Whether it says that a worker was lost with its node; only the error's text tells this from a lost process."""
    from ray import exceptions

    return isinstance(error, exceptions.ActorUnavailableError) or _says(error, _NODE_DIED)


def tells_disowned(error: Exception) -> bool:
    """Whether it says that the head ended the workers because it believed that the driver had released them."""
    return _says(error, _DISOWNED)


def tells_left(error: SystemExit) -> bool:
    """Whether Ray has ended a call because another thread of this process left the cluster meanwhile."""
    return hasattr(error, "ray_terminate_msg")


def tells_failed_start(error: Exception) -> bool:
    """Whether it says that a worker could not be made."""
    return _says(error, _STARTING)


def _says(error: Exception, *words: str) -> bool:
    text = " ".join(str(error).split())
    return any(each in text for each in words)
