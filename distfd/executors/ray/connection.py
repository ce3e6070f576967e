"""Joining a Ray cluster, or starting a private one."""

from __future__ import annotations

import contextlib
import copy
import importlib
import logging
import os
import resource
import signal
import socket
import sys
import threading
import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.core.errors import ClusterError, InputError
from distfd.executors.ray.access_token import has_token, keep_token_private, private_folder
from distfd.executors.ray.cluster_health import ServerProbe, probe
from distfd.executors.ray.internals import (
    cluster_address,
    leave_ray_to_the_parent,
    quick_start,
    show_every_line,
    starting_nothing,
    warn_of_what_lacks,
)
from distfd.executors.ray.lasting_thread import in_lasting_thread
from distfd.workers.cores import countable_cores
from distfd.workers.processes import reaped_cluster
from distfd.workers.surroundings import changed_environ

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PROBE_SECONDS = 5.0
_SILENT_SECONDS = 20.0
_private: set[str] = set()
"""Connections to clusters that were started here."""
_joined: dict[str, str] = {}
"""Connections to clusters that were joined here, with the address that the user gave: the cluster itself may report
another."""
_furnished: dict[str, Mapping[str, Any]] = {}
"""The runtime environments with which connections were made."""
_environ: dict[str, dict[str, str]] = {}
"""The environments in which clusters were started here: their workers inherit them."""
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_events_report_interval_ms": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_event_stats": "0",
}
"""Ray's statistics are off in a private cluster, as nobody reads them. The list of tasks took a sixth of Ray's time
beyond the evaluations of a wave, the metrics of 256 workers a tenth of a core, and the counts of events a sixth of the
processor time of idle workers."""
_HEALTH = {
    "RAY_health_check_initial_delay_ms": "3000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "7000",
    "RAY_health_check_failure_threshold": "4",
}
"""How the head checks its nodes: every 3 s, and a node that has not answered within 7 s four times in a row is lost. So
a node that hangs is lost within 40 s; with Ray's defaults it takes 65 s."""
_STARTS = {"RAY_worker_register_timeout_seconds": "600", "RAY_prestart_worker_first_driver": "0"}
"""Settings for many more slots than cores: few workers start at a time. If all start at once, they slow each other down
until Ray, after 60 s, ends those that have not reported and starts others."""
_MANY = 8
"""Slots per core above which these settings are used."""


def use_token() -> None:
    """Have Ray use the access token, if there is one; to be called before Ray is imported."""
    if has_token() and "ray" not in sys.modules:
        # Ray has a token at hand but uses it only if told to; without it, a cluster that wants one is not to be joined.
        # It looks once, on import: to tell it later would have its own parts disagree.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


_pid: int | None = None
"""The process that has connected to Ray by `join`."""


def forked() -> bool:
    """Whether this process was forked from one that had joined Ray: its connection does not survive that."""
    return _pid is not None and _pid != os.getpid()


def _leave_to_the_parent() -> None:
    """Keep a forked child from running Ray's clean-up when it ends: only the parent may do that."""
    if not forked():
        return
    leave_ray_to_the_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_the_parent)


def join(
    address: str | None,
    num_cpus: int | None,
    *,
    runtime_env: Mapping[str, Any] | None = None,
    show_output: bool = True,
) -> None:
    """Have this process connected to Ray.

    A connection that the caller made is used as it is, unless ``address`` asks for a private cluster.

    Parameters
    ----------
    address : str or None
        None: RAY_ADDRESS if set, else a private cluster. "local": a private one. "auto": one that runs on this
        machine. "host:port" or "ray://host:port".
    num_cpus : int or None
        CPUs that a private cluster counts; None for all that this process may use.
    runtime_env : mapping, optional
        Ray's, of all that a connection made here starts.
    show_output : bool
        Whether what J prints in its workers is printed here too.

    Raises
    ------
    ClusterError
        If the cluster cannot be reached.
    InputError
        If this process is connected to another cluster than the one asked for, or Ray can make nothing of the runtime
        environment.
    """
    global _pid  # noqa: PLW0603  # it says whose connection this is
    if forked():
        raise InputError(
            "this process was forked from one that uses Ray, whose connection does not survive a fork; start it by "
            "multiprocessing's spawn or forkserver method, or use executor='serial' here"
        )
    given = copy.deepcopy(dict(runtime_env or {}))  # Ray writes to it
    use_token()
    _load()
    import ray

    _pid = os.getpid()
    warn_of_what_lacks()

    if ray.is_initialized():
        _check_same(address)
        return
    _check_runtime_env(given)
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    asked = f"cluster.address {target!r}" if address else f"RAY_ADDRESS={target}, in the environment"
    if target == "local":
        began = dict(os.environ)
        _start_private(num_cpus, given, show_output=show_output)
        _private.add(connection())
        _environ[connection()] = began
        _furnished[connection()] = dict(runtime_env or {})
        return
    if target == "auto":
        target = cluster_address()
        asked += f", which is {target}" if target != "auto" else ""
    _join_running(target, asked, given, show_output=show_output)
    _furnished[connection()] = dict(runtime_env or {})


