"""Joining a Ray cluster, or starting a private one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distfd.errors import ClusterError, InputError
from distfd.executors.ray_probe import Pulse, probe
from distfd.executors.ray_token import has_token, keep_token_private, private_folder
from distfd.processes import reaped_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PROBE_SECONDS = 5.0
_SILENT_SECONDS = 20.0
_private: set[str] = set()
"""Connections to clusters that were started here."""
_HEALTH = {
    "RAY_health_check_initial_delay_ms": "3000",
    "RAY_health_check_period_ms": "3000",
    "RAY_health_check_timeout_ms": "7000",
    "RAY_health_check_failure_threshold": "4",
}
"""How the head looks after its nodes: every 3 s, and four times in a row without an answer for 7 s is the end."""


@dataclass(frozen=True)
class Resources:
    """What one evaluation needs.

    Parameters
    ----------
    num_cpus, num_gpus : float
    memory : int or None
        Bytes.
    custom : mapping
        Ray's custom resources, such as licences: {name: amount}.
    nodes : int
        Different nodes that the evaluation spans, as MPI programs do; ``num_cpus``, ``num_gpus`` and ``memory`` are
        then those of each, ``custom`` those of the evaluation.
    """

    num_cpus: float = 1
    num_gpus: float = 0
    memory: int | None = None
    custom: Mapping[str, float] = field(default_factory=dict)
    nodes: int = 1

    def __post_init__(self) -> None:
        amounts = {"num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "memory": self.memory or 0, **self.custom}
        for name, amount in amounts.items():
            if amount < 0:
                raise InputError(f"resources: {name} must be >= 0 (was {amount})")
        if isinstance(self.nodes, bool) or int(self.nodes) != self.nodes or self.nodes < 1:
            raise InputError(f"resources: nodes must be a whole number >= 1 (was {self.nodes!r})")
        if self.nodes > 1 and not (self.num_cpus or self.num_gpus or self.memory):
            raise InputError("resources: on each of several nodes an evaluation must hold CPUs, GPUs or memory")

    @property
    def on_each_node(self) -> dict[str, float]:
        """By Ray's names of resources, what it holds on each of its nodes."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory or 0}
        return {name: float(amount) for name, amount in wanted.items() if amount}

    @property
    def needs(self) -> dict[str, float]:
        """By Ray's names of resources, what is not 0."""
        wanted = {"CPU": self.num_cpus, "GPU": self.num_gpus, "memory": self.memory or 0, **self.custom}
        return {name: float(amount) for name, amount in wanted.items() if amount}


def make_resources(given: Mapping[str, Any]) -> Resources:
    """Resources from plain data.

    Raises
    ------
    InputError
        If there is a key that no resource has.
    """
    known = [f.name for f in fields(Resources)]
    for key in given:
        if key not in known:
            raise InputError(f"resources: there is no {key!r}; use {', '.join(known)}")
    return Resources(**given)


def use_token() -> None:
    """Have Ray, before it is imported, use the token that is at hand."""
    if has_token() and "ray" not in sys.modules:
        # Ray has a token at hand but uses it only if told to; without it, a cluster that wants one is not to be joined.
        # It looks once, on import: to tell it later would have its own parts disagree.
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def join(address: str | None, num_cpus: int | None, *, show_output: bool = True) -> None:
    """Have this process connected to Ray.

    A connection that the caller made is used as it is, unless ``address`` asks for a private cluster.

    Parameters
    ----------
    address : str or None
        None: RAY_ADDRESS if set, else a private cluster. "local": a private one. "auto": one that runs on this
        machine. "host:port" or "ray://host:port".
    num_cpus : int or None
        CPUs that a private cluster counts; None for all cores.
    show_output : bool
        Whether what J prints in its workers is printed here too.

    Raises
    ------
    ClusterError
        If the cluster cannot be reached.
    InputError
        If this process is connected to another cluster than the one asked for.
    """
    use_token()
    import ray

    if ray.is_initialized():
        _check_same(address)
        return
    target = address or os.environ.get("RAY_ADDRESS") or "local"
    if target == "local":
        _start_private(num_cpus, show_output=show_output)
        _private.add(connection())
        return
    _probe(target)
    try:
        with _kept_sigterm():
            ray.init(address=target, logging_level=logging.ERROR, log_to_driver=show_output)
    except Exception as error:  # Ray raises many types here
        raise ClusterError(
            f"cluster.address {target!r}: cannot join ({type(error).__name__}: {_first_line(error)}); is Ray running "
            "there, of the same version, and with the same token (RAY_AUTH_MODE)?"
        ) from error


def connection() -> str:
    """What tells this process's connection to Ray from an earlier one: job numbers begin anew in each cluster."""
    import ray

    context = ray.get_runtime_context()
    return f"{context.get_node_id()} {context.get_job_id()}"


