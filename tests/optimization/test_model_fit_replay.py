"""Long fits by a model: killed and run again, also on other slots, the same iterates bit for bit; and from YAML."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_turn import in_turn

import distfd
from distfd.config.load import load_config
from distfd.jobs.run import Job

T = np.linspace(0, 3, 12)
DATA = 2.0 * np.exp(-0.7 * T) + 0.3 + 0.01 * np.sin(40 * T)
X0 = [1.0, 0.2, 0.0]
CALLS: list[int] = []


def residuals(x: Any) -> Any:
    """Of a decay, in a process that dies where DIES is set, at that evaluation."""
    CALLS.append(1)
    if len(CALLS) == int(os.environ.get("DIES", "-1")):
        os.kill(os.getpid(), signal.SIGKILL)
    return np.asarray(x[0] * np.exp(-x[1] * T) + x[2] - DATA)


def run(folder: Path, slots: int | None, **options: Any) -> tuple[Any, list[bytes]]:
    seen: list[bytes] = []
    result = distfd.least_squares(
        residuals,
        X0,
        method="model",
        slots=slots,
        executor="serial",
        version="1",
        store=folder / "run.sqlite",
        journal=folder / "iterates.jsonl",
        callback=lambda x: seen.append(x.tobytes()),
        **options,
    )
    return result, seen


@pytest.mark.parametrize(
    ("slots", "limit"),
    in_turn([1, 2, 3, 4, 9, 16], [{"max_iterations": 2}, {"max_evaluations": 9}, {"target": 0.1}], 2),
)
def test_what_was_stopped_goes_on_with_the_same_bits(tmp_path: Path, slots: int, limit: dict[str, Any]) -> None:
    whole_at, parted_at = tmp_path / "a", tmp_path / "b"
    whole_at.mkdir()
    parted_at.mkdir()
    whole, through = run(whole_at, slots)
    _, first = run(parted_at, slots, limits=distfd.Limits(**limit))
    assert first == through[: len(first)]
    rest, again = run(parted_at, slots)
    assert again == through
    assert rest.x.tobytes() == whole.x.tobytes()
    assert rest.jac.tobytes() == whole.jac.tobytes()
    third, _ = run(parted_at, slots)
    assert third.n_evaluations == 0


@pytest.mark.parametrize(("before", "after"), [(1, 16), (16, 1), (4, 2)])
def test_a_replay_on_other_slots_makes_the_same_iterates(tmp_path: Path, before: int, after: int) -> None:
    _, through = run(tmp_path, before)
    again, seen = run(tmp_path, after)
    assert seen == through
    assert again.n_evaluations == 0
    decisions = [json.loads(line) for line in (tmp_path / "iterates.jsonl").read_text().splitlines()]
    assert {entry["value"] for entry in decisions if "decide" in entry} == {before}


@pytest.mark.parametrize("noise", [None, 1e-5])
def test_noisy_fits_too(tmp_path: Path, noise: float | None) -> None:
    options: dict[str, Any] = {"options": {"noise": noise}} if noise else {"step": "auto"}
    _, through = run(tmp_path, 4, **options)
    again, seen = run(tmp_path, 7, **options)
    assert seen == through
    assert again.n_evaluations == 0


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_model_fit_replay as it
it.run(Path(sys.argv[1]), 4)
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 6, 13])
def test_a_killed_run_is_replayed(tmp_path: Path, after: int) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, through = run(tmp_path / "a", 4)
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "b"), str(here)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}", "DIES": str(after)},
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    rest, again = run(tmp_path / "b", 4)
    assert again == through
    assert rest.x.tobytes() == whole.x.tobytes()
    assert rest.n_reused >= after - 2, "what was stored is not computed again"


class Remembering:
    """A simulator that starts from the state that it was left in."""

    def __init__(self) -> None:
        self.state = 0.0

    def evaluate(self, x: Any) -> Any:
        self.state = float(np.sum(x))
        return np.asarray(x[0] * np.exp(-x[1] * T) + x[2] - DATA)

    def snapshot(self) -> float:
        return self.state

    def restore(self, state: float) -> None:
        self.state = state


@pytest.mark.parametrize("warm", ["baseline", "iterate"])
@pytest.mark.parametrize("slots", [1, 4, 16])
def test_warm_starts(warm: Any, slots: int) -> None:
    result = distfd.least_squares(Remembering, X0, method="model", slots=slots, executor="serial", warm=warm)
    assert result.success
    assert result.cost == pytest.approx(2.690444356e-4, rel=1e-6)


JOB = """
task: least_squares
objective: {python: 'decay_of_a_fit:residuals'}
parameters:
  - {name: height, value: 1.0, lower: 0, upper: 1.5}
  - {name: rate, value: 0.2, lower: 0, upper: 2}
  - {name: floor, value: 0.0}
  - {name: unused, value: 3.0, fixed: true}
minimize: {method: model, slots: 4, options: {loss: soft_l1, f_scale: 0.5}}
output: run
"""
MODULE = """
import numpy as np
T = np.linspace(0, 3, 12)
def residuals(x):
    return x[0] * np.exp(-x[1] * T) + x[2] - 2.0 * np.exp(-0.7 * T) - 0.3 + 0 * x[3]
"""


def test_from_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "decay_of_a_fit.py").write_text(MODULE)
    (tmp_path / "job.yaml").write_text(JOB)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distfd.jobs.run.make_executor", lambda _, **__: distfd.SerialExecutor())
    found = Job(load_config(tmp_path / "job.yaml"), lambda _: None, lambda _: None).run()
    assert found["status"] == "done"
    assert found["converged"] is True
    assert found["x"][0] == 1.5
    assert found["x"][3] == 3.0
    assert found["value"] < found["value0"] / 10
    assert np.shape(found["jacobian"]) == (12, 4)
