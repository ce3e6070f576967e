"""A Ray cluster with a job server, as a process of the test, that no other program here takes for its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Head:
    """Where a cluster's servers listen."""

    gcs: str
    """host:port, to join it."""
    client: str
    """ray://host:port, to use it from outside."""
    jobs: str
    """http://host:port of the job server."""


@contextlib.contextmanager
def ray_head(home: Path, *, path: str, num_cpus: int = 2, grows: Mapping[str, Any] | None = None) -> Iterator[Head]:
    """A cluster's addresses; it ends with the block.

    Parameters
    ----------
    home : Path
        The home directory of its jobs.
    path : str
        Their PYTHONPATH.
    num_cpus : int
    grows : mapping, optional
        Types of nodes that Ray's autoscaler may start, as processes of this machine; the cluster then has no job
        server.
    """
    # Its own temporary directory, of a short path: sockets are in it, and the note that "auto" reads.
    folder = tempfile.mkdtemp(prefix="rj", dir="/tmp")
    binaries = Path(sys.executable).parent
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"HOME": str(home), "PYTHONPATH": path, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
    env |= {"PATH": f"{binaries}:{os.environ['PATH']}", "RAY_worker_niceness": "0"}
    gcs, dashboard, agent, client = _free_ports(4)
    command = [str(binaries / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}"]
    command += [f"--num-cpus={num_cpus}", f"--dashboard-agent-listen-port={agent}", f"--temp-dir={folder}"]
    command += [f"--ray-client-server-port={client}", f"--include-dashboard={'false' if grows else 'true'}"]
    command += [f"--dashboard-port={dashboard}", "--object-store-memory=100000000"]
    if grows is not None:
        command.append(f"--autoscaling-config={_autoscaler(Path(folder), gcs, num_cpus, grows)}")
        env |= {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
    with (Path(folder) / "out").open("wb") as out:
        head = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=home)
    found = Head(f"127.0.0.1:{gcs}", f"ray://127.0.0.1:{client}", f"http://127.0.0.1:{dashboard}")
    try:
        end = time.monotonic() + 120
        while not (_listens(gcs) and _listens(client) and (grows or _answers(f"{found.jobs}/api/jobs/"))):
            assert head.poll() is None, (Path(folder) / "out").read_text()
            assert time.monotonic() < end, "the cluster does not answer"
            time.sleep(0.2)
        yield found
    finally:
        # In good order it takes half a minute. These are the children of this test's own process.
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by itself
            for process in psutil.Process(head.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        head.kill()
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


def _autoscaler(folder: Path, gcs: int, num_cpus: int, grows: Mapping[str, Any]) -> Path:
    """Settings of an autoscaler whose nodes are processes here."""
    kinds = {
        "ray.head.default": {"resources": {"CPU": num_cpus}, "node_config": {}, "max_workers": 0},
        **{name: {"node_config": {}, "min_workers": 0, **kind} for name, kind in grows.items()},
    }
    settings = {
        "cluster_name": "grows",
        "max_workers": 8,
        "idle_timeout_minutes": 0.1,
        "provider": {
            "type": "fake_multinode",
            "gcs_address": f"127.0.0.1:{gcs}",
            "launch_multiple": True,
            # All of them are one host.
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "available_node_types": kinds,
        "head_node_type": "ray.head.default",
        "auth": {},
        "docker": {},
        "file_mounts": {},
        **{f"{what}_commands": [] for what in ("initialization", "setup", "head_setup", "worker_setup")},
        **{f"{what}_start_ray_commands": [] for what in ("head", "worker")},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "upscaling_speed": 1.0,
    }
    file = folder / "autoscaler.yaml"
    file.write_text(json.dumps(settings))
    return file


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 2):
        return True
    return False


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_ports(n: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
