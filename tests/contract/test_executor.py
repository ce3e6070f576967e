"""What every executor promises, and what those do that have processes of their own."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from outside import PoolExecutor

from distfd import Evaluator
from distfd.core.points import Points, dense_points
from distfd.core.records import Batch, Status
from distfd.differentiation.method import Request
from distfd.evaluation.evaluate import evaluate
from distfd.evaluation.session import Session
from distfd.executors.ray.executor import RayExecutor
from distfd.executors.ray.failures import failure_of
from distfd.executors.ray.worker import PickledObjective, RayWorker
from distfd.executors.serial import SerialExecutor
from distfd.objectives.base import Objective
from distfd.objectives.function import PythonObjective
from distfd.objectives.simulator import SimulatorObjective
from distfd.scheduling.policy import Policy
from distfd.stores.memory import MemoryStore
from distfd.workers.messages import ChunkDone, EvaluationChunk, SlotLost, SlotUp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from distfd.executors.base import Executor
    from distfd.workers.messages import Report

PATIENCE = 120
"""Seconds after which a test stops waiting for a report."""


class Bench:
    """An executor under test: hands it chunks, collects its reports, closes it."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.reports: list[Report] = []
        self.up: dict[int, SlotUp] = {}
        self._ids = iter(range(1000))

    def open(self, fun: Any) -> Bench:
        """Open with a function or an objective, and wait until all slots are up."""
        opened = self.executor.open(fun if hasattr(fun, "make") else PythonObjective(fun))
        self.up = {up.slot: up for up in opened if isinstance(up, SlotUp)}
        self.wait_until(lambda: len(self.up) == self.executor.slots)
        return self

    def submit(self, slot: int, *rows: Any, vector: bool = False, budget: float = 60.0) -> int:
        """A chunk of these points; its id."""
        chunk_id = next(self._ids)
        points = rows[0] if rows and isinstance(rows[0], Points) else dense_points([np.atleast_1d(r) for r in rows])
        chunk = EvaluationChunk(chunk_id, np.arange(len(points)), points, vector, None, budget)
        self.executor.submit(slot, chunk)
        return chunk_id

    def wait_until(self, enough: Callable[[], bool]) -> None:
        give_up = time.monotonic() + PATIENCE
        while not enough():
            assert time.monotonic() < give_up, f"only {self.reports}"
            for report in self.executor.wait(1.0):
                self.reports.append(report)
                if isinstance(report, SlotUp):
                    self.up[report.slot] = report
                elif isinstance(report, SlotLost):
                    self.up.pop(report.slot, None)

    @property
    def done(self) -> dict[int, Batch]:
        found = [report for report in self.reports if isinstance(report, ChunkDone)]
        assert len({report.chunk for report in found}) == len(found), "a chunk came twice"
        return {report.chunk: report.batch for report in found}

    def batch(self, chunk_id: int) -> Batch:
        """What came of a chunk."""
        self.wait_until(lambda: chunk_id in self.done)
        return self.done[chunk_id]

    def call(self, fun: Any, *rows: Any, vector: bool = False) -> Batch:
        """Open with J and evaluate a chunk on slot 0."""
        self.open(fun)
        return self.batch(self.submit(0, *rows, vector=vector))

    def lost(self) -> SlotLost:
        """The one slot that was lost, once it is up again."""
        self.wait_until(lambda: any(isinstance(report, SlotLost) for report in self.reports))
        (report,) = [report for report in self.reports if isinstance(report, SlotLost)]
        self.wait_until(lambda: len(self.up) == self.executor.slots)
        return report


