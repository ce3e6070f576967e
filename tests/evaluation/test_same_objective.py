"""All values that a derivative is made of are of the same J, whatever was changed between two calls."""

from __future__ import annotations

import decimal
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.objectives.function import PythonObjective
from distfd.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

X = [1.0, 2.0]


class Model:
    def __init__(self) -> None:
        self.load = 1.0
        self.calls = 0

    def fun(self, x: Any) -> float:
        self.calls += 1
        return float(self.load * (x @ x))


def test_a_bound_methods_object() -> None:
    model = Model()
    with distfd.Evaluator(model.fun, executor="serial") as evaluator:
        assert evaluator.value(X) == 5.0
        model.load = 2
        assert evaluator.gradient(X) == pytest.approx([4.0, 8.0], rel=1e-6)
        assert evaluator.value(X) == 10.0


@pytest.mark.parametrize(
    ("args", "change"),
    [
        ([1.0], lambda a: a.__setitem__(0, 2.0)),
        (np.array([1.0]), lambda a: a.__setitem__(0, 2.0)),
        ({0: 1.0}, lambda a: a.update({0: 2.0})),
    ],
)
def test_arguments_changed_in_place(args: Any, change: Callable[[Any], None]) -> None:
    with distfd.Evaluator(lambda x, a: float(a[0] * (x @ x)), args=(args,), executor="serial") as evaluator:
        assert evaluator.value(X) == 5.0
        change(args)
        assert evaluator.gradient(X) == pytest.approx([4.0, 8.0], rel=1e-6)


def test_what_is_given_before_the_first_call_counts(tmp_path: Path) -> None:
    model = Model()
    for load in (2.0, 1.0):
        with distfd.Evaluator(model.fun, executor="serial", store=tmp_path / "s.sqlite") as evaluator:
            model.load = load  # after the Evaluator was made, and before it is used
            assert evaluator.value(X) == 5.0 * load


def test_a_call_alike_takes_what_is_known() -> None:
    model = Model()
    with distfd.Evaluator(model.fun, executor="serial") as evaluator:
        assert evaluator.value(X) == 5.0
        result = evaluator.differentiate(X)
        # J has counted its calls, which is its own affair.
        assert (result.n_evaluations, result.n_reused) == (2, 1)
        assert model.calls == 3


def test_values_of_each_state_are_found_again_in_a_store() -> None:
    model, store = Model(), MemoryStore()
    del model.calls
    fun = _without_counting(model)
    with distfd.Evaluator(fun, executor="serial", store=store) as evaluator:
        for load in (1.0, 2.0):
            model.load = load
            assert evaluator.value(X) == 5.0 * load
    model.load = 1.0
    with distfd.Evaluator(fun, executor="serial", store=store) as evaluator:
        assert evaluator.differentiate(X).n_reused == 1


def _without_counting(model: Model) -> Callable[[Any], float]:
    return lambda x: float(model.load * (x @ x))


