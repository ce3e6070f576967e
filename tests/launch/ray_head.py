"""A Ray cluster with a job server, as a process of the test, that no other program of this machine takes for its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def ray_head(home: Path, *, path: str, num_cpus: int = 2) -> Iterator[str]:
    """The address of the job server; the cluster ends with the block.

    Parameters
    ----------
    home : Path
        The home directory of its jobs.
    path : str
        Their PYTHONPATH.
    """
    # Its own temporary directory, of a short path: sockets are in it, and the note that "auto" reads.
    folder = tempfile.mkdtemp(prefix="rj", dir="/tmp")
    binaries = Path(sys.executable).parent
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"HOME": str(home), "PYTHONPATH": path, "RAY_TMPDIR": folder, "RAY_USAGE_STATS_ENABLED": "0"}
    env |= {"PATH": f"{binaries}:{os.environ['PATH']}", "RAY_worker_niceness": "0"}
    gcs, dashboard, agent, client = _free_ports(4)
    command = [str(binaries / "ray"), "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={gcs}"]
    command += [f"--num-cpus={num_cpus}", "--include-dashboard=true", f"--dashboard-port={dashboard}"]
    command += [f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}", f"--temp-dir={folder}"]
    with (Path(folder) / "out").open("wb") as out:
        head = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=home)
    address = f"http://127.0.0.1:{dashboard}"
    try:
        end = time.monotonic() + 120
        while not _answers(f"{address}/api/jobs/"):
            assert head.poll() is None, (Path(folder) / "out").read_text()
            assert time.monotonic() < end, "the job server does not answer"
            time.sleep(0.2)
        yield address
    finally:
        # In good order it takes half a minute. These are the children of this test's own process.
        for process in [*psutil.Process(head.pid).children(recursive=True), psutil.Process(head.pid)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        head.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


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