@pytest.fixture(params=["serial", "outside", "ray 2"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    if request.param == "serial":
        made: Executor = SerialExecutor()
    elif request.param == "outside":
        made = PoolExecutor()
    else:
        request.getfixturevalue("private_ray")
        made = RayExecutor(max_slots=int(request.param[-1]))
    yield Bench(made)
    made.close()


@pytest.fixture(params=[1, pytest.param(3, marks=pytest.mark.nightly)])
def ray_bench(request: pytest.FixtureRequest, private_ray: None) -> Iterator[Bench]:
    """Only executors whose slots are processes of their own."""
    made = RayExecutor(max_slots=request.param)
    yield Bench(made)
    made.close()


def total(x: NDArray[np.float64]) -> float:
    return float(x.sum())


def gone(pid: int) -> bool:
    """Whether a process ends before long."""
    try:
        psutil.Process(pid).wait(30)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return False
    return True


# Slots and chunks


def test_each_slot_announces_itself(bench: Bench) -> None:
    bench.open(total)
    assert sorted(bench.up) == list(range(bench.executor.slots))
    announced = [report.slot for report in bench.reports if isinstance(report, SlotUp)]
    assert len(set(announced)) == len(announced)
    assert len({up.pid for up in bench.up.values()}) == bench.executor.slots
    assert all(up.host for up in bench.up.values())


def test_opened_again_it_keeps_its_slots_and_tells_them(bench: Bench) -> None:
    objective = PythonObjective(total)
    bench.open(objective)
    pids = {slot: up.pid for slot, up in bench.up.items()}
    assert {up.slot: up.pid for up in bench.executor.open(objective)} == pids


@pytest.mark.slow
def test_another_objective_takes_the_place_of_the_first(bench: Bench) -> None:
    assert bench.call(total, [1.0, 2.0]).flat.tolist() == [3.0]
    other = PythonObjective(lambda x: 100.0)
    assert bench.call(other, [1.0, 2.0]).flat.tolist() == [100.0]


def test_closed_it_can_be_opened_again(bench: Bench) -> None:
    objective = PythonObjective(total)
    bench.open(objective)
    bench.executor.close()
    bench.executor.close()
    assert bench.call(objective, [1.0, 2.0]).flat.tolist() == [3.0]


def test_every_chunk_comes_back_once_in_order(bench: Bench) -> None:
    bench.open(total)
    ids: dict[int, list[int]] = {slot: [] for slot in bench.up}
    for k in range(4):
        for slot, mine in ids.items():
            mine.append(bench.submit(slot, [10.0 * slot, k], [10.0 * slot, k + 0.5]))
    bench.wait_until(lambda: len(bench.done) == 4 * len(ids))
    for slot, mine in ids.items():
        order = [r.chunk for r in bench.reports if isinstance(r, ChunkDone) and r.slot == slot]
        assert order == mine
        for k, chunk_id in enumerate(mine):
            batch = bench.done[chunk_id]
            assert batch.index.tolist() == [0, 1]
            assert batch.flat.tolist() == [10.0 * slot + k, 10.0 * slot + k + 0.5]
            assert batch.slot == slot
            assert (batch.host, batch.pid) == (bench.up[slot].host, bench.up[slot].pid)
    assert bench.executor.wait(0.0) == []


def test_a_chunk_is_handed_back_early(bench: Bench) -> None:
    bench.open(lambda x: time.sleep(0.02) or 1.0)  # type: ignore[func-returns-value]  # sleep, then 1
    assert len(bench.batch(bench.submit(0, 1.0, 2.0, 3.0, budget=0.01))) == 1


def test_vectors(bench: Bench) -> None:
    batch = bench.call(lambda x: np.arange(x[0]) * 0.1, 1.0, 3.0, vector=True)
    assert batch.size.tolist() == [1, 3]
    assert batch.flat.tolist() == [0.0, 0.0, 0.1, 0.2]


@pytest.mark.parametrize("d", [3, 50_000])
def test_x_may_be_small_or_large(bench: Bench, d: int) -> None:
    """Above 64 KiB it travels once a wave, by reference."""
    bench.open(total)
    for scale in (1.0, 2.0):
        points = dense_points([np.full(d, scale), np.r_[7.0, np.full(d - 1, scale)]])
        ids = [bench.submit(slot, points) for slot in bench.up]
        for chunk_id in ids:
            assert bench.batch(chunk_id).flat.tolist() == [scale * d, 7.0 + scale * (d - 1)]


# What J may be


class Scaled:
    def __init__(self, factor: float) -> None:
        self.factor = factor

    def method(self, x: NDArray[np.float64]) -> float:
        return self.factor * total(x)

    def __call__(self, x: NDArray[np.float64]) -> float:
        return self.factor * total(x)


def closure(factor: float) -> Callable[[NDArray[np.float64]], float]:
    def inner(x: NDArray[np.float64]) -> float:
        return factor * total(x)

    return inner


def notebook() -> dict[str, Any]:
    """Functions and classes as a notebook or a script defines them: in __main__."""
    space: dict[str, Any] = {"__name__": "__main__"}
    source = """
factor = 2.0
class Sim:
    def evaluate(self, x):
        return factor * helper(x)
def helper(x):
    return float(x.sum())
def fun(x):
    return Sim().evaluate(x)
"""
    exec(source, space)
    return space


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: 2 * total(x),
        closure(2.0),
        Scaled(2.0).method,
        Scaled(2.0),
        functools.partial(np.dot, np.array([2.0, 2.0])),
        notebook()["fun"],
        SimulatorObjective(notebook()["Sim"]),
    ],
    ids=["lambda", "closure", "bound method", "callable", "partial", "notebook", "notebook class"],
)
def test_what_j_may_be(bench: Bench, fun: Any) -> None:
    assert bench.call(fun, [1.0, 2.0]).flat.tolist() == [6.0]


