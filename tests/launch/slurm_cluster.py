"""A Slurm of one machine: munge, controller and node, as processes of the test."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
# Without cgroups, which containers lack; a job that is queued again waits for credentials to run out, else 2 minutes.
_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ReturnToService=2
KillWait=5
MpiDefault=none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> list[str]:
    """The programs that are not installed; some are where only root has its path."""
    return [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]


def _path() -> str:
    return f"{os.environ['PATH']}:/usr/sbin:/sbin"


@contextlib.contextmanager
def slurm() -> Iterator[dict[str, str]]:
    """The environment in which Slurm's programs speak to it; it ends with the block.

    Raises
    ------
    RuntimeError
        If it does not come up.
    """
    import getpass

    # The socket's path must be short, and its folder one that others may enter.
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        for inside in ("state", "spool"):
            (folder / inside).mkdir()
        host = socket.gethostname().partition(".")[0]
        conf = _CONF.format(host=host, ports=_free_ports(), folder=folder, user=getpass.getuser(), cpus=os.cpu_count())
        (folder / "slurm.conf").write_text(conf)
        env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": _path()}
        (folder / "key").write_bytes(os.urandom(1024))
        (folder / "key").chmod(0o600)
        files = {"key-file": "key", "socket": "munge.sock", "pid-file": "munge.pid", "log-file": "munge.log"}
        files["seed-file"] = "munge.seed"
        munge = ["munged", "-F", "--force", *(f"--{key}={folder / file}" for key, file in files.items())]
        stack.enter_context(_process(munge, folder, env))
        _await(lambda: (folder / "munge.sock").exists(), "munge", folder)
        stack.enter_context(_process(["slurmctld", "-D", "-c"], folder, env))
        stack.enter_context(_process(["slurmd", "-D"], folder, env))
        _await(lambda: "idle" in _answer(["sinfo", "-h", "-o", "%T"], env), "the node", folder)
        yield env
        subprocess.run(["scancel", "--me"], env=env, check=False)
        _await(lambda: not _answer(["squeue", "-h"], env).strip(), "the queue's end", folder)


@contextlib.contextmanager
def _process(command: list[str], folder: Path, env: dict[str, str]) -> Iterator[None]:
    with (folder / "out").open("ab") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answer(command: list[str], env: dict[str, str]) -> str:
    return subprocess.run(command, env=env, check=False, capture_output=True, text=True).stdout


def _await(there: object, what: str, folder: Path, seconds: float = 60) -> None:
    assert callable(there)
    end = time.monotonic() + seconds
    while not there():
        if time.monotonic() > end:
            logs = "\n".join(path.read_text(errors="replace")[-500:] for path in folder.glob("*.log"))
            raise RuntimeError(f"Slurm on this machine: {what} did not come within {seconds:.0f} s: {logs}")
        time.sleep(0.1)


def _free_ports() -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
