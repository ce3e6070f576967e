"""Hosts on one machine: network namespaces behind a switch, each with a name, temporary files and disks of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[2]
PORT = 6379
PATIENCE = 120.0
HEALTH = {  # as docs of Ray have them: a node that does not answer is lost within some 30 s
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}


class Hosts:
    """Three hosts a, b and c; a is the head of a Ray cluster.

    Parameters
    ----------
    hidden : Path
        A folder that only a sees: on the others it is empty.
    """

    def __init__(self, hidden: Path) -> None:
        self.hidden = hidden
        self.tag = f"df{os.getpid()}"
        # Ray's sockets must have short names.
        self.scratch = Path(tempfile.mkdtemp(prefix="df", dir="/tmp"))
        self.processes: list[subprocess.Popen[Any]] = []
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "SLURM_"))},
            **HEALTH,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "PYTHONPATH": str(ROOT),
        }

    @property
    def address(self) -> str:
        return f"{self.ip('a')}:{PORT}"

    def ip(self, host: str) -> str:
        return f"10.77.0.{1 + 'abc'.index(host)}"

    def space(self, host: str) -> str:
        return f"{self.tag}{host}"

    def wire(self) -> None:
        """Make the namespaces; skip, loudly, where that is not allowed."""
        if os.getuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
            pytest.skip("NOT tested: several hosts (needs root, iproute2 and util-linux)")
        switch = self.space("s")
        made = _ip("netns", "add", switch, check=False)
        if made.returncode:
            pytest.skip(f"NOT tested: several hosts (network namespaces are not permitted: {made.stderr.strip()})")
        _ip("-n", switch, "link", "add", "bridge0", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge0", "up")
        for host in "abc":
            space = self.space(host)
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("-n", space, "link", "add", "eth0", "type", "veth", "peer", "name", f"to-{host}", "netns", switch)
            _ip("-n", switch, "link", "set", f"to-{host}", "master", "bridge0", "up")
            _ip("-n", space, "addr", "add", f"{self.ip(host)}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")

    def on(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program on a host."""
        own = self.scratch / host
        own.mkdir(exist_ok=True)
        hide = "" if host == "a" else f"mount -t tmpfs none '{self.hidden}' && "
        script = f'hostname host-{host} && {hide}exec "$@"'
        full = ["ip", "netns", "exec", self.space(host), "unshare", "-mu", "sh", "-c", script, "sh", *argv]
        environ = {**self.environ, "TMPDIR": str(own), **options.pop("env", {})}
        started = subprocess.Popen(full, env=environ, start_new_session=True, **options)
        self.processes.append(started)
        return started

    def start_ray(self, cpus: int) -> None:
        """Start Ray's servers on all of them."""
        for host in "abc":
            where = ["--head", f"--port={PORT}", "--include-dashboard=false"]
            if host != "a":
                self._await_port()
                where = [f"--address={self.address}"]
            argv = [str(Path(sys.executable).parent / "ray"), "start", "--block", *where]
            argv += [f"--node-ip-address={self.ip(host)}", f"--num-cpus={cpus}", "--object-store-memory=100000000"]
            argv += [f"--temp-dir={self.scratch / host / 'ray'}", "--disable-usage-stats"]
            with (self.scratch / f"{host}.log").open("w") as log:
                self.on(host, argv, stdout=log, stderr=subprocess.STDOUT)

    def run(self, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
        """Have a program run on a, to its end."""
        begun = self.on("a", argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        out, err = begun.communicate(timeout=2 * PATIENCE)
        return subprocess.CompletedProcess(begun.args, begun.returncode, out, err)

    def await_cpus(self, count: int) -> None:
        """Until the cluster has so many."""
        program = (
            "import ray, sys, time\n"
            f"ray.init('{self.address}', logging_level='ERROR', log_to_driver=False)\n"
            f"while ray.cluster_resources().get('CPU', 0) < {count}: time.sleep(0.2)\n"
        )
        ran = self.run([sys.executable, "-c", program])
        assert ran.returncode == 0, ran.stderr + "".join(p.read_text() for p in self.scratch.glob("*.log"))

    def cut_off(self, host: str) -> None:
        """Pull the cable: nothing is closed, and nothing answers."""
        _ip("-n", self.space("s"), "link", "set", f"to-{host}", "down")

    def kill(self, host: str) -> None:
        """As if its power had gone."""
        for pid in _ip("netns", "pids", self.space(host)).stdout.split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def close(self) -> None:
        """End all that was started, and take the hosts away."""
        for host in "abcs":
            if _ip("netns", "pids", self.space(host), check=False).returncode == 0:
                while _ip("netns", "pids", self.space(host)).stdout.split():
                    self.kill(host)
                    time.sleep(0.1)
                _ip("netns", "del", self.space(host))
        for process in self.processes:
            process.wait(10)
            for stream in (process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def _await_port(self) -> None:
        end = time.monotonic() + PATIENCE
        program = f"import socket; socket.create_connection(('{self.ip('a')}', {PORT}), 2)"
        while self.on("a", [sys.executable, "-c", program], stderr=subprocess.DEVNULL).wait(20):
            assert time.monotonic() < end, (self.scratch / "a.log").read_text()
            time.sleep(0.5)


@contextlib.contextmanager
def three_hosts(hidden: Path, cpus: int) -> Iterator[Hosts]:
    """Three hosts with a Ray cluster of so many CPUs each."""
    hosts = Hosts(hidden)
    try:
        hosts.wire()
        hosts.start_ray(cpus)
        hosts.await_cpus(3 * cpus)
        yield hosts
    finally:
        hosts.close()


def _ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=check)
