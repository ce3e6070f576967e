"""Every shipped configuration: valid, run by a test, resumable, and clear about what it needs."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import RequireSimulator

ROOT = Path(__file__).parents[2]
NEEDS = {
    "ladder.yaml": "ngspice",
    "bandpass.yaml": "ngspice",
    "arm.yaml": "mujoco",
    "beam.yaml": "calculix-ccx",
    "fin.yaml": "gfortran",
    "pose.yaml": "mujoco",
    "tank_fmu.yaml": "distfd[fmu]",
    "openmdao_beam.yaml": "openmdao",
}
OWN = ("quickstart.yaml", "quickstart_fit.yaml", "tanks.yaml")
"""Need nothing but distfd."""
CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))


def run(*args: str, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "distfd", *args]
    return subprocess.run(
        command, check=False, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, timeout=300
    )


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return found


def test_the_documentation_runs_every_config() -> None:
    readme = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/simulators.md", "docs/examples.md")
    )
    assert set(CONFIGS) == set(re.findall(r"distfd run configs/([\w-]+\.yaml)", readme))


@pytest.mark.nightly
def test_quickstart_on_a_cluster_of_its_own(tmp_path: Path) -> None:
    """As a new user runs it: no cluster is there, so it starts one, and ends it."""
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-m", "distfd", "run", str(ROOT / "configs" / "quickstart.yaml")]
    ran = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    found = result(tmp_path / "runs" / "quickstart")
    assert found["value0"] == pytest.approx(31.04, abs=0.01)
    assert found["value"] == pytest.approx(2.0187, abs=1e-4)
    fitted = np.exp(found["x"])
    np.testing.assert_allclose(fitted, [0.540, 0.0272, 0.796, 0.0237, 34.6, 5.84], rtol=2e-3)
    assert found["names"] == ["log_a", "log_b", "log_c", "log_d", "log_u0", "log_v0"]
    again = subprocess.run(command, check=False, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0
    assert again.stdout == ran.stdout, "the same result, from the directory"


@pytest.mark.slow
def test_the_quickstarts_fit_killed_and_run_again_has_the_same_bits(tmp_path: Path) -> None:
    def command(name: str) -> list[str]:
        config = str(ROOT / "configs" / "quickstart_fit.yaml")
        return [sys.executable, "-m", "distfd", "run", config, f"output={tmp_path / name}", "cluster.address=serial"]

    whole = subprocess.run(command("whole"), check=True, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = [line for line in readme.splitlines() if line.startswith("log_") and "0.1053" in line]
    assert shown, "the README shows the table"
    assert shown[0] in whole.stdout.splitlines()

    process = subprocess.Popen(command("parted"), cwd=tmp_path, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    journal = tmp_path / "parted" / "iterates.jsonl"
    while not journal.exists() or len(journal.read_text().splitlines()) < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "parted" / "result.json").exists()
    again = subprocess.run(command("parted"), check=True, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    first, second = result(tmp_path / "whole"), result(tmp_path / "parted")
    assert second["n_reused"] > 0
    for key in ("x", "value", "residuals", "jacobian", "fit", "iterations"):
        assert second[key] == first[key], key
    assert again.stdout.splitlines()[:8] == whole.stdout.splitlines()[:8]


@pytest.mark.parametrize("name", [name for name in CONFIGS if name not in OWN])
def test_a_missing_simulator_is_exit_2_and_says_what_to_install(name: str, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for module in ("mujoco", "openmdao", "fmpy"):
        text = f"raise ModuleNotFoundError(\"No module named '{module}'\", name='{module}')\n"
        (hidden / f"{module}.py").write_text(text)
    env = {"PATH": str(Path(sys.executable).parent), "PYTHONPATH": f"{hidden}{os.pathsep}{ROOT}"}
    ran = run("run", str(ROOT / "configs" / name), cwd=tmp_path, env=env)
    assert ran.returncode == 2
    assert "install" in ran.stderr
    assert NEEDS[name] in ran.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.nightly
def test_ladder_killed_in_the_middle_and_run_again(
    tmp_path: Path, ray_address: str, require_simulator: RequireSimulator
) -> None:
    """What was finished is not run again: ngspice itself is counted, outside of distfd."""
    require_simulator("ngspice")
    log = tmp_path / "calls"
    program = tmp_path / "bin" / "ngspice"
    program.parent.mkdir()
    real = subprocess.run(["which", "ngspice"], check=True, capture_output=True, text=True).stdout.strip()
    # One echo is one write, so that lines of programs that run at once do not mix.
    program.write_text(
        f'#!/bin/sh\nsleep 0.1\nline=$(tr -d "\\n" < parameters.json)\necho "$line" >> {log}\nexec {real} "$@"\n'
    )
    program.chmod(0o755)
    command = [f"objective.command.argv=[{program}, -b, ladder.cir]", f"output={tmp_path / 'run'}"]

    process = subprocess.Popen(
        [sys.executable, "-m", "distfd", "run", str(ROOT / "configs" / "ladder.yaml"), *command],
        cwd=tmp_path,
        env={**os.environ, "RAY_ADDRESS": ray_address},
        stderr=subprocess.DEVNULL,
    )
    while not log.exists() or len(log.read_text().splitlines()) < 25:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.0)  # what ran is killed within that, or ends on its own
    before = log.read_text().splitlines()
    with sqlite3.connect(tmp_path / "run" / "evaluations.sqlite") as con:
        (kept,) = con.execute("SELECT count(*) FROM evaluations WHERE status = 'ok'").fetchone()
    con.close()
    assert 10 <= kept <= len(before)

    ran = run("run", str(ROOT / "configs" / "ladder.yaml"), *command, cwd=tmp_path, env={"RAY_ADDRESS": ray_address})
    assert ran.returncode == 0, ran.stderr
    after = log.read_text().splitlines()[len(before) :]
    found = result(tmp_path / "run")
    assert found["n_reused"] >= kept, "every committed evaluation came from the store"
    # At most the evaluations that were unfinished at the kill, one a slot and one waiting behind it, ran twice.
    assert len(set(before) & set(after)) <= len(before) - kept <= 12
    assert found["n_evaluations"] == len(set(before) | set(after))
    np.testing.assert_allclose(found["x"], [0.618, 1.618, 2.0, 1.618, 0.618], atol=1e-3)