class Noted(Objective):
    """An objective that notes each journey and each arrival in a file outside all processes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getstate__(self) -> dict[str, Any]:
        note(self.path, "sent")
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        note(self.path, "read")

    def fingerprint(self) -> None:
        return None

    def make(self) -> Any:
        note(self.path, "made")
        return PythonObjective(total).make()


def note(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(f"{text} {os.getpid()}\n")


def notes(path: Path, text: str) -> list[int]:
    lines = path.read_text().split("\n")
    return [int(line.split()[1]) for line in lines if line.startswith(text)]


def test_the_objective_is_made_once_a_process(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    bench.open(Noted(path))
    ids = [bench.submit(slot, float(k)) for k in range(3) for slot in bench.up]
    for chunk_id in ids:
        bench.batch(chunk_id)
    assert sorted(notes(path, "made")) == sorted(up.pid for up in bench.up.values())


def test_the_objective_travels_once(ray_bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    ray_bench.open(Noted(path))
    assert notes(path, "sent") == [os.getpid()]
    assert sorted(notes(path, "read")) == sorted(up.pid for up in ray_bench.up.values())


class Simulator:
    def __init__(self, path: Path, error: BaseException | None = None) -> None:
        self.path = path
        self.count = 0
        note(path, "made")
        if error is not None:
            raise error

    def reset(self) -> None:
        self.count = 0

    def evaluate(self, x: NDArray[np.float64]) -> float:
        self.count += 1
        return self.count * float(x[0])

    def close(self) -> None:
        note(self.path, "closed")


def test_a_simulator_is_made_and_closed_once_a_process(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    bench.open(SimulatorObjective(Simulator, (path,)))
    for k in range(3):
        for chunk_id in [bench.submit(slot, float(k), k + 1.0) for slot in bench.up]:
            assert bench.batch(chunk_id).flat.tolist() == [k, k + 1.0]
    pids = sorted(up.pid for up in bench.up.values())
    bench.executor.close()
    assert sorted(notes(path, "made")) == pids
    assert sorted(notes(path, "closed")) == pids


@pytest.mark.parametrize("error", [OSError("no licence"), SystemExit("no licence")])
def test_a_simulator_that_cannot_be_made_is_a_failed_evaluation(
    bench: Bench, tmp_path: Path, error: BaseException
) -> None:
    batch = bench.call(SimulatorObjective(Simulator, (tmp_path / "notes", error)), 1.0)
    assert batch.status.tolist() == [Status.ERROR]
    assert "no licence" in batch.failures[0].text


# What J may do


def test_an_exception_comes_as_text_traceback_and_itself(bench: Bench) -> None:
    def fun(x: NDArray[np.float64]) -> float:
        raise ZeroDivisionError("no width")

    failure = bench.call(fun, 1.0).failures[0]
    assert failure.status == Status.ERROR
    assert failure.text == "ZeroDivisionError: no width"
    assert "in fun" in failure.detail
    assert "distfd" not in failure.detail.replace(os.getcwd(), "")  # noqa: PTH109  # as in the traceback
    assert isinstance(failure.exception, ZeroDivisionError)


class LockedError(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class PickyError(Exception):
    """Can be pickled, but not read back."""

    def __init__(self, text: str, more: str) -> None:
        super().__init__(text)


@pytest.mark.parametrize("error", ["LockedError('w')", "PickyError('w', 'x')"])
def test_an_exception_that_cannot_travel_comes_as_text(bench: Bench, error: str) -> None:
    def fun(x: NDArray[np.float64]) -> float:
        raise LockedError("w") if error.startswith("Locked") else PickyError("w", "x")

    failure = bench.call(fun, 1.0).failures[0]
    assert failure.text == error.partition("(")[0] + ": w"
    assert "in fun" in failure.detail
    assert (failure.exception is not None) == isinstance(bench.executor, SerialExecutor)


def test_sys_exit_does_not_end_a_slot(bench: Bench) -> None:
    batch = bench.call(lambda x: sys.exit(3) if x[0] == 1 else 5.0, 1.0, 2.0)
    assert batch.status.tolist() == [Status.ERROR, Status.OK]
    assert batch.failures[0].text == "J called sys.exit(3)"
    assert batch.flat.tolist() == [5.0]


def test_values_that_are_none(bench: Bench) -> None:
    batch = bench.call(lambda x: [None, "1", float("nan"), threading.Lock()][int(x[0])], *range(4))
    assert batch.status.tolist() == [Status.ERROR] * 4
    assert [batch.failures[k].text.partition(" ")[0] for k in range(4)] == ["J"] * 4


def test_threads_are_pinned_in_j_and_its_children(bench: Bench) -> None:
    def fun(x: NDArray[np.float64]) -> list[float]:
        import scipy.linalg  # noqa: F401  # brings a BLAS of its own
        from threadpoolctl import threadpool_info

        x @ x
        child = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, check=True)
        return [max(pool["num_threads"] for pool in threadpool_info()), float(child.stdout)]

    before = os.environ.get("OMP_NUM_THREADS")
    for _ in range(2):
        assert bench.call(fun, np.ones(1000), vector=True).flat.tolist() == [1.0, 1.0]
    assert os.environ.get("OMP_NUM_THREADS") == before


CHILD = "import os; print(os.environ['OMP_NUM_THREADS'])"


def test_a_program_that_j_runs_does_not_hear_of_other_evaluations(bench: Bench) -> None:
    """J's own environment and folder are its own affair, but it starts where the driver is."""
    batch = bench.call(lambda x: float(os.path.isdir(os.getcwd())), 1.0)  # noqa: PTH109, PTH112
    assert batch.flat.tolist() == [1.0]


