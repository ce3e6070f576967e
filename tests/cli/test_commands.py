"""The command line, as a user's shell sees it: what is printed, what is written, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODEL = """
import math, os, time
from pathlib import Path

def parabola(x, log=None, gate=None):
    if log:
        with open(log, "a") as file:
            file.write(x.tobytes().hex() + "\\n")
        while gate and len(Path(log).read_text().splitlines()) > 9 and not Path(gate).exists():
            time.sleep(0.02)
    return float((x - 1) @ (x - 1))

def picky(x):
    if x[1] != 2.0:
        raise ValueError("negative width")
    return float(x.sum())

def nowhere(x):
    raise ArithmeticError("no solution")

class Counter:
    def __init__(self, log): self.log = log
    def setup(self): open(self.log, "a").write(f"setup {os.getpid()}\\n")
    def reset(self): self.state = 0
    def evaluate(self, x):
        self.state += 1
        return float(self.state * (x @ x))
    def close(self): open(self.log, "a").write(f"close {os.getpid()}\\n")

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    return tmp_path


def write(folder: Path, **changes: Any) -> None:
    config: dict[str, Any] = {
        "objective": {"python": "model:parabola"},
        "parameters": [
            {"name": "mass", "value": 1.5},
            {"name": "width", "value": 2.0},
            {"name": "depth", "value": -3.0},
        ],
        "output": "run",
    }
    config.update(changes)
    (folder / "job.yaml").write_text(yaml.safe_dump(config))


def distfd(folder: Path, *args: str, address: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(args), check=False, cwd=folder, env=environment(address), capture_output=True, text=True, timeout=120
    )


def command(args: tuple[str, ...]) -> list[str]:
    return [sys.executable, "-m", "distfd", *args]


def environment(address: str | None) -> dict[str, str]:
    env = dict(os.environ)
    env.pop("RAY_ADDRESS", None)
    return env if address is None else {**env, "RAY_ADDRESS": address}


def result(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "result.json").read_text())
    return found


@pytest.mark.slow
def test_a_hessian_from_a_file(folder: Path, ray_address: str) -> None:
    write(folder, task="hessian")
    plan = distfd(folder, "plan", "job.yaml", address=ray_address)
    assert "second-order differences: 12 evaluations for 3 x 3 entries" in plan.stdout
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    assert "done: 13 evaluations, 0 reused" in ran.stdout
    assert "d2J/dx dwidth" in ran.stdout
    found = result(folder)
    np.testing.assert_allclose(found["derivative"], np.load(folder / "run" / "derivative.npz")["derivative"])
    np.testing.assert_allclose(found["derivative"], np.diag(np.diag(found["derivative"])), atol=1e-6)
    assert np.shape(found["error"]) == (3, 3)
    assert found["scheme"] == "central"


