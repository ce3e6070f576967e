from __future__ import annotations

import os
import subprocess
import sys
import time
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from distfd.core.failures import EvaluationFailure, ProgramCrash, ProgramTimeout
from distfd.core.points import Points, dense_points
from distfd.core.records import Failure, Status
from distfd.executors.serial import SerialExecutor
from distfd.objectives.adapt import as_objective
from distfd.objectives.function import PythonObjective
from distfd.objectives.simulator import SimulatorObjective
from distfd.workers.messages import Chunk, ChunkDone, EvaluationChunk
from distfd.workers.worker import BadValueError, Worker, as_value

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.core.records import Batch

INF = float("inf")


class Tensor:
    """An array of another library."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        if isinstance(self.data, Exception):
            raise self.data
        return np.array(self.data, dtype=dtype)


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def slow(x: NDArray[np.float64]) -> float:
    time.sleep(0.02)
    return 1.0


def run(fun: Callable[..., Any], n: int = 1, *, vector: bool = False, budget: float = 60.0) -> Batch:
    return Worker(PythonObjective(fun)).run(chunk(n, vector=vector, budget=budget))


def chunk(n: int, *, vector: bool = False, budget: float = 60.0, timeout: float | None = None) -> Chunk:
    """Points [k, 10 + k], numbered from 5."""
    points = dense_points([[k, 10.0 + k] for k in range(n)])
    return EvaluationChunk(3, np.arange(5, 5 + n), points, vector, timeout, budget)


def failure(fun: Callable[..., Any]) -> Failure:
    batch = run(fun)
    assert batch.status.tolist() != [Status.OK]
    assert batch.size.tolist() == [0]
    return batch.failures[5]


# What is a value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (2.5, 2.5),
        (3, 3.0),
        (-0.0, -0.0),
        (2**70, 2.0**70),
        (np.float32(0.5), 0.5),
        (np.float16(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.int8(-3), -3.0),
        (np.uint64(2**63), 2.0**63),
        (np.array(1.5), 1.5),
        (np.array([1.5]), 1.5),
        (np.array([7]), 7.0),
        (np.ma.array([1.5]), 1.5),
        (Tensor(1.5), 1.5),
        (Tensor([1.5]), 1.5),
        (sys.float_info.max, sys.float_info.max),
        (5e-324, 5e-324),
    ],
)
@pytest.mark.parametrize("vector", [False, True])
def test_numbers(raw: Any, value: float, vector: bool) -> None:
    found = as_value(raw, vector=vector)
    assert found.dtype == np.float64
    assert found.shape == (1,)
    assert found.tobytes() == np.array([value]).tobytes()


@pytest.mark.parametrize(
    "raw", [[1.0, 2], (1, 2.0), np.array([1, 2]), np.array([1.0, 2.0], np.float32), Tensor([1.0, 2.0]), range(1, 3)]
)
def test_vectors(raw: Any) -> None:
    if isinstance(raw, range):
        with pytest.raises(BadValueError, match=r"range\(1, 3\) \(range\)"):
            as_value(raw, vector=True)
        return
    assert as_value(raw, vector=True).tolist() == [1.0, 2.0]
    with pytest.raises(BadValueError, match="J must return a number; it returned "):
        as_value(raw, vector=False)


NEVER = [
    (None, r"None \(NoneType\)"),
    ("1.0", r"'1\.0' \(str\)"),
    (b"1", r"b'1' \(bytes\)"),
    (True, r"True \(bool\)"),
    (np.True_, r"True_?\)? \(numpy\.bool"),
    (np.array(True), "dtype bool"),
    (np.array([True]), "dtype bool"),
    (1 + 0j, r"\(1\+0j\) \(complex\)"),
    (np.complex128(1), r"\(numpy\.complex128\)"),
    (np.array([1 + 0j]), "dtype complex128"),
    (Decimal("1.5"), r"Decimal\('1\.5'\) \(decimal\.Decimal\)"),
    (Fraction(1, 2), r"Fraction\(1, 2\) \(fractions\.Fraction\) of dtype object"),
    (np.array([1.0], dtype=object), "dtype object"),
    (np.array(["1"]), "dtype <U1"),
    (np.datetime64("2020-01-01"), r"numpy\.datetime64"),
    (np.timedelta64(3, "s"), "dtype timedelta64"),
    (np.array([(1.0,)], dtype=[("a", float)]), "dtype"),
    (np.array([]), r"an array of shape \(0,\)$"),
    (np.empty((0, 3)), r"an array of shape \(0, 3\)$"),
    (np.array([[1.0]]), r"an array of shape \(1, 1\)$"),
    (np.eye(2), r"an array of shape \(2, 2\)$"),
    (np.ma.masked, r"masked \(numpy\.ma.*MaskedConstant\)"),
    (np.ma.array([1.0], mask=[True]), "MaskedArray"),
    ({"value": 1.0}, r"\(dict\)"),
    ({1.0}, r"\(set\)"),
    (lambda: 1.0, r"\(function\)"),
    (np.ndarray, r"<class 'numpy\.ndarray'> \(type\)"),
    (10**400, r"\(int\): int too large"),
    pytest.param(10**5000, "a value whose repr fails", id="huge"),
    (Unprintable(), r"a value whose repr fails \(.*Unprintable\)"),
    (Tensor("a"), "dtype <U1"),
    (Tensor(RuntimeError("needs detach()")), r"needs detach\(\)"),
    ("x" * 1000, r"'x{70,80}\.\.\. \(str\)"),
]


@pytest.mark.parametrize(("raw", "what"), NEVER)
@pytest.mark.parametrize(("vector", "wanted"), [(False, "a number"), (True, "a number or a one-dimensional array")])
def test_what_is_no_value_is_named(raw: Any, what: str, vector: bool, wanted: str) -> None:
    with pytest.raises(BadValueError, match=what) as caught:
        as_value(raw, vector=vector)
    assert str(caught.value).startswith(f"J must return {wanted}; it returned ")
    assert len(str(caught.value)) < 300
    assert caught.value.status == Status.ERROR


@pytest.mark.parametrize("raw", [[1.0], (1.0,), [], [[1.0]]])
def test_a_list_is_no_number(raw: Any) -> None:
    with pytest.raises(BadValueError, match=r"J must return a number; it returned .*\((list|tuple)\)"):
        as_value(raw, vector=False)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        ([], r"shape \(0,\)"),
        ([[1.0]], r"shape \(1, 1\)"),
        ([1.0, [2.0]], r"\(list\)"),
        ([1.0, "2"], "dtype <U"),
        ([1.0, None], "dtype object"),
        ([1.0, True], r"\(list\)"),
        ((1.0, np.False_), r"\(tuple\)"),
        ([1.0, 2j], "dtype complex128"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "MaskedArray"),
    ],
)
def test_lists_and_arrays_that_are_no_vector(raw: Any, what: str) -> None:
    with pytest.raises(BadValueError, match=what):
        as_value(raw, vector=True)


def test_several_outputs_for_a_gradient_are_told_of_jacobian() -> None:
    with pytest.raises(BadValueError, match=r"an array of shape \(2,\); for several outputs use jacobian"):
        as_value(np.ones(2), vector=False)


@pytest.mark.parametrize("bad", [float("nan"), INF, -INF, np.float32("nan"), np.array(INF), np.longdouble("1e4000")])
@pytest.mark.parametrize("vector", [False, True])
def test_a_number_that_is_not_finite(bad: Any, vector: bool) -> None:
    with pytest.raises(BadValueError, match=r"^J returned (nan|inf|-inf)$"):
        as_value(bad, vector=vector)


def test_a_vector_that_is_not_finite_says_where() -> None:
    with pytest.raises(BadValueError, match=r"^J returned -inf at output 2 and 1 more of 4$"):
        as_value([0.0, 1.0, -INF, float("nan")], vector=True)


def test_a_value_is_a_copy() -> None:
    own = np.ones(3)
    value = as_value(own, vector=True)
    own[:] = 7
    assert value.tolist() == [1, 1, 1]


# What goes wrong in J


def test_an_exception_is_told_with_ones_own_frames_alone() -> None:
    def inner(x: Any) -> float:
        raise ValueError("negative\n  width")

    def outer(x: Any) -> float:
        return inner(x)

    found = failure(outer)
    assert found.status == Status.ERROR
    assert found.text == "ValueError: negative width"
    assert isinstance(found.exception, ValueError)
    lines = found.detail.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "in outer" in lines[1]
    assert "distfd/workers/worker.py" not in found.detail
    assert "objectives/python.py" not in found.detail
    assert "in inner" in found.detail


def test_the_cause_of_an_exception_is_told_too() -> None:
    def fun(x: Any) -> float:
        try:
            return 1 / 0
        except ZeroDivisionError as error:
            raise RuntimeError("no step") from error

    assert "ZeroDivisionError" in failure(fun).detail


def test_a_program_that_j_ran_and_captured_is_heard() -> None:
    def fun(x: Any) -> float:
        subprocess.run(["sh", "-c", "echo line 3: unknown key >&2; exit 3"], capture_output=True, check=True)
        return 0.0

    assert failure(fun).detail.endswith("--- the program's stderr:\nline 3: unknown key\n")


def test_a_long_story_is_cut_at_its_beginning() -> None:
    def fun(x: Any) -> float:
        raise ValueError("a" * 100_000 + "the end")

    found = failure(fun)
    assert len(found.text) < 600
    assert len(found.detail) <= 20_000
    assert found.detail.endswith("the end\n")


@pytest.mark.parametrize(
    ("code", "text"),
    [(3, "J called sys.exit(3)"), (None, "J called sys.exit(None)"), (Unprintable(), "J called sys.exit(a value")],
)
def test_sys_exit_is_a_failed_evaluation(code: Any, text: str) -> None:
    found = failure(lambda x: sys.exit(code))
    assert found.text.startswith(text)
    assert found.status == Status.ERROR
    assert isinstance(found.exception, SystemExit)


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Oddity(BaseException):
    pass


def test_an_exception_that_cannot_be_read() -> None:
    def fun(x: Any) -> float:
        raise MuteError

    found = failure(fun)
    assert found.text == "MuteError: (its message cannot be read)"
    assert "MuteError" in found.detail


def test_an_exception_without_words() -> None:
    def fun(x: Any) -> float:
        raise KeyError

    assert failure(fun).text == "KeyError"


@pytest.mark.parametrize("error", [Oddity("x"), GeneratorExit("x"), MemoryError("x"), RecursionError("x")])
def test_whatever_is_raised_is_recorded(error: BaseException) -> None:
    def fun(x: Any) -> float:
        raise error

    found = failure(fun)
    assert found.text == f"{type(error).__name__}: x"
    assert found.exception is error


def test_endless_recursion() -> None:
    def fun(x: Any) -> Any:
        return fun(x)

    found = failure(fun)
    assert found.text.startswith("RecursionError")
    assert len(found.detail) <= 20_000


def test_ctrl_c_passes() -> None:
    def fun(x: Any) -> float:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(fun)


def test_ctrl_c_in_the_middle_of_a_chunk_leaves_what_was_finished() -> None:
    def fun(x: Any) -> float:
        if x[0] == 2:
            raise KeyboardInterrupt
        return float(x[0])

    with SerialExecutor() as executor:
        executor.open(PythonObjective(fun))
        executor.submit(0, chunk(4))
        (done,) = executor.wait(0.0)
        assert isinstance(done, ChunkDone)
        assert done.batch.flat.tolist() == [0.0, 1.0]
        with pytest.raises(KeyboardInterrupt):
            executor.wait(0.0)
        assert executor.wait(0.0) == [], "it is raised once"


class Own(EvaluationFailure):
    status = Status.CANCELLED


class OwnMute(EvaluationFailure):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (EvaluationFailure("why", "log"), Status.ERROR),
        (ProgramCrash("why", "log"), Status.CRASH),
        (ProgramTimeout("why", "log"), Status.TIMEOUT),
        (Own("why", "log"), Status.CANCELLED),
    ],
)
def test_a_failure_that_knows_its_status(error: EvaluationFailure, status: Status) -> None:
    def fun(x: Any) -> float:
        raise error

    assert failure(fun) == Failure(status, "why", "log", error)


def test_a_known_failure_that_cannot_be_read() -> None:
    def fun(x: Any) -> float:
        raise OwnMute("x")

    assert failure(fun).text == "(its message cannot be read)"


def test_a_failed_point_leaves_the_others_alone() -> None:
    def fun(x: NDArray[np.float64]) -> Any:
        return "?" if x[0] == 1 else x.sum()

    batch = run(fun, 3)
    assert batch.status.tolist() == [Status.OK, Status.ERROR, Status.OK]
    assert batch.size.tolist() == [1, 0, 1]
    assert batch.flat.tolist() == [10.0, 14.0]
    assert list(batch.failures) == [6]


# Chunks


def test_a_batch_says_when_and_where() -> None:
    before = time.time()
    batch = run(slow, 2)
    assert batch.index.tolist() == [5, 6]
    assert batch.attempt.tolist() == [1, 1]
    assert batch.pid == os.getpid()
    assert batch.host
    assert before <= batch.started[0] <= batch.ended[0] <= batch.started[1] <= batch.ended[1]
    assert (batch.ended - batch.started >= 0.02).all()


def test_vectors_of_different_lengths() -> None:
    batch = run(lambda x: np.arange(x[0] + 1), 3, vector=True)
    assert batch.size.tolist() == [1, 2, 3]
    assert batch.flat.tolist() == [0, 0, 1, 0, 1, 2]


@pytest.mark.parametrize(("spent_at", "done"), [(0, 1), (2, 3), (9, 5)])
def test_a_chunk_is_handed_back_when_its_budget_is_spent(
    spent_at: int, done: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("distfd.workers.worker.time.monotonic", lambda: now)

    def fun(x: NDArray[np.float64]) -> float:
        nonlocal now
        now += 100.0 if x[0] == spent_at else 0.0
        return float(x[0])

    batch = run(fun, 5, budget=60.0)
    assert batch.index.tolist() == list(range(5, 5 + done))
    assert batch.flat.tolist() == list(range(done))


def test_no_budget_at_all_is_enough_for_one_point() -> None:
    assert len(run(slow, 5, budget=0.0)) == 1


def test_j_may_keep_and_overwrite_its_x() -> None:
    kept = []

    def fun(x: NDArray[np.float64]) -> float:
        value = float(x.sum())
        kept.append(x)
        x[:] = -1e9
        return value

    x = np.array([0.0, 10.0])
    x.setflags(write=False)
    points = Points(x, np.array([0, 1, 1]), np.array([0]), np.array([5.0]))
    batch = Worker(PythonObjective(fun)).run(EvaluationChunk(0, np.arange(2), points, False, None, 60.0))
    assert batch.flat.tolist() == [15.0, 10.0]
    assert kept[0] is not kept[1]
    assert x.tolist() == [0.0, 10.0]


def test_the_timeout_is_passed_on() -> None:
    given = []

    class Model:
        def evaluate(self, x: NDArray[np.float64], *, timeout: float | None) -> float:
            given.append(timeout)
            return 0.0

        def close(self) -> None:
            pass

    class Objective:
        limits_itself = True

        def fingerprint(self) -> None:
            return None

        def make(self) -> Model:
            return Model()

    Worker(as_objective(Objective())).run(chunk(2, timeout=7.0))
    assert given == [7.0, 7.0]


# The model


class Simulator:
    made = 0
    closed = 0

    def __init__(self, error: BaseException | None = None) -> None:
        type(self).made += 1
        if error is not None:
            raise error

    def evaluate(self, x: NDArray[np.float64]) -> float:
        return float(x[0])

    def close(self) -> None:
        type(self).closed += 1
        if type(self).closed > 1:
            raise RuntimeError("will not close")


@pytest.fixture(autouse=True)
def _fresh_simulator() -> None:
    Simulator.made = Simulator.closed = 0


def test_a_model_is_made_once_and_closed_once() -> None:
    worker = Worker(SimulatorObjective(Simulator))
    worker.prepare()
    for _ in range(3):
        worker.run(chunk(4))
    worker.close()
    worker.close()
    assert (Simulator.made, Simulator.closed) == (1, 1)


def test_a_worker_that_was_never_used_makes_and_closes_nothing() -> None:
    Worker(SimulatorObjective(Simulator)).close()
    assert (Simulator.made, Simulator.closed) == (0, 0)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError("no licence"), "OSError: no licence"),
        (SystemExit(2), "J called sys.exit(2)"),
        (ProgramCrash("gone"), "gone"),
    ],
)
def test_a_model_that_cannot_be_made_is_told_by_the_points(error: BaseException, text: str) -> None:
    worker = Worker(SimulatorObjective(Simulator, (error,)))
    worker.prepare()
    for _ in range(2):
        batch = worker.run(chunk(2))
        assert batch.failures[5].text == text
        assert batch.status[0] != Status.OK
    worker.close()


def test_a_model_that_does_not_close_is_told_but_raises_nothing() -> None:
    Simulator.closed = 1
    worker = Worker(SimulatorObjective(Simulator))
    worker.run(chunk(1))
    with pytest.warns(UserWarning, match=r"J's close\(\) failed: RuntimeError: will not close"):
        worker.close()