def _join_running(target: str, asked: str, runtime_env: dict[str, Any], *, show_output: bool) -> None:
    """Connect to a cluster that runs; ``asked`` says in messages who named it."""
    _probe(target, asked)
    try:
        with _kept_sigterm():
            try:
                _connect(target, runtime_env, show_output=show_output)
            except ConnectionAbortedError:
                # A client's driver gets a server of its own there, which on a busy machine may not be up in time.
                _connect(target, runtime_env, show_output=show_output)
        _joined[connection()] = target
    except Exception as error:  # Ray raises many types here
        raise ClusterError(
            f"{asked}: cannot join ({type(error).__name__}: {_in_one_line(error)}); is Ray running there, of the same "
            "version, and with the same token (RAY_AUTH_MODE)?"
        ) from error


def _load() -> None:
    """Import Ray without its remarks on what a notebook lacks for Ray's own displays, none of which distfd shows."""
    if "ray" in sys.modules:
        return
    log = logging.getLogger("ray.widgets.util")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")  # tqdm's, which Ray imports
            importlib.import_module("ray")
    finally:
        log.setLevel(level)


def _connect(target: str, runtime_env: dict[str, Any], *, show_output: bool) -> None:
    import ray

    env = copy.deepcopy(runtime_env) or None  # Ray writes to it
    ray.init(address=target, logging_level=logging.ERROR, log_to_driver=show_output, runtime_env=env)


def connection() -> str:
    """A unique name of this process's connection to Ray, empty if it has none.

    Job numbers alone are equal in different clusters.
    """
    import ray

    if not ray.is_initialized():
        return ""
    try:
        with starting_nothing():
            context = ray.get_runtime_context()
            return f"{context.get_node_id()} {context.get_job_id()}"
    except Exception:
        if ray.is_initialized():
            raise
        return ""  # another thread has called ray.shutdown()


def is_private(cluster: str | None) -> bool:
    """Whether a connection is to a cluster that was started here."""
    return cluster in _private


def made_here(cluster: str) -> bool:
    """Whether distfd made a connection, and not the caller."""
    return cluster in _private or cluster in _joined


def changed_since_start() -> dict[str, str | None]:
    """Variables that follow the driver and were changed since the cluster was started here; None for those removed."""
    began = _environ.get(connection())
    return {} if began is None else changed_environ(began)