@pytest.mark.parametrize(
    "change",
    [
        lambda _: os.environ.__setitem__("LOAD", "2"),
        lambda folder: os.chdir(folder / "two"),
        lambda _: setattr(decimal.getcontext(), "prec", 2),
        lambda _: np.seterr(under="raise"),
        lambda _: sys.argv.append("--two"),
    ],
    ids=["environment", "directory", "decimal", "numpy", "arguments"],
)
def test_what_j_sees_of_the_process(
    change: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOAD", "1")
    monkeypatch.setattr(sys, "argv", ["program"])

    def load() -> float:
        two = (
            os.environ["LOAD"] == "2"
            or Path.cwd().name == "two"
            or decimal.getcontext().prec == 2
            or np.geterr()["under"] == "raise"
            or "--two" in sys.argv
        )
        return 2.0 if two else 1.0

    evaluator = distfd.Evaluator(lambda x: float(load() * (x @ x)), executor="serial")
    with np.errstate(), decimal.localcontext():
        assert evaluator.value(X) == 5.0
        change(tmp_path)
        assert evaluator.gradient(X) == pytest.approx([4.0, 8.0], rel=1e-6)


def test_a_variable_that_was_set_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = PythonObjective(len)
    before = objective.fingerprint()
    monkeypatch.setenv("SOME_MODELS_VARIABLE", "1")
    one = objective.fingerprint()
    monkeypatch.setenv("SOME_MODELS_VARIABLE", "2")
    two = objective.fingerprint()
    monkeypatch.delenv("SOME_MODELS_VARIABLE")
    assert len({before, one, two}) == 3
    assert objective.fingerprint() == before
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.setenv("RAY_SOMETHING", "7")
    assert objective.fingerprint() == before


def test_begun_in_this_process_and_changed_before_its_result_is_told() -> None:
    model = Model()
    with distfd.Evaluator(model.fun, executor="serial") as evaluator:
        pending = evaluator.begin(X)
        model.load = 2.0
        with pytest.raises(distfd.InputError, match=r"changed between begin\(\) and result\(\)"):
            pending.result()
        assert evaluator.gradient(X) == pytest.approx([4.0, 8.0], rel=1e-6)


def test_begun_and_unchanged_it_has_its_result() -> None:
    model = Model()
    with distfd.Evaluator(model.fun, executor="serial") as evaluator:
        pending = evaluator.begin(X)
        assert pending.value() == 5.0
        assert pending.result().derivative == pytest.approx([2.0, 4.0], rel=1e-6)


def test_a_structure_that_was_found_is_found_anew() -> None:
    state = [0]

    def fun(x: Any) -> Any:
        return np.array([x[0] ** 2, x[1] ** 2 + state[0] * x[0]])

    with distfd.Evaluator(fun, executor="serial") as evaluator:
        first = evaluator.jacobian(np.array([1.0, 2.0]), sparsity="probe").toarray()
        state[0] = 3
        second = evaluator.jacobian(np.array([1.0, 2.0]), sparsity="probe").toarray()
    assert first == pytest.approx(np.array([[2.0, 0.0], [0.0, 4.0]]), abs=1e-6)
    assert second == pytest.approx(np.array([[2.0, 0.0], [3.0, 4.0]]), abs=1e-6)


def test_steps_are_those_of_the_new_ones_digits() -> None:
    model: Any = Model()
    model.type = np.float32

    def fun(x: Any) -> Any:
        return model.type(model.load * (x @ x))

    with distfd.Evaluator(fun, executor="serial") as evaluator:
        with pytest.warns(distfd.DerivativeWarning, match="float32"):
            assert min(evaluator.differentiate(X).step) > 1e-4
        model.type = np.float64
        result = evaluator.differentiate(X)
    assert result.step == pytest.approx(1.5e-8 * np.abs(X), rel=0.01)
    assert result.derivative == pytest.approx([2.0, 4.0], rel=1e-7)
    assert result.n_evaluations == 3


def test_no_warm_start_from_a_state_of_another_j() -> None:
    class Simulator:
        def __init__(self, load: list[float]) -> None:
            self.load, self.state = load, 0.0

        def snapshot(self) -> float:
            return self.state

        def restore(self, state: float) -> None:
            self.state = state

        def evaluate(self, x: Any) -> float:
            self.state = self.state + 1.0
            return float(self.load[0] * x.sum() + 1000.0 * (self.state - 1.0))

    load = [1.0]
    with distfd.Evaluator(Simulator, args=(load,), executor="serial", warm="iterate") as evaluator:
        assert evaluator.value([1.0]) == 1.0
        assert evaluator.value([2.0]) == 1002.0
        load[0] = 2.0
        assert evaluator.value([3.0]) == 6.0


def test_two_evaluators_that_share_an_executor_are_never_mixed() -> None:
    executor = distfd.SerialExecutor()
    one = distfd.Evaluator(lambda x: float(x @ x), executor=executor)
    other = distfd.Evaluator(lambda x: float(100.0 * (x @ x)), executor=executor)
    pending = one.begin(X)
    assert other.value(X) == 500.0
    assert pending.done, "the other call has finished it first"
    assert pending.result().derivative == pytest.approx([2.0, 4.0], rel=1e-6)
    assert one.gradient([2.0, 3.0]) == pytest.approx([4.0, 6.0], rel=1e-6)
    other.close()
    assert one.gradient([3.0, 4.0]) == pytest.approx([6.0, 8.0], rel=1e-6)


def test_values_of_another_session_that_has_taken_the_slots_are_refused() -> None:
    executor = distfd.SerialExecutor()
    one = distfd.Evaluator(lambda x: float(x @ x), executor=executor)
    pending = one.begin(X)
    executor.open(PythonObjective(lambda x: float(100.0 * (x @ x))))  # past the turn
    with pytest.raises(distfd.InputError, match="another Evaluator has used this executor"):
        pending.result()


def test_optimising_with_an_object_that_the_caller_changes() -> None:
    model = Model()
    with distfd.Evaluator(model.fun, executor="serial") as evaluator:
        for load in (1.0, 10.0, 0.1):
            model.load = load
            value, gradient = evaluator.value_and_gradient(X)
            assert value == pytest.approx(5.0 * load)
            assert gradient == pytest.approx([2.0 * load, 4.0 * load], rel=1e-6)
