"""Processes that are replaced in their time: no attempt, no blame, no report lost."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import numpy as np
import pytest
from solving import bits

import distfd
from distfd.core.points import dense_points
from distfd.errors import InputError
from distfd.executors.ray.outstanding_calls import Call
from distfd.executors.ray.slots import Slots
from distfd.objectives.simulator import SimulatorObjective
from distfd.workers.messages import Chunk, EvaluationChunk, SlotLost
from distfd.workers.recycle import RECYCLED, Recycle, as_recycle
from distfd.workers.worker import Worker

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

X = np.arange(1.0, 8.0)


class Logging:
    """Writes down what it does, and where."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def note(self, what: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    def setup(self) -> None:
        self.note("setup")

    def reset(self) -> None:
        pass

    def evaluate(self, x: NDArray[np.float64]) -> float:
        self.note("evaluate")
        return float(x @ x)

    def close(self) -> None:
        self.note("close")


def notes(log: Path, what: str) -> list[str]:
    return [line.split()[1] for line in log.read_text().splitlines() if line.startswith(what)]


def chunk(number: int, rows: list[Any], recycle: Recycle) -> Chunk:
    points = dense_points(rows)
    return EvaluationChunk(number, np.arange(len(rows)), points, False, None, 60.0, recycle=recycle)


def test_a_worker_stops_at_its_limit_and_touches_nothing_after(tmp_path: Path) -> None:
    worker = Worker(SimulatorObjective(Logging, (tmp_path / "log",)))
    rows = [X + k for k in range(5)]
    first = worker.run(chunk(0, rows[:2], Recycle(evaluations=3)))
    assert (len(first), worker.worn) == (2, False)
    second = worker.run(chunk(1, rows, Recycle(evaluations=3)))
    assert (second.index.tolist(), second.flat.tolist(), worker.worn) == ([0], [X @ X], True)
    third = worker.run(chunk(2, rows, Recycle(evaluations=3)))
    assert (len(third), worker.worn) == (0, True)
    assert len(notes(tmp_path / "log", "evaluate")) == 3
    assert len(notes(tmp_path / "log", "close")) == 1, "it ended in good order"


@pytest.mark.parametrize("limit", [1, 3])
def test_serial_has_a_fresh_model_in_its_place(tmp_path: Path, limit: int) -> None:
    recycle = {"evaluations": limit, "memory": 1}  # of a process that is the caller's own, memory says nothing
    options: dict[str, Any] = {"args": (tmp_path / "log",), "executor": "serial", "recycle": recycle}
    found = distfd.differentiate(Logging, X, **options)
    np.testing.assert_allclose(found.derivative, 2 * X, rtol=1e-6)
    assert (found.n_evaluations, found.n_failed, found.n_retried) == (8, 0, 0)
    made = len(notes(tmp_path / "log", "setup"))
    assert made == {1: 8, 3: 3}[limit]
    assert len(notes(tmp_path / "log", "close")) == made


@pytest.mark.parametrize("recycle", [{"evaluations": 1}, {"memory": 2**20}])
@pytest.mark.slow
def test_on_ray_each_evaluation_has_a_process_of_its_own(tmp_path: Path, recycle: Any, private_ray: None) -> None:
    x = X[:5]
    found = distfd.differentiate(
        Logging,
        x,
        args=(tmp_path / "log",),
        executor=distfd.RayExecutor(max_slots=3),
        recycle=recycle,
        retries=0,
    )
    assert bits(found.derivative) == bits(distfd.gradient(Logging, x, args=(tmp_path / "log2",), executor="serial"))
    pids = notes(tmp_path / "log", "evaluate")
    assert len(pids) == len(set(pids)) == 6
    assert set(notes(tmp_path / "log", "close")) >= set(pids)
    assert (found.n_evaluations, found.n_failed, found.n_retried) == (6, 0, 0)
    assert {evaluation.attempt for evaluation in found.evaluations} == {1}


@pytest.mark.slow
def test_on_ray_no_report_is_lost_where_chunks_wait_behind(tmp_path: Path, private_ray: None) -> None:
    """Short evaluations travel in long chunks, with more queued behind; a limit cuts right through them."""
    x = np.linspace(-1, 1, 400)
    with distfd.Evaluator(
        Logging,
        args=(tmp_path / "log",),
        executor=distfd.RayExecutor(max_slots=2),
        recycle={"evaluations": 150},
        retries=0,
        check=False,
    ) as ev:
        found = ev.differentiate(x)
        assert ev.map_function(abs, [-1, -2, 3]) == [1, 2, 3]
    assert bits(found.derivative) == bits(distfd.gradient(Logging, x, args=(tmp_path / "log2",), executor="serial"))
    pids = notes(tmp_path / "log", "evaluate")
    assert len(pids) == 401, "none was lost, and so none was repeated"
    assert max(pids.count(pid) for pid in set(pids)) <= 150
    assert (found.n_evaluations, found.n_failed, found.n_retried) == (401, 0, 0)


def test_limits_that_make_no_sense_are_refused() -> None:
    assert as_recycle(None) is None
    assert as_recycle({"evaluations": None, "memory": None}) is None
    assert as_recycle({"evaluations": 2}) == Recycle(evaluations=2)
    for given, pattern in (
        ({"evaluations": 0}, "evaluations must be a whole number >= 1"),
        ({"memory": 1.5}, "memory must be a whole number"),
        ({"evaluations": True}, "whole number"),
        ({"points": 1}, "there is no 'points'; use evaluations, memory"),
        (3, "takes a mapping"),
    ):
        bad: Any = given
        with pytest.raises(InputError, match=pattern):
            as_recycle(bad)


def test_no_process_is_ended_that_still_owes_a_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two chunks the second's report, which says that it was the last, may come first."""
    slots = Slots(Mock(), Mock())
    killed: list[int] = []

    def kill(slot: int) -> None:
        killed.append(slot)
        slots._worn.discard(slot)

    monkeypatch.setattr(slots, "kill", kill)
    slots._worn = {0, 1}
    slots._calls.add("a reference", Call(0, 7))
    assert slots._recycled() == [SlotLost(1, RECYCLED)]
    slots._calls.clear()
    assert slots._recycled() == [SlotLost(0, RECYCLED)]
    assert slots._recycled() == []
    assert killed == [1, 0]
