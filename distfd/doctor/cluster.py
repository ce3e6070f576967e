"""Ray: which cluster a run would use, whether it answers, and who may enter."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from distfd.doctor.finding import Finding
from distfd.executors.ray.access_token import private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SOCKET_PATH = 107
"""Bytes of a Unix socket's path."""
_LONGEST_BELOW = 63
"""Bytes that Ray puts below its folder: session_2026-11-23_03-13-48_469577_2825/sockets/plasma_store, and more."""
_PROBE_SECONDS = 3.0


def cluster_findings(
    address: str | None, environ: Mapping[str, str], home: Path, keep_idle: float = 30.0
) -> Iterator[Finding]:
    """Where evaluations would run.

    Parameters
    ----------
    address : str or None
        ``cluster.address`` of the configuration.
    environ : mapping
        The environment.
    home : Path
        The user's, where Ray keeps its token.
    keep_idle : float
        Seconds for which workers stay: ``cluster.keep_idle`` of the configuration.
    """
    running = running_clusters()
    yield _which(address or environ.get("RAY_ADDRESS") or "local", running, by=_who_says(address, environ))
    yield _token(home / ".ray" / "auth_token", environ)
    yield _ports()
    yield stay_finding(list(worker_memory().values()), keep_idle)
    yield _sockets(_ray_folder(environ))


def _ray_folder(environ: Mapping[str, str]) -> Path:
    """Where a private cluster's session is."""
    if environ.get("RAY_TMPDIR"):
        return Path(environ["RAY_TMPDIR"], "ray")
    return Path(private_folder() or Path(tempfile.gettempdir(), "ray"))


def running_clusters() -> list[str]:
    """Addresses of the clusters whose head runs on this machine, by the command lines of their processes."""
    import psutil

    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = [word for word in process.info["cmdline"] or () if word.startswith("--") and "=" in word]
        options = dict(word.removeprefix("--").split("=", 1) for word in words)
        if process.info["name"] == "gcs_server" and "node-ip-address" in options:
            port = options.get("gcs_server_port", "0")
            found.append(f"{options['node-ip-address']}:{port}" if port != "0" else f"{options['node-ip-address']}")
    return sorted(set(found))


def worker_memory() -> dict[int, int]:
    """Bytes of resident memory of this user's workers on this machine, by process id: Ray names them so."""
    import psutil

    found = {}
    for process in psutil.process_iter(["cmdline", "uids", "memory_info"]):
        title, memory = "".join((process.info["cmdline"] or ())[:1]), process.info["memory_info"]
        if title.startswith("ray::RayWorker") and process.info["uids"].real == os.getuid() and memory is not None:
            found[process.pid] = memory.rss
    return found


def stay_finding(memory: list[int], keep_idle: float) -> Finding:
    """What stays between two calls, and what of it is there now.

    Parameters
    ----------
    memory : list of int
        Bytes of each worker on this machine.
    keep_idle : float
        Seconds for which workers stay.
    """
    held = f", which hold {sum(memory) / 2**20:.0f} MiB" if memory else ""
    now = f"{len(memory)} of yours on this machine now{held}, at work or idle"
    if not keep_idle:
        rule = "none stays after a call (keep_idle: 0)"
    else:
        rule = f"in Python a function's workers stay {keep_idle:g} s for the next call (keep_idle)"
    ends = "distfd.shutdown() or the end of the process ends them and the private cluster; a command leaves none"
    return Finding("workers", f"{now}; {rule}; {ends}")


def _who_says(address: str | None, environ: Mapping[str, str]) -> str:
    if address:
        return "cluster.address"
    return "RAY_ADDRESS" if environ.get("RAY_ADDRESS") else "no address is given"


def _which(target: str, running: list[str], *, by: str) -> Finding:
    others = f"; running on this machine: {len(running)}" if running else ""
    if target in ("serial", "local"):
        none = "none: evaluations run one after the other, without Ray"
        private = "a private one is started and ended by each run"
        return Finding("cluster", f"{none} ({by})" if target == "serial" else f"{private} ({by}){others}")
    if target == "auto":
        if not running:
            remedy = "ray start --head, or leave the address out for a private cluster"
            return Finding("cluster", f"none runs on this machine to be joined ({by}: auto)", "error", remedy, 4)
        return Finding("cluster", f"joins the one that was started last on this machine ({by}: auto){others}")
    host, _, port = target.removeprefix("ray://").rpartition(":")
    remedy = "start it (ray start --head --port=...), correct the address, or leave it out for a private cluster"
    if not host or not port.isdigit():
        return Finding("cluster", f"{by} {target!r} is no host:port", "error", remedy, 2 if by != "RAY_ADDRESS" else 4)
    try:
        socket.create_connection((host, int(port)), timeout=_PROBE_SECONDS).close()
    except (OSError, OverflowError) as error:
        return Finding("cluster", f"{by} {target}: nothing answers ({error})", "error", remedy, 4)
    return Finding("cluster", f"{target} answers ({by})")


def _token(path: Path, environ: Mapping[str, str]) -> Finding:
    if environ.get("RAY_AUTH_MODE") == "disabled":
        remedy = "unset RAY_AUTH_MODE: Ray listens on all interfaces, and who reaches it runs code as you"
        return Finding("token", "RAY_AUTH_MODE=disabled: clusters are open to the network", "warning", remedy)
    if environ.get("RAY_AUTH_TOKEN") or environ.get("RAY_AUTH_TOKEN_PATH"):
        return Finding("token", "given by the environment")
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return Finding("token", f"none yet; Ray makes {path} when the first private cluster starts")
    if mode & 0o077:
        text = f"{path} can be read by others (mode {mode:04o}), and who has it runs code as you"
        return Finding("token", text, "warning", f"chmod 600 {path}")
    return Finding("token", f"{path}, for its owner alone")


def _ports() -> Finding:
    name = socket.gethostname()
    try:
        with contextlib.closing(socket.socket()) as one:
            one.bind(("127.0.0.1", 0))
            one.listen()
            socket.create_connection(one.getsockname(), timeout=_PROBE_SECONDS).close()
    except OSError as error:
        remedy = "allow connections on the loopback interface (a sandbox or firewall forbids them)"
        return Finding("ports", f"this machine cannot connect to itself: {error}", "error", remedy, 4)
    try:
        socket.gethostbyname(name)
    except OSError:
        text = f"the host's own name, {name}, leads nowhere; MPI and clusters of several nodes want it"
        return Finding("ports", text, "warning", f"add '127.0.1.1 {name}' to /etc/hosts")
    return Finding("ports", f"this machine can connect to itself; its name is {name}")


def _sockets(folder: Path) -> Finding:
    if len(os.fsencode(folder)) + _LONGEST_BELOW > _SOCKET_PATH:
        text = f"{folder} is too long for Ray's sockets, whose paths end at {_SOCKET_PATH} bytes"
        return Finding("ray folder", text, "error", "export RAY_TMPDIR=/tmp (or another short path)", 4)
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(above, os.W_OK | os.X_OK):
        return Finding("ray folder", f"{above} cannot be written", "error", "export RAY_TMPDIR=/a/folder/of/yours", 4)
    import psutil

    usage = psutil.disk_usage(str(above))
    text = f"{folder}, {usage.free / 2**30:.1f} GiB free"
    if usage.percent > 95:
        remedy = f"make room (old sessions in {folder}), or export RAY_TMPDIR: Ray takes no new data beyond 95 %"
        return Finding("ray folder", f"{text}, {usage.percent:.0f} % full", "warning", remedy)
    return Finding("ray folder", text)
