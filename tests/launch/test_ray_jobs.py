"""Jobs of a real Ray cluster: submitted, followed, killed, resumed, brought back."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from ray_head import ray_head
from waiting import await_that

from distfd.config.load import load_config
from distfd.launch.submission import Submission

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
MODEL = """
import os, time
from pathlib import Path
FOLDER = Path(os.environ["HOME"])

def square(x):
    # After five values there are no more until the file "go" is there.
    done = FOLDER / "done"
    while done.exists() and len(done.read_text().splitlines()) >= 5 and not (FOLDER / "go").exists():
        time.sleep(0.1)
    time.sleep(0.25)  # so long that each is handed back by itself
    value = float(x @ x)
    with done.open("a") as file:
        file.write(f"{x.tolist()}\\n")
    return value
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    if importlib.util.find_spec("aiohttp") is None:
        message = "NOT tested: ray[default] is missing; pip install 'distfd[cluster]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with ray_head(home, path=str(ROOT)) as found:
        yield found.jobs


def distfd(*args: str, cwd: Path) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # The job server's address is given, and wins over what the environment says.
    env |= {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": "127.0.0.1:1"}
    command = [sys.executable, "-m", "distfd", *args]
    return subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.slow
def test_the_quickstart_comes_back_whole(address: str, tmp_path: Path) -> None:
    config = str(ROOT / "configs" / "quickstart.yaml")
    job = distfd("submit", config, "--to", address, f"output={tmp_path / 'run'}", cwd=tmp_path)
    told, _ = job.communicate(timeout=300)
    assert job.returncode == 0, told
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["status"] == "done"
    assert result["value"] == pytest.approx(2.0187, abs=1e-4)
    whole = {"config.yaml", "evaluations.sqlite", "result.json", "derivative.npz", "log.jsonl", "report.html"}
    assert {path.name for path in (tmp_path / "run").iterdir()} >= whole
    assert "minimize of quickstart.yaml" in told
    assert "Uploading package" not in told, "what Ray says of itself"
    # What came back is a run like any other.
    status = distfd("status", str(tmp_path / "run"), cwd=tmp_path)
    assert "done" in status.communicate(timeout=60)[0]


@pytest.mark.slow
def test_a_job_that_was_killed_goes_on_when_it_is_submitted_again(address: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    x0 = [float(k) for k in range(1, 11)]
    (tmp_path / "job.yaml").write_text(
        f"objective: {{python: 'model:square'}}\nx0: {x0}\nderivative: {{check: false}}\noutput: run\n"
    )
    done = home / "done"
    first = distfd("submit", "job.yaml", "--to", address, cwd=tmp_path)
    await_that("five are done", lambda: done.exists() and len(done.read_text().splitlines()) >= 5, 180)
    # A second command finds the job, and submits no other; interrupted, it leaves it alone.
    second = distfd("submit", "job.yaml", "--to", address, "--detach", cwd=tmp_path)
    assert "it runs already" in second.communicate(timeout=60)[0]
    name = Submission(load_config(tmp_path / "job.yaml", [f"output={tmp_path / 'run'}"])).name
    (driver,) = [
        process
        for process in psutil.process_iter(["cmdline"])
        if f"output=~/distfd/{name}" in (process.info["cmdline"] or ())
        and process.info["cmdline"][1:3] == ["-m", "distfd"]
    ]
    driver.send_signal(signal.SIGKILL)
    told, _ = first.communicate(timeout=120)
    assert first.returncode == 137, told
    (home / "go").touch()
    again = distfd("submit", "job.yaml", "--to", address, cwd=tmp_path)
    told, _ = again.communicate(timeout=300)
    assert again.returncode == 0, told
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["derivative"] == pytest.approx([2 * x for x in x0])
    assert result["n_evaluations"] == 11
    assert result["n_reused"] >= 3
    assert "brought back to" in told
    # What a worker had ended, and the driver not yet stored, is computed once more.
    assert len(done.read_text().splitlines()) <= 11 + 2


@pytest.mark.slow
def test_nobody_answers(tmp_path: Path, address: str) -> None:
    (tmp_path / "job.yaml").write_text("objective: {python: 'model:square'}\nx0: [1.0]\noutput: run\n")
    job = distfd("submit", "job.yaml", "--to", "http://127.0.0.1:1", cwd=tmp_path)
    told, _ = job.communicate(timeout=120)
    assert job.returncode == 4
    assert "http://127.0.0.1:1: no job server answers there" in told