def test_a_gradient_from_a_file(folder: Path, ray_address: str) -> None:
    write(folder)
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    assert "mass" in ran.stdout
    assert "done: 4 evaluations, 0 reused" in ran.stdout
    assert "check: none (derivative.check=true adds 1 evaluation)" in ran.stdout
    found = result(folder)
    assert (found["consistency"], found["unchecked"]) == (None, 1)
    np.testing.assert_allclose(found["derivative"], [1.0, 2.0, -8.0], rtol=1e-6)
    keys = "task status x names value derivative error step scheme missing n_evaluations n_reused n_failed n_retried"
    keys += " wall_seconds start_seconds ideal_seconds efficiency slots started finished versions repaired warnings"
    assert set(keys.split()) <= set(found)
    assert (found["status"], found["task"], found["value"]) == ("done", "gradient", 17.25)
    assert found["error"] == [None, None, None]
    arrays = np.load(folder / "run" / "derivative.npz")
    assert arrays["derivative"].tolist() == found["derivative"]
    assert arrays["names"].tolist() == ["mass", "width", "depth"]
    events = [json.loads(line)["event"] for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert events[0] == "run_started"
    assert events[-1] == "run_ended"
    with sqlite3.connect(folder / "run" / "evaluations.sqlite") as con:
        assert con.execute("SELECT count(*) FROM evaluations WHERE status = 'ok'").fetchone() == (4,)
    con.close()
    assert (folder / "run").stat().st_mode & 0o777 == 0o700
    assert "width" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    (folder / "run" / "report.html").unlink()
    made = distfd(folder, "report", "run", "--csv")
    assert made.returncode == 0, made.stderr
    assert [Path(line).name for line in made.stdout.split()] == ["report.html", "derivative.csv", "evaluations.csv"]
    assert all(Path(line).stat().st_size for line in made.stdout.split())
    derivatives = [line.split(",")[2] for line in (folder / "run" / "derivative.csv").read_text().splitlines()[1:]]
    assert [float(cell) for cell in derivatives] == found["derivative"], "after name and x"


def test_running_again_evaluates_only_what_is_missing(folder: Path, ray_address: str) -> None:
    log = folder / "calls"
    write(folder, objective={"python": "model:parabola", "kwargs": {"log": str(log)}})

    def calls() -> int:
        return len(log.read_text().splitlines())

    assert distfd(folder, "run", "job.yaml", address=ray_address).returncode == 0
    assert calls() == 4
    again = distfd(folder, "run", "job.yaml", address=ray_address)
    assert (again.returncode, calls()) == (0, 4)
    assert "finished" in again.stderr
    assert "done: 4 evaluations" in again.stdout
    central = distfd(folder, "run", "job.yaml", "derivative.scheme=central", address=ray_address)
    assert (central.returncode, calls()) == (0, 4 + 6)
    assert (result(folder)["n_evaluations"], result(folder)["n_reused"]) == (10, 1)
    (folder / "run" / "result.json").unlink()  # as after a kill between the last evaluation and the result
    back = distfd(folder, "run", "job.yaml", address=ray_address)
    assert (back.returncode, calls()) == (0, 10)
    assert result(folder)["n_reused"] == 4
    fresh = distfd(folder, "run", "job.yaml", "--fresh", address=ray_address)
    assert (fresh.returncode, calls()) == (0, 14)
    assert len(list(folder.glob("run.*"))) == 1, "the earlier run is kept beside it"


@pytest.mark.slow
def test_another_objective_or_other_names_are_refused(folder: Path, ray_address: str) -> None:
    write(folder)
    assert distfd(folder, "run", "job.yaml", address=ray_address).returncode == 0
    before = (folder / "run" / "result.json").read_bytes()
    for override in ("objective.python=model:picky", "parameters.mass.name=weight"):
        ran = distfd(folder, "run", "job.yaml", override, address=ray_address)
        assert ran.returncode == 2
        assert "--fresh" in ran.stderr
        assert "Traceback" not in ran.stderr
    assert (folder / "run" / "result.json").read_bytes() == before


@pytest.mark.parametrize("on_failure", ["raise", "nan"])
def test_a_failed_component_is_exit_3(folder: Path, ray_address: str, on_failure: str) -> None:
    write(folder, objective={"python": "model:picky"}, evaluation={"on_failure": on_failure})
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 3
    assert "width" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr.replace("Traceback (most recent call last):\n      File", "")
    found = result(folder)
    if on_failure == "nan":
        assert (found["status"], found["missing"]) == ("partial", ["width"])
        assert found["derivative"][1] is None
    else:
        assert (found["status"], found["missing"], found["derivative"]) == ("failed", ["width"], None)
        assert "ValueError: negative width" in ran.stderr
        assert "coordinate 1 ('width')" in found["message"]
    assert found["value"] == 0.5  # what is known is told, under any on_failure
    assert "negative width" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    failures = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert any("raise ValueError" in line.get("detail", "") for line in failures), "J's traceback is in the log whole"
    with sqlite3.connect(folder / "run" / "evaluations.sqlite") as con:
        assert con.execute("SELECT count(*) FROM evaluations WHERE status = 'ok'").fetchone() == (3,)
    con.close()


@pytest.mark.slow
def test_a_failed_baseline_is_exit_3(folder: Path, ray_address: str) -> None:
    write(folder, objective={"python": "model:nowhere"}, evaluation={"on_failure": "nan"})
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 3
    assert "ArithmeticError: no solution" in ran.stderr


def test_minimize_from_a_file(folder: Path, ray_address: str) -> None:
    write(folder, task="minimize", derivative={"scheme": "central"})
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    found = result(folder)
    np.testing.assert_allclose(found["x"], 1.0, atol=1e-5)
    assert found["value0"] == 17.25
    assert found["x0"] == [1.5, 2.0, -3.0]
    assert found["converged"] is True
    assert found["iterations"] >= 1
    assert "converged" in ran.stdout
    assert "before" in ran.stdout


@pytest.mark.slow
def test_minimize_stops_at_its_limits(folder: Path, ray_address: str) -> None:
    write(folder, task="minimize", minimize={"max_evaluations": 5})
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    assert "max_evaluations" in result(folder)["message"]


def test_a_simulator_is_made_once_a_worker_and_reset_before_each_point(folder: Path, ray_address: str) -> None:
    log = folder / "log"
    write(folder, objective={"simulator": "model:Counter", "kwargs": {"log": str(log)}}, cluster={"max_slots": 1})
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    np.testing.assert_allclose(result(folder)["derivative"], [3.0, 4.0, -6.0], rtol=1e-6)
    assert [line.split()[0] for line in log.read_text().splitlines()] == ["setup", "close"]


def test_fixed_parameters_have_derivative_zero(folder: Path, ray_address: str) -> None:
    parameters = [{"name": "a", "value": 2.0, "fixed": True}, {"name": "b", "value": 3.0, "step": 1e-3}]
    write(folder, parameters=parameters)
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    found = result(folder)
    assert found["derivative"][0] == 0
    assert found["step"][0] == 0
    assert found["step"][1] == pytest.approx(3e-3)
    assert found["n_evaluations"] == 2


def test_plan_validate_and_status(folder: Path) -> None:
    write(folder, resources={"num_cpus": 1}, cluster={"address": "local", "num_cpus": 2})
    plan = distfd(folder, "plan", "job.yaml", "derivative.scheme=central4")
    assert plan.returncode == 0, plan.stderr
    assert "13" in plan.stdout
    assert "rounds:       7" in plan.stdout
    assert not (folder / "run").exists(), "nothing is run or made"
    assert distfd(folder, "validate", "job.yaml").returncode == 0
    missing = distfd(folder, "status", "run")
    assert missing.returncode == 2
    assert "no run is there" in missing.stderr
    assert distfd(folder, "report", "run").returncode == 2


@pytest.mark.parametrize(
    ("overrides", "code", "text"),
    [
        (["derivative.shceme=central"], 2, "did you mean"),
        (["objective.python=model:parabolla"], 2, "has no 'parabolla'"),
        (["objective.args=[1]", "objective.python=m:f"], 2, "override objective.python=m:f: objective.python: 'm:f'"),
        (["objective.python=modle:parabola"], 2, "there is no module 'modle'"),
        (["objective.python=model:number"], 2, "cannot be called"),
        (["objective.python=model:Counter"], 2, "objective.simulator"),
        (["parameters.mass.lower=2"], 2, "mass"),
        (["derivative.step=0"], 2, "derivative.step"),
        (["cluster.address=127.0.0.1:1"], 4, "nothing answers"),
        pytest.param(
            ["resources.num_cpus=100000", "cluster.address=local"], 4, "no node can run", marks=pytest.mark.slow
        ),
        (["output=model.py"], 2, "is a file"),
        (["output=null"], 2, "override output=null: output: is missing"),
        (["task=minimize", "minimize.options={maxitr: 5}"], 2, "minimize.options: L-BFGS-B has no 'maxitr'; did you"),
        (
            ["task=minimize", "minimize={method: TNC, options: {scale: [1, 2, 3, 4]}}"],
            2,
            "minimize.options: TNC does not",
        ),
        (["cluster.runtime_env={pip: 3}"], 2, "cluster.runtime_env: runtime_env['pip'] must be"),
        (["task=least_squares", "minimize.options={ftol: small}"], 2, "minimize.options: trf does not take them"),
    ],
)
def test_mistakes(folder: Path, overrides: list[str], code: int, text: str) -> None:
    write(folder)
    ran = distfd(folder, "run", "job.yaml", *overrides)
    assert ran.returncode == code, ran.stderr
    assert text in ran.stderr
    assert "Traceback" not in ran.stderr


def test_usage() -> None:
    ran = distfd(ROOT, "rnu")
    assert ran.returncode == 2, ran.stderr
    assert "rnu" in ran.stderr
    ran = distfd(ROOT, "run", "no-such-file.yaml")
    assert ran.returncode == 2
    assert "no-such-file.yaml" in ran.stderr
    assert distfd(ROOT, "--help").returncode == 0


def test_a_missing_program_says_what_to_install(folder: Path) -> None:
    program = {
        "argv": ["no-such-simulator"],
        "hint": "apt-get install no-such",
        "outputs": {"J": {"file": "stdout", "regex": "(.*)"}},
    }
    write(folder, objective={"command": program})
    for verb in ("run", "validate"):
        ran = distfd(folder, verb, "job.yaml")
        assert ran.returncode == 2
        assert "apt-get install no-such" in ran.stderr


def started(folder: Path, ray_address: str, *overrides: str) -> subprocess.Popen[str]:
    """A run that is under way: some evaluations are in its store."""
    process = subprocess.Popen(
        command(("run", "job.yaml", *overrides)),
        cwd=folder,
        env=environment(ray_address),
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "calls"
    while not log.exists() or len(log.read_text().splitlines()) < 6 or committed(folder) < 1:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    return process


def gated(folder: Path) -> None:
    """A job that comes to its tenth evaluation and no further, until the gate is there."""
    write(
        folder,
        objective={
            "python": "model:parabola",
            "kwargs": {"log": str(folder / "calls"), "gate": str(folder / "gate")},
        },
        parameters=[{"name": f"p{k}", "value": float(k)} for k in range(20)],
    )


def settled(log: Path) -> list[str]:
    """All calls, once the workers that a killed driver left behind have ended: Ray takes a moment to see it."""
    seen: list[str] = []
    while len(calls := log.read_text().splitlines()) > len(seen):
        seen = calls
        time.sleep(1.5)
    return seen


def committed(folder: Path) -> int:
    with sqlite3.connect(folder / "run" / "evaluations.sqlite") as con:
        (count,) = con.execute("SELECT count(*) FROM evaluations WHERE status = 'ok'").fetchone()
    con.close()
    return int(count)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_before_it_began(number: signal.Signals) -> None:
    code = f"""
import os, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, Interrupting())
from distfd.cli import main
main()
"""
    run = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60
    )
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "distfd: interrupted before it began\n")


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly), signal.SIGKILL]
)
def test_interrupted_and_resumed(folder: Path, ray_address: str, number: signal.Signals) -> None:
    gated(folder)
    process = started(folder, ray_address)
    status = distfd(folder, "status", "run")
    assert "running" in status.stdout, status.stderr
    second = distfd(folder, "run", "job.yaml", address=ray_address)
    assert second.returncode == 5, "two drivers on one directory"
    assert distfd(folder, "run", "job.yaml", "--fresh", address=ray_address).returncode == 5
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert process.returncode == 130, errors
        assert "Traceback" not in errors
        assert result(folder)["status"] == "interrupted"
        assert "interrupted" in (folder / "run" / "report.html").read_text(encoding="utf-8")
    kept = committed(folder)
    assert kept >= 1
    begun = len(settled(folder / "calls"))
    (folder / "gate").touch()
    ran = distfd(folder, "run", "job.yaml", address=ray_address)
    assert ran.returncode == 0, ran.stderr
    found = result(folder)
    assert (found["n_evaluations"] - found["consistency"]["n_evaluations"], found["n_reused"]) == (21, kept)
    np.testing.assert_allclose(found["derivative"], 2 * (np.arange(20.0) - 1), atol=1e-5)
    calls = (folder / "calls").read_text().splitlines()
    assert len(calls) - begun <= 22 - kept, "what was committed is not repeated"


def test_what_only_its_use_shows_has_its_place_in_the_file(folder: Path) -> None:
    path = folder / "job.yaml"
    for kind, text in (("python", "model has no 'nope'"), ("simulator", "model has no 'nope'")):
        path.write_text(f"x0: [1]\nobjective: {{{kind}: 'model:nope'}}\n")
        ran = distfd(folder, "validate", "job.yaml")
        assert ran.returncode == 2
        assert f"job.yaml:2:{15 + len(kind)}: objective.{kind}: 'model:nope': {text}" in ran.stderr
    path.write_text(
        "x0: [1]\nobjective:\n  command: {argv: [no-such-program], outputs: {J: {file: a, json: /J}}}\noutput: o\n"
    )
    ran = distfd(folder, "run", "job.yaml")
    assert ran.returncode == 2
    assert "job.yaml:3:12: objective.command: no-such-program is not installed" in ran.stderr
    assert not (folder / "o").exists()
    path.write_text("x0: [1]\nobjective: {python: 'model:parabola'}\n")
    ran = distfd(folder, "run", "job.yaml")
    assert ran.returncode == 2
    assert "job.yaml:1:1: output: is missing" in ran.stderr
