"""A real Slurm on this machine: submit, its notice that time is up, the queue again, and the rest of the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from slurm_cluster import missing, slurm
from waiting import await_that

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
MODEL = """
import time
from pathlib import Path
FOLDER = Path(__file__).parent

def square(x):
    # After ten values there are no more until the file "go" is there.
    done = FOLDER / "done"
    while done.exists() and len(done.read_text().splitlines()) >= 10 and not (FOLDER / "go").exists():
        time.sleep(0.1)
    time.sleep(0.25)  # so long that each is handed back by itself
    value = float(x @ x)
    with done.open("a") as file:
        file.write(f"{x.tolist()}\\n")
    return value
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    if absent := missing():
        message = f"NOT tested: {', '.join(absent)} missing; apt-get install slurmctld slurmd slurm-client munge"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    started = slurm()
    try:
        env = started.__enter__()
    except RuntimeError as error:
        pytest.skip(f"NOT tested: {error}")
    yield {**env, "PYTHONPATH": str(ROOT)}
    started.__exit__(None, None, None)


@pytest.mark.slow
def test_a_job_that_is_told_to_stop_is_queued_again_and_goes_on(cluster: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    x0 = [float(k) for k in range(1, 21)]
    (tmp_path / "job.yaml").write_text(f"objective: {{python: 'model:square'}}\nx0: {x0}\noutput: run\n")
    command = [sys.executable, "-m", "distfd", "submit", "job.yaml", "--to", "slurm"]
    command += ["launch.slurm.options=[--time=10]", "cluster.num_cpus=1"]
    with (tmp_path / "out").open("wb") as out:
        following = subprocess.Popen(command, cwd=tmp_path, env=cluster, stdout=out, stderr=out)

    def slurms(*asked: str) -> str:
        return subprocess.run(asked, env=cluster, check=True, capture_output=True, text=True).stdout

    done = tmp_path / "done"
    await_that("ten are done", lambda: done.exists() and len(done.read_text().splitlines()) >= 10, 180)
    number = slurms("squeue", "-h", "-o", "%i").strip()
    assert "TERM@120" in slurms("scontrol", "write", "batch_script", number, "-")
    # What --signal=B:TERM has Slurm do: the signal goes to the script alone.
    slurms("scancel", "--signal=TERM", "--batch", number)
    await_that("it is queued again", lambda: "Restarts=1" in slurms("scontrol", "show", "job", number))
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["status"], result["exit_code"]) == ("interrupted", 130)
    (tmp_path / "go").touch()
    assert following.wait(180) == 0, (tmp_path / "out").read_text()
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "done"
    assert result["derivative"] == pytest.approx([2 * x for x in x0])
    assert result["n_evaluations"] == 21
    assert result["n_reused"] >= 8
    # What was ended but not yet handed back when the notice came is computed once more.
    assert len(done.read_text().splitlines()) <= 21 + 2
    told = (tmp_path / "out").read_text()
    assert f"submitted: Slurm's job {number}" in told
    assert "done: " in told
