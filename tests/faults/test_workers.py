"""Workers that die or hang, for real: who is blamed, how often, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from waiting import await_that, running

import distfd
from distfd import events
from distfd.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

pytestmark = pytest.mark.usefixtures("private_ray")

X = np.arange(1.0, 7.0)
PATIENCE = 60.0


class Seen:
    """What observers are told."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []

    def __call__(self, event: events.Event) -> None:
        self.events.append(event)

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def note(folder: Path, name: str) -> None:
    (folder / name).open("a").write(f"{os.getpid()}\n")


def notes(folder: Path, name: str) -> list[int]:
    file = folder / name
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    await_that("it is dead", lambda: not running(pid))


def test_a_worker_that_dies_idle_costs_nothing() -> None:
    """With no retries at all, a lost attempt would be a failed evaluation."""

    def fun(x: NDArray[np.float64]) -> float:
        return float(x @ x)

    seen = Seen()
    executor = distfd.RayExecutor(max_slots=2)
    with distfd.Evaluator(fun, executor=executor, retries=0, observers=[seen]) as ev:
        for k in range(2):
            ev.start(wait=True)
            pids = {event.slot: event.pid for event in seen.of(events.SlotStarted)}
            assert len(pids) == 2
            time.sleep(0.2)  # of one that spoke a moment ago it is taken for granted that it is there
            for pid in pids.values():
                kill(pid)
            result = ev.differentiate(X + k)
            np.testing.assert_allclose(result.derivative, 2 * (X + k), rtol=1e-6)
            assert (result.n_failed, result.n_retried) == (0, 0)
    assert not seen.of(events.AttemptFailed)


@pytest.mark.slow
@pytest.mark.parametrize("retries", [0, 1])
def test_a_worker_killed_at_work_is_charged_as_often_as_that_happens(tmp_path: Path, retries: int) -> None:
    def fun(x: NDArray[np.float64]) -> float:
        time.sleep(0.6)  # one point a chunk, and none waits behind it, which would acquit both
        if x[2] != 3.0:
            note(tmp_path, "tries")
            if len(notes(tmp_path, "tries")) <= 1:
                time.sleep(3600)
        return float(x @ x)

    def killer() -> None:
        await_that("the point is under way", lambda: notes(tmp_path, "tries"))
        kill(notes(tmp_path, "tries")[0])

    seen = Seen()
    thread = threading.Thread(target=killer)
    thread.start()
    executor = distfd.RayExecutor(max_slots=2)
    with distfd.Evaluator(
        fun, executor=executor, retries={"crash": retries}, observers=[seen], deterministic=False, check=False
    ) as ev:
        if retries:
            result = ev.differentiate(X)
            np.testing.assert_allclose(result.derivative, 2 * X, rtol=1e-6)
            assert (result.n_failed, result.n_retried) == (0, 1)
        else:
            with pytest.raises(EvaluationError, match=r"coordinate 2(.|\n)*the worker process died"):
                ev.differentiate(X)
    thread.join()
    assert len(notes(tmp_path, "tries")) == 1 + retries
    assert [event.attempt for event in seen.of(events.AttemptFailed)] == [1]


def test_a_keyboard_interrupt_is_an_error_of_j() -> None:
    def fun(x: NDArray[np.float64]) -> float:
        if x[1] != 2.0:
            raise KeyboardInterrupt
        return float(x @ x)

    executor = distfd.RayExecutor(max_slots=2)
    with distfd.Evaluator(fun, executor=executor, on_failure="nan") as ev:
        result = ev.differentiate(X)
    assert result.missing.tolist() == [1]
    assert (result.n_failed, result.n_retried) == (1, 0)


class Hangs:
    """Never ready."""

    def __init__(self, folder: Path, where: str) -> None:
        self.folder, self.where = folder, where
        note(folder, "made")
        if where == "constructor":
            time.sleep(3600)

    def setup(self) -> None:
        if self.where == "crash":
            os._exit(3)
        if self.where == "setup":
            while True:
                try:
                    time.sleep(3600)
                except BaseException:  # it will not listen
                    continue

    def reset(self) -> None:
        pass

    def evaluate(self, x: NDArray[np.float64]) -> float:
        return float(x @ x)


@pytest.mark.parametrize("where", [pytest.param("constructor", marks=pytest.mark.slow), "setup"])
def test_a_constructor_or_setup_that_hangs_fails_the_evaluation(tmp_path: Path, where: str) -> None:
    with (
        distfd.Evaluator(
            Hangs, args=(tmp_path, where), executor=distfd.RayExecutor(max_slots=1), setup_timeout=1.0
        ) as ev,
        pytest.raises(EvaluationError, match=r"constructor or setup\(\) was still running after 1 s"),
    ):
        ev.gradient(X)
    await_that("it is dead", lambda: not any(map(running, notes(tmp_path, "made"))))


@pytest.mark.slow
def test_a_crash_in_setup_fails_the_evaluation_after_its_retries(tmp_path: Path) -> None:
    with (
        distfd.Evaluator(
            Hangs, args=(tmp_path, "crash"), executor=distfd.RayExecutor(max_slots=1), retries={"crash": 1}
        ) as ev,
        pytest.raises(EvaluationError, match=r"in J's constructor or setup\(\): the worker process died"),
    ):
        ev.gradient(X)
    # The last of them may have been followed by one more that was starting already.
    assert len(notes(tmp_path, "made")) in (2, 3)


@pytest.mark.slow
def test_a_wait_for_slots_ends_where_setup_hangs(tmp_path: Path) -> None:
    with distfd.Evaluator(
        Hangs, args=(tmp_path, "setup"), executor=distfd.RayExecutor(max_slots=1), setup_timeout=1.0
    ) as ev:
        ev.start(wait=True)
        with pytest.raises(EvaluationError, match=r"constructor or setup\(\)"):
            ev.value(X)


STUBBORN = """
trap '' TERM INT HUP
echo $$ >> pids
setsid sh -c 'trap "" TERM; echo $$ >> pids; sh -c "echo \\$\\$ >> pids; exec sleep 600" & wait' &
(setsid sh -c 'trap "" TERM; echo $$ >> pids; exec sleep 600' &)
while :; do sleep 60; done
"""


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for pid in notes(tmp_path, "pids"):
        if running(pid):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.slow
def test_programs_that_j_spawns_end_with_its_time(stubborn: Path) -> None:
    """A Python objective that hangs on a program, which ignores SIGTERM and has grandchildren in other sessions."""

    def fun(x: NDArray[np.float64]) -> float:
        if x[0] != 1.0:
            subprocess.run(["sh", "-c", STUBBORN], cwd=stubborn, check=True)
        return float(x @ x)

    executor = distfd.RayExecutor(max_slots=2)
    with distfd.Evaluator(
        fun, executor=executor, timeout=3.0, on_failure="nan", deterministic=False, check=False
    ) as ev:
        result = ev.differentiate(X)
        assert result.missing.tolist() == [0]
        (failed,) = [e for e in result.evaluations if e.value is None]
        assert failed.status.word == "timeout"
        # Not a limit of time but of order: what is over its time ends before whatever comes after.
        await_that("all are dead", lambda: not any(map(running, notes(stubborn, "pids"))))
    # Where it shared its chunk with others it goes out again, alone.
    assert len(notes(stubborn, "pids")) in (4, 8)
