"""A cluster that others started: by Ray's client and by name at once, with folders of the user's, on a wrong port."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ray_head import Head, ray_head

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MODEL = """
import os
def fun(x):
    import beside
    return float(x @ x) + beside.THREE + float(open("five.txt").read()) + float(os.environ["SEVEN"])
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    if importlib.util.find_spec("aiohttp") is None:
        message = "NOT tested: ray[default] is missing; pip install 'distfd[cluster]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    with ray_head(tmp_path_factory.mktemp("home"), path=str(ROOT), num_cpus=4) as found:
        yield found


def begin(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-m", "distfd", "run", *arguments]
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(run: subprocess.Popen[str], code: int) -> str:
    with run:
        told, _ = run.communicate(timeout=300)
    assert run.returncode == code, told
    return told


def result_of(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


@pytest.mark.nightly
def test_by_rays_client_and_by_another_name_at_once(head: Head, tmp_path: Path) -> None:
    """Each takes many waves, for which the cluster that was joined must be known again."""
    quickstart = str(ROOT / "configs" / "quickstart.yaml")
    name = head.gcs.replace("127.0.0.1", "localhost")
    runs = [
        begin(tmp_path, quickstart, f"cluster.address={address}", f"output={output}", "minimize.max_iterations=4")
        for address, output in ((head.client, "outside"), (name, "named"))
    ]
    with runs[0], runs[1]:
        for run in runs:
            end(run, 0)
    outside, named = (result_of(tmp_path / output) for output in ("outside", "named"))
    assert outside["iterations"] == 4
    for key in ("x", "value", "derivative", "iterations", "n_evaluations"):
        assert outside[key] == named[key], key


def test_folders_and_variables_reach_the_workers(head: Head, tmp_path: Path) -> None:
    """Relative to the configuration, which is not where the run is started."""
    (tmp_path / "job" / "data").mkdir(parents=True)
    (tmp_path / "job" / "beside").mkdir()
    (tmp_path / "job" / "beside" / "__init__.py").write_text("THREE = 3.0\n")
    (tmp_path / "job" / "data" / "five.txt").write_text("5.0\n")
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "job" / "job.yaml").write_text(
        "objective: {python: 'model:fun'}\nx0: [1, 2]\noutput: out\ncluster:\n"
        "  runtime_env: {env_vars: {SEVEN: '7'}, working_dir: data, py_modules: [beside]}\n"
    )
    end(begin(tmp_path, "job/job.yaml", f"cluster.address={head.gcs}"), 0)
    result = result_of(tmp_path / "out")
    assert result["value"] == 20.0
    assert result["derivative"] == pytest.approx([2.0, 4.0], abs=1e-6)


def test_the_dashboards_port_is_no_head(head: Head, tmp_path: Path) -> None:
    address = head.jobs.removeprefix("http://")
    told = end(begin(tmp_path, str(ROOT / "configs" / "quickstart.yaml"), f"cluster.address={address}"), 4)
    assert "is not Ray's head; its port is 6379 by default" in told


def test_an_environment_that_cannot_be_had_is_told_at_once(head: Head, tmp_path: Path) -> None:
    env = "cluster.runtime_env={working_dir: 'gcs://_ray_pkg_0123456789abcdef.zip'}"
    quickstart = str(ROOT / "configs" / "quickstart.yaml")
    told = end(begin(tmp_path, quickstart, f"cluster.address={head.gcs}", env), 4)
    assert "cluster.runtime_env: Ray could not make it on a node: OSError: Failed to download" in told