def worker_environment(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a runtime environment that each worker must be given, as the connection does not have it.

    Raises
    ------
    InputError
        If there are folders in it, which Ray sends nowhere once it is connected.
    """
    if _furnished.get(connection()) == wanted:
        return {}
    folders = [key for key in ("working_dir", "py_modules") if key in wanted]
    if folders:
        raise InputError(
            f"runtime_env.{folders[0]}: this process is connected to Ray already, without it; give it to your own "
            "ray.init, or call ray.shutdown() first"
        )
    return wanted


def _check_same(address: str | None) -> None:
    """Refuse an address other than that of the current connection: a process has only one connection to Ray."""
    import ray

    here, by = ray.get_runtime_context().gcs_address, connection()
    if address in (None, "auto", here, _joined.get(by)) or (address == "local" and by in _private):
        return
    raise InputError(
        f"cluster.address {address!r}: this process is connected to Ray at {here} already; leave address out to use "
        "that, or call ray.shutdown() first"
    )


def _start_private(num_cpus: int | None, runtime_env: Mapping[str, Any], *, show_output: bool) -> None:
    import ray

    # Its programs run at the priority of the program that started it.
    os.environ.setdefault("RAY_worker_niceness", "0")
    for name, value in (_QUIET | _HEALTH).items():
        os.environ.setdefault(name, value)
    cores = countable_cores()
    if num_cpus is not None and num_cpus > _MANY * cores:
        for name, value in {**_STARTS, "RAY_worker_maximum_startup_concurrency": str(2 * cores)}.items():
            os.environ.setdefault(name, value)
    # Ray is about to change its default of hiding GPUs from workers that asked for none, and warns; the new default is
    # taken, so that it does not warn.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if Path("/proc").exists():
        # distfd's reaper ends what workers start, once they are gone. Ray would do so while J still runs, and a J that
        # does not look how its program ended would then return a value.
        os.environ.setdefault("RAY_kill_child_processes_on_worker_exit", "false")
    if show_output:
        show_every_line()
    keep_token_private()
    _check_working_directory()
    temporary = private_folder()
    start = partial(
        ray.init,
        address="local",
        num_cpus=num_cpus or countable_cores(),
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=show_output,
        runtime_env=runtime_env or None,
        _temp_dir=temporary,
    )
    try:
        with _kept_sigterm(), _forks_untold(), reaped_cluster(), quick_start(log_monitor=show_output):
            in_lasting_thread(start)
    except Exception as error:  # Ray raises many types here
        raise ClusterError(
            f"a private Ray cluster did not start: {type(error).__name__}: {_in_one_line(error)}{_limits()}; its logs "
            f"are in {_logs(temporary)}"
        ) from error


def _check_working_directory() -> None:
    """Refuse a working directory that has been removed: Ray's servers start in it."""
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise InputError("the working directory has been removed: change to one that is there") from error


def _limits() -> str:
    """The limits of this shell that Ray's servers often reach, as text for a message."""
    found = []
    for limit, what in ((resource.RLIMIT_AS, "ulimit -v"), (resource.RLIMIT_NPROC, "ulimit -u")):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            found.append(f"{what} is {most // 1024 if limit == resource.RLIMIT_AS else most}")
    if not found:
        return ""
    return f" ({' and '.join(found)}: Ray's servers may need more address space or threads than that)"


def _logs(temporary: str | None) -> Path:
    """The folder of log files of Ray's latest session."""
    return Path(temporary or os.environ.get("RAY_TMPDIR") or Path("/tmp/ray"), "session_latest", "logs")  # noqa: S108  # Ray's


def _check_runtime_env(given: dict[str, Any]) -> None:
    """Have Ray check a runtime environment, without setting it up."""
    from ray.runtime_env import RuntimeEnv

    try:
        RuntimeEnv(**copy.deepcopy(given))
    except (TypeError, ValueError) as error:
        raise InputError(f"cluster.runtime_env: {_first_line(error)}") from error


def _probe(target: str, asked: str) -> None:
    """Fail at once if nothing listens, as Ray itself takes minutes; ``asked`` says where the user gave the address."""
    host, _, port = target.removeprefix("ray://").rpartition(":")
    if target == "auto":
        return
    if not host or not port.isdigit():
        raise InputError(f"{asked}: must be local, auto, host:port or ray://host:port")
    try:
        socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        remedy = "correct the address, or start a cluster there (ray start --head); local takes this machine instead"
        raise ClusterError(f"{asked}: nothing answers there ({error}); {remedy}") from error
    at = (host.strip("[]"), int(port))
    pulse = probe([at], _SILENT_SECONDS)[at]
    if pulse is ServerProbe.REFUSED:
        raise ClusterError(
            f"{asked}: what listens there is not Ray's head; its port is 6379 by default (ray start --port), "
            "or 10001 with ray://; the dashboard's port, 8265, is for distfd submit only"
        )
    if pulse is ServerProbe.SILENT:
        # The kernel of a head that hangs takes connections, and Ray would wait for ever.
        raise ClusterError(
            f"{asked}: it takes connections but has not answered for {_SILENT_SECONDS:g} s; "
            "is Ray's head overloaded or stopped?"
        )


@contextlib.contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Keep the caller's own SIGTERM handler: ray.init replaces it."""
    before: Any = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as stop:
        if stop.code == signal.SIGTERM and callable(before):
            before(signal.SIGTERM, None)  # it came while Ray's handler was in place
        raise
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _forks_untold() -> Iterator[None]:
    """Suppress JAX's warning that a fork may deadlock: Ray forks only to start its servers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
        yield


_LONGEST = 800
"""Characters of a Ray error that a message repeats: many, as the line that matters is not always the first."""


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