def is_private(cluster: str | None) -> bool:
    """Whether a connection is to a cluster that was started here."""
    return cluster in _private


def count_slots(resources: Resources, max_slots: int | None) -> int:
    """How many evaluations the cluster can run at once.

    Raises
    ------
    ClusterError
        If no node could ever run one.
    """
    import ray

    needs = resources.needs
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]  # Ray lacks types
    if not needs:
        return max_slots or max(1, int(sum(node.get("CPU", 0) for node in nodes)))
    if resources.nodes > 1:
        return _groups(resources, nodes, max_slots)
    fitting = [min(int(node.get(name, 0) / amount + 1e-9) for name, amount in needs.items()) for node in nodes]
    total = sum(fitting)
    if total == 0:
        largest = {name: max((node.get(name, 0) for node in nodes), default=0) for name in needs}
        raise ClusterError(
            f"resources: no node can run an evaluation: it needs {_amounts(needs)}, the most that a node has is "
            f"{_amounts(largest)}"
        )
    return min(total, max_slots) if max_slots else total


def _groups(resources: Resources, nodes: list[dict[str, float]], max_slots: int | None) -> int:
    """How many evaluations that span several nodes fit at once.

    s groups of n different nodes fit if each node gives at most one place to each group: if the sum of min(places, s)
    is at least n s.
    """
    each, n = resources.on_each_node, resources.nodes
    places = [min(int(node.get(name, 0) / amount + 1e-9) for name, amount in each.items()) for node in nodes]
    total = max((s for s in range(1, sum(places) // n + 1) if sum(min(p, s) for p in places) >= n * s), default=0)
    for name, amount in resources.custom.items():
        total = min(total, int(sum(node.get(name, 0) for node in nodes) / amount + 1e-9))
    if total == 0:
        raise ClusterError(
            f"resources: an evaluation needs {_amounts(each)} on each of {n} nodes"
            + (f", and {_amounts(resources.custom)}" if resources.custom else "")
            + f"; of the cluster's {len(nodes)} nodes {sum(p > 0 for p in places)} have that"
        )
    return min(total, max_slots) if max_slots else total


def _check_same(address: str | None) -> None:
    """A process has one connection to Ray; another cluster cannot be had beside it."""
    import ray

    here = ray.get_runtime_context().gcs_address
    if address in (None, "auto", here) or (address == "local" and connection() in _private):
        return
    raise InputError(
        f"cluster.address {address!r}: this process is connected to Ray at {here} already; leave address out to use "
        "that, or call ray.shutdown() first"
    )


def _start_private(num_cpus: int | None, *, show_output: bool) -> None:
    import ray

    # A private cluster reports to nobody, and its programs run at the priority of the program that started it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    # A node that hangs is lost within 40 s, not after 65.
    for name, value in _HEALTH.items():
        os.environ.setdefault(name, value)
    # Ray's default of hiding GPUs from workers that asked for none is about to change; take the new one without a word.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    if Path("/proc").exists():
        # distfd's reaper ends what workers start, once they are gone. Ray would do so while J still runs, and a J that
        # does not look how its program ended would then return a value.
        os.environ.setdefault("RAY_kill_child_processes_on_worker_exit", "false")
    keep_token_private()
    try:
        with _kept_sigterm(), reaped_cluster():
            ray.init(
                address="local",
                num_cpus=num_cpus or os.cpu_count(),
                include_dashboard=False,
                logging_level=logging.ERROR,
                log_to_driver=show_output,
                _temp_dir=private_folder(),
            )
    except Exception as error:  # Ray raises many types here
        raise ClusterError(
            f"a private Ray cluster did not start: {type(error).__name__}: {_first_line(error)}"
        ) from error


def _probe(target: str) -> None:
    """Fail at once where nothing listens: Ray itself takes minutes to say so."""
    host, _, port = target.removeprefix("ray://").rpartition(":")
    if target == "auto":
        return
    if not host or not port.isdigit():
        raise InputError(f"cluster.address: must be local, auto, host:port or ray://host:port (was {target!r})")
    try:
        socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        raise ClusterError(f"cluster.address {target!r}: nothing answers there ({error})") from error
    at = (host.strip("[]"), int(port))
    if probe([at], _SILENT_SECONDS)[at] is Pulse.SILENT:
        # The kernel of a head that hangs takes connections, and Ray would wait for ever.
        raise ClusterError(
            f"cluster.address {target!r}: it takes connections and has not answered for {_SILENT_SECONDS:g} s"
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


def _amounts(amounts: Mapping[str, float]) -> str:
    return ", ".join(f"{amount:g} {name}" for name, amount in amounts.items())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