# Killing and dying


def test_a_killed_slot_forgets_its_chunks_and_comes_up_again(bench: Bench) -> None:
    bench.open(total)
    old = bench.up.pop(0)
    first = bench.submit(0, 1.0)
    second = bench.submit(0, 2.0)
    bench.executor.kill(0)
    bench.wait_until(lambda: 0 in bench.up)
    third = bench.submit(0, 3.0)
    assert bench.batch(third).flat.tolist() == [3.0]
    assert not {first, second} & bench.done.keys()
    assert not any(isinstance(report, SlotLost) for report in bench.reports)
    if isinstance(bench.executor, RayExecutor):
        assert bench.up[0].pid != old.pid


def test_kill_ends_what_does_not_end_itself(ray_bench: Bench) -> None:
    def stubborn(x: NDArray[np.float64]) -> float:
        while x[0]:
            try:
                time.sleep(60)
            except BaseException:  # it will not listen
                continue
        return 0.0

    ray_bench.open(stubborn)
    old = ray_bench.up.pop(0)
    ray_bench.submit(0, 1.0)
    ray_bench.executor.kill(0)
    ray_bench.wait_until(lambda: 0 in ray_bench.up)
    assert gone(old.pid)
    assert ray_bench.batch(ray_bench.submit(0, 0.0)).flat.tolist() == [0.0]


