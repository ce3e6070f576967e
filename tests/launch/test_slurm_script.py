"""The script for Slurm, run by a real shell; programs of Slurm's and Ray's names only pass on what they get."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from distfd.config.load import load_config
from distfd.launch.slurm import SlurmLauncher
from distfd.launch.submission import Submission

if TYPE_CHECKING:
    from pathlib import Path

CONFIG = "objective: {python: 'model:square'}\nx0: [1.0]\noutput: runs/one\n"
TOOLS = {
    "squeue": "cat state",
    "scontrol": 'echo "$@" >>asked',
    # Like Ray's: what it runs is behind --, and how that ended is kept to itself.
    "srun": 'echo "$@" >>asked; while [ "$1" != -- ]; do shift; done; shift; "$@"; exit 0',
}


@pytest.fixture
def allocation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a script of Slurm's finds what it calls."""
    folder = tmp_path / "a b"
    (folder / "bin").mkdir(parents=True)
    (folder / "job.yaml").write_text(CONFIG)
    (folder / "state").write_text("RUNNING\n")
    for name, body in TOOLS.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / "bin" / name).chmod(0o755)
    monkeypatch.chdir(folder)
    return folder


def start(folder: Path, program: str, *overrides: str) -> subprocess.Popen[str]:
    """The script at work, with this Python program in distfd's place."""
    text = SlurmLauncher(Submission(load_config("job.yaml", overrides), overrides)).describe()
    (folder / "fake.py").write_text(program)
    text = text.replace(f"{sys.executable} -m distfd", f"{sys.executable} fake.py")
    (folder / "runs" / "one.slurm").mkdir(parents=True)
    (folder / "job.sh").write_text(text)
    env = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "7",
        "SLURM_CPUS_ON_NODE": "5",
    }
    return subprocess.Popen(["bash", "job.sh"], cwd=folder, env=env, stdout=subprocess.PIPE, text=True)


WAITS = """
import signal, sys
def stop(*_): sys.exit(130)
signal.signal(signal.SIGTERM, stop)
print("waits", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize(("state", "requeued"), [("RUNNING", True), ("COMPLETING", False)])
def test_a_job_whose_time_is_up_is_queued_again_unless_it_was_cancelled(
    allocation: Path, nodes: int, state: str, requeued: bool
) -> None:
    (allocation / "state").write_text(f"{state}\n")
    script = start(allocation, WAITS, f"launch.slurm.nodes={nodes}")
    assert script.stdout is not None
    assert script.stdout.readline() == "waits\n"
    script.send_signal(signal.SIGTERM)
    assert script.wait(60) == 130
    script.stdout.close()
    asked = (allocation / "asked").read_text() if (allocation / "asked").exists() else ""
    assert ("requeue 7\n" in asked) == requeued
    assert (allocation / "runs" / "one.slurm" / "7.exit").read_text() == "130\n"


@pytest.mark.parametrize("nodes", [1, 3])
@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_is_distfds_own(allocation: Path, nodes: int, code: int) -> None:
    script = start(allocation, f"import sys; print(*sys.argv[1:]); sys.exit({code})", f"launch.slurm.nodes={nodes}")
    out, _ = script.communicate(timeout=60)
    assert script.returncode == code
    assert f"run {allocation / 'job.yaml'} output={allocation / 'runs' / 'one'}" in out
    if nodes == 1:
        assert out.endswith("cluster.address=local cluster.num_cpus=5\n")
    else:
        assert out.endswith("cluster.address=auto\n")
        assert "--min-nodes 3 --num-cpus=5 --" in (allocation / "asked").read_text()


def test_a_cluster_that_does_not_come_up_is_no_success(allocation: Path) -> None:
    (allocation / "bin" / "srun").write_text("#!/bin/sh\nexit 0\n")
    script = start(allocation, "", "launch.slurm.nodes=2")
    script.communicate(timeout=60)
    assert script.returncode == 4


def test_options_and_setup_have_their_places(allocation: Path) -> None:
    wanted = ["launch.slurm.options=[--time=8:00:00]", "launch.slurm.setup=['echo here']", "launch.slurm.notice=300"]
    script = start(allocation, "print('there')", *wanted)
    text = (allocation / "job.sh").read_text()
    assert "\n#SBATCH --time=8:00:00\n" in text
    assert "\n#SBATCH --signal=B:TERM@300\n" in text
    assert text.index("#SBATCH --time") < text.index("echo here")
    assert script.communicate(timeout=60)[0] == "here\nthere\n"
