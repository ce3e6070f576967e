"""Stateful simulators: made once a worker, every point from the same state."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.objectives.simulator import SimulatorObjective

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

X = np.array([1.0, 2.0, 3.0])


class Drifting:
    """A simulator that remembers: without a reset, what it says depends on what it was asked before."""

    def __init__(self, log: Path, gain: float = 1.0) -> None:
        self.log, self.gain = log, gain
        self.note("made")

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    def setup(self) -> None:
        self.note("setup")
        self.state = 1.0

    def evaluate(self, x: NDArray[np.float64]) -> float:
        self.state *= 1.5
        return self.gain * self.state * float(x @ x)

    def close(self) -> None:
        self.note("close")


class Resetting(Drifting):
    def reset(self) -> None:
        self.state = 1.0


class Restoring(Drifting):
    def snapshot(self) -> float:
        return self.state

    def restore(self, state: float) -> None:
        self.state = state


class Both(Resetting):
    """A reset is enough: what is restored must not come on top."""

    def snapshot(self) -> float:
        raise AssertionError("not asked for")

    def restore(self, state: float) -> None:
        raise AssertionError("not asked for")


def notes(log: Path) -> list[str]:
    return [line.split()[0] for line in log.read_text().splitlines()]


@pytest.mark.parametrize("simulator", [Resetting, Restoring, Both])
def test_every_point_starts_from_the_same_state(simulator: type, tmp_path: Path) -> None:
    log = tmp_path / "log"
    found = distfd.gradient(simulator, X, args=(log,), kwargs={"gain": 2.0}, scheme="central", executor="serial")
    np.testing.assert_allclose(found, 2 * 1.5 * 2 * X, rtol=1e-9)
    assert notes(log) == ["made", "setup", "close"]


def test_without_a_reset_the_state_leaks_and_that_is_told_once(tmp_path: Path) -> None:
    with pytest.warns(distfd.DerivativeWarning, match=r"Drifting has neither reset\(\) nor restore") as told:
        evaluator = distfd.Evaluator(Drifting, args=(tmp_path / "log",), scheme="central", executor="serial")
    with evaluator:
        found = evaluator.gradient(X)  # and no warning again
    assert len(told) == 1
    assert told[0].filename == __file__
    assert not np.allclose(found, 1.5 * 2 * X)


def test_on_ray_it_is_made_once_a_worker_and_closed(tmp_path: Path, private_ray: None) -> None:
    log = tmp_path / "log"
    executor = distfd.RayExecutor(max_slots=2)
    with distfd.Evaluator(Resetting, args=(log,), executor=executor) as evaluator:
        for k in range(3):
            np.testing.assert_allclose(evaluator.gradient(X + k), 1.5 * 2 * (X + k), rtol=1e-6)
    lines = [line.split() for line in log.read_text().splitlines()]
    for what in ("made", "setup", "close"):
        pids = [pid for word, pid in lines if word == what]
        assert 1 <= len(pids) <= 2
        assert len(set(pids)) == len(pids), f"{what} more than once in a process"
        assert str(os.getpid()) not in pids


@pytest.mark.parametrize("executor", ["serial", "ray"])
def test_a_setup_that_fails_is_told_with_its_cause(executor: str, tmp_path: Path, private_ray: None) -> None:
    class Broken:
        def setup(self) -> None:
            raise FileNotFoundError("mesh.msh")

        def reset(self) -> None:
            pass

        def evaluate(self, x: NDArray[np.float64]) -> float:
            return float(x.sum())

    chosen: Any = executor if executor == "serial" else distfd.RayExecutor(max_slots=1)
    with pytest.raises(distfd.EvaluationError, match=r"FileNotFoundError: mesh\.msh"):
        distfd.gradient(Broken, X, executor=chosen)


def test_what_is_no_simulator_is_refused(tmp_path: Path) -> None:
    class NoCall:
        def evaluate(self, x: NDArray[np.float64]) -> float:
            return 0.0

    with pytest.raises(distfd.InputError, match="give the simulator's class, not an instance"):
        distfd.gradient(NoCall(), X, executor="serial")
    with pytest.raises(distfd.InputError, match="must be callable"):
        distfd.gradient(3, X, executor="serial")
    with pytest.raises(distfd.InputError, match="args and kwargs"):
        distfd.gradient(SimulatorObjective(NoCall), X, args=(1,), executor="serial")


def test_the_fingerprint_has_the_class_and_its_arguments(tmp_path: Path) -> None:
    made = [
        SimulatorObjective(Resetting, (tmp_path,)),
        SimulatorObjective(Resetting, (tmp_path,), {"gain": 2.0}),
        SimulatorObjective(Restoring, (tmp_path,)),
        SimulatorObjective(Resetting, (tmp_path,), version="2"),
    ]
    digests = [objective.fingerprint() for objective in made]
    assert None not in digests
    assert len(set(digests)) == len(made)
    assert SimulatorObjective(Resetting, (tmp_path,)).fingerprint() == digests[0]