DEATHS: dict[str, Callable[[], Any]] = {
    "os._exit": lambda: os._exit(3),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGSEGV": lambda: ctypes.string_at(0),
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_slot_that_dies_is_lost_and_comes_up_again(ray_bench: Bench, death: str) -> None:
    def fun(x: NDArray[np.float64]) -> float:
        if x[0]:
            DEATHS[death]()
        return 7.0

    ray_bench.open(fun)
    old = ray_bench.up[0]
    first = ray_bench.submit(0, 1.0)
    second = ray_bench.submit(0, 0.0)
    lost = ray_bench.lost()
    assert lost.slot == 0
    assert lost.failure.status == Status.CRASH
    assert len(lost.failure.text.splitlines()) == 1
    assert ray_bench.up[0].pid != old.pid
    assert gone(old.pid)
    assert ray_bench.batch(ray_bench.submit(0, 0.0)).flat.tolist() == [7.0]
    assert not {first, second} & ray_bench.done.keys()


def test_a_slot_that_dies_idle_is_told_with_the_next_chunk(ray_bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is to blame, so it is told as lost."""
    monkeypatch.setattr("distfd.executors.ray.slots._IDLE", 0.0)
    ray_bench.open(total)
    os.kill(ray_bench.up[0].pid, signal.SIGKILL)
    assert gone(ray_bench.up[0].pid)
    ray_bench.submit(0, 1.0)
    assert ray_bench.lost().failure.status == Status.LOST
    assert ray_bench.batch(ray_bench.submit(0, 2.0)).flat.tolist() == [2.0]


class DeadlyObjective(Noted):
    def make(self) -> Any:
        os._exit(1)


def test_a_worker_that_dies_while_starting_is_lost_each_time(ray_bench: Bench, tmp_path: Path) -> None:
    ray_bench.executor.open(DeadlyObjective(tmp_path / "notes"))
    ray_bench.wait_until(lambda: sum(isinstance(report, SlotLost) for report in ray_bench.reports) >= 3)
    assert not any(isinstance(report, SlotUp) for report in ray_bench.reports)


def test_a_worker_that_cannot_start_says_why(private_ray: None) -> None:
    import ray

    no_paths: Any = None
    actor: Any = ray.remote(RayWorker)
    worker = actor.options(num_cpus=0).remote(PickledObjective(), 0, 1, no_paths)
    with pytest.raises(ray.exceptions.RayActorError) as caught:
        ray.get(worker.hello.remote())
    found = failure_of(caught.value)
    assert found.status == Status.CRASH
    assert found.text.startswith("the worker could not start: TypeError: ")


# With the loop on top


def wave(executor: Executor, fun: Any, points: Points, **policy: Any) -> dict[int, tuple[Status, int, list[float]]]:
    """(status, attempt, value) by point."""
    own = Session(PythonObjective(fun), executor, MemoryStore(), (), Policy(**policy))
    found = {}
    for batch in evaluate(own, Request(points, vector=True)):
        for r, k in enumerate(batch.index.tolist()):
            assert k not in found
            row = batch.flat[batch.offsets[r] : batch.offsets[r + 1]].tolist()
            found[k] = (Status(int(batch.status[r])), int(batch.attempt[r]), row)
    return found


def test_values_are_equal_to_the_bit_in_every_executor(bench: Bench) -> None:
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(60, 60))
    points = dense_points(list(rng.normal(size=(40, 60))))

    def fun(x: NDArray[np.float64]) -> Any:
        return np.linalg.solve(matrix + np.diag(x), x)[:3] + x @ matrix @ x

    assert wave(bench.executor, fun, points, retries={}) == wave(SerialExecutor(), fun, points, retries={})


@pytest.mark.slow
@pytest.mark.parametrize("allowed", [0, 1])
def test_only_a_point_that_ends_its_process_is_charged(ray_bench: Bench, allowed: int) -> None:
    """Whether it comes in a chunk with others (n = 40), or alone but queued behind another (n = 12)."""
    for n, deadly, seconds in ((40, {17}, 0.0), (12, {3, 6, 9}, 0.1)):

        def fun(x: NDArray[np.float64], deadly: set[int] = deadly, seconds: float = seconds) -> float:
            if x[0] in deadly:
                os._exit(1)
            time.sleep(seconds)
            return float(x[0])

        points = dense_points([[float(k)] for k in range(n)])
        found = wave(ray_bench.executor, fun, points, retries={Status.CRASH: allowed})
        bad: tuple[Status, int, list[float]] = (Status.CRASH, allowed + 1, [])
        assert found == {k: bad if k in deadly else (Status.OK, 1, [float(k)]) for k in range(n)}


@pytest.mark.slow
def test_only_the_point_that_hangs_is_charged(ray_bench: Bench) -> None:
    def fun(x: NDArray[np.float64]) -> float:
        if x[0] == 5:
            time.sleep(3600)
        return float(x[0])

    points = dense_points([[float(k)] for k in range(12)])
    found = wave(ray_bench.executor, fun, points, retries={}, timeout=2.0)
    assert found.pop(5) == (Status.TIMEOUT, 1, [])
    assert found == {k: (Status.OK, 1, [float(k)]) for k in range(12) if k != 5}


# Stragglers


@pytest.mark.usefixtures("private_ray")
@pytest.mark.parametrize("deterministic", [None, pytest.param(False, marks=pytest.mark.slow)])
def test_a_straggler_is_tried_on_another_slot(tmp_path: Path, deterministic: bool | None) -> None:
    """The first process that takes a certain point is very slow with it; another is not."""

    def fun(x: NDArray[np.float64]) -> float:
        time.sleep(0.3)
        if x[5] != 6.0:
            with contextlib.suppress(FileExistsError):
                (tmp_path / "taken").touch(exist_ok=False)
                time.sleep(20.0 if deterministic is None else 3.0)
        return float(x @ x)

    x = np.arange(7.0) + 1.0
    with Evaluator(fun, executor=RayExecutor(max_slots=4), deterministic=deterministic) as evaluator:
        evaluator.start()
        result = evaluator.differentiate(x)
        alone = Evaluator(lambda x: float(x @ x), executor="serial").gradient(x)
        assert result.derivative.tobytes() == alone.tobytes()
        assert (result.n_evaluations, result.n_failed, result.n_retried) == (8, 0, 0)
        slowest = max(evaluation.seconds for evaluation in result.evaluations)
        assert (slowest < 3.0) == (deterministic is None)
        # The slot of the loser is of use again.
        assert evaluator.gradient(x + 1.0)[0] == pytest.approx(4.0)


def test_licences_are_not_taken_twice() -> None:
    assert not RayExecutor(resources={"custom": {"licence": 1}}).duplicates_are_free
    assert RayExecutor().duplicates_are_free
    assert not SerialExecutor().duplicates_are_free
