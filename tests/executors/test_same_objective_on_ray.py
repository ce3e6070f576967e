"""Workers evaluate the J that the driver has: its modules as they are there, its state, its surroundings."""

from __future__ import annotations

import decimal
import importlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import distfd
from distfd.objectives.function import PythonObjective
from distfd.results.events import SlotStarted
from distfd.workers.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from distfd.results.events import Event

X = [1.0, 2.0]
HELPER = """
import os, random, threading, time
K = 2.0
TABLE = {"k": 1.0}
PID = os.getpid()
TOKEN = random.SystemRandom().random()
STARTED = time.time()
LOCK = threading.Lock()
COMPUTED = sum([1.0])
class Kind:
    scale = 1.0
    def __init__(self): self.own = 1.0
    def call(self, s): return self.scale * self.own * s
    @staticmethod
    def fixed(s): return s
THE = Kind()
def f(s): return K * s
def whole(x, factor=1.0):
    s = float(x @ x)
    return factor * TABLE["k"] * COMPUTED * Kind.fixed(THE.call(f(s)))
def own_pid():
    with LOCK:
        return float(PID == os.getpid() and TOKEN > 0 and STARTED > 0)
"""
READER = """
import same_helper
from same_helper import THE, f
A = 1.0
class Model:
    gain = 1.0
    def J(self, x): return self.gain * A * same_helper.whole(x)
def J(x): return A * same_helper.whole(x)
def local(x):
    from same_helper import whole
    return whole(x)
def pid(x): return same_helper.own_pid() * float(x @ x)
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    """(helper, reader), imported from files."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "same_helper.py").write_text(HELPER)
    (tmp_path / "same_reader.py").write_text(READER)
    importlib.invalidate_caches()
    yield importlib.import_module("same_helper"), importlib.import_module("same_reader")
    for name in ("same_helper", "same_reader"):
        del sys.modules[name]


@pytest.fixture
def executor(private_ray: None) -> Iterator[distfd.RayExecutor]:
    made = distfd.RayExecutor(max_slots=2)
    yield made
    made.close()


def gradient_on(executor: distfd.RayExecutor, fun: Any, **options: Any) -> list[float]:
    with distfd.Evaluator(fun, executor=executor, **options) as evaluator:
        return [float(each) for each in evaluator.gradient(X)]


def times(factor: float) -> Any:
    return pytest.approx([2.0 * factor, 4.0 * factor], rel=1e-6)


def test_whatever_was_set_in_a_module(modules: tuple[Any, Any], executor: distfd.RayExecutor) -> None:
    helper, reader = modules
    helper.K = 5.0
    with distfd.Evaluator(reader.J, executor=executor) as evaluator:
        assert evaluator.gradient(X) == times(5.0)
        helper.K = 2.0  # what the file says again
        assert evaluator.gradient(X) == times(2.0)
        reader.A = 3.0
        assert evaluator.gradient(X) == times(6.0)
        helper.TABLE["k"] = 2.0
        assert evaluator.gradient(X) == times(12.0)
        helper.Kind.scale = 0.5
        assert evaluator.gradient(X) == times(6.0)
        helper.THE.own = 4.0
        assert evaluator.gradient(X) == times(24.0)
        helper.COMPUTED = 0.5  # the file does not tell what this was: a fresh import does
        assert evaluator.gradient(X) == times(12.0)
        helper.whole.__defaults__ = (2.0,)
        assert evaluator.gradient(X) == times(24.0)
        helper.f = lambda s: 10.0 * s
        assert evaluator.gradient(X) == times(120.0)
        helper.Kind.fixed = staticmethod(lambda s: 0.1 * s)
        assert evaluator.gradient(X) == times(12.0)
        helper.Kind.call = lambda self, s: s + helper.K
        assert evaluator.gradient(X) == times(6.0)
    # The same J in this process.
    assert gradient_on(executor, reader.J) == times(6.0)
    assert distfd.gradient(reader.J, X, executor="serial") == times(6.0)


@pytest.mark.parametrize("name", ["J", "local", "Model"])
def test_a_module_that_was_edited_and_not_imported_anew(
    name: str, modules: tuple[Any, Any], executor: distfd.RayExecutor, tmp_path: Path
) -> None:
    _, reader = modules
    fun = reader.Model().J if name == "Model" else getattr(reader, name)
    text = HELPER.replace("K = 2.0", "K = 200.0").replace("return K * s", "raise ValueError('edited')")
    (tmp_path / "same_helper.py").write_text(text)
    (tmp_path / "same_reader.py").write_text(READER.replace("same_helper.whole(x)", "0.0"))
    assert gradient_on(executor, fun) == times(2.0)


def test_a_module_that_was_edited_and_imported_anew(
    modules: tuple[Any, Any], executor: distfd.RayExecutor, tmp_path: Path
) -> None:
    helper, reader = modules
    with distfd.Evaluator(reader.J, executor=executor) as evaluator:
        assert evaluator.gradient(X) == times(2.0)
        (tmp_path / "same_helper.py").write_text(HELPER.replace("K * s", "K * s * 3"))
        assert evaluator.gradient(X) == times(2.0)
        importlib.reload(helper)
        assert evaluator.gradient(X) == times(6.0)


def test_what_belongs_to_a_process_stays_its_own(modules: tuple[Any, Any], executor: distfd.RayExecutor) -> None:
    _, reader = modules
    assert gradient_on(executor, reader.pid) == times(1.0)


def test_what_cannot_be_sent_is_told_before_anything_is_stored(
    modules: tuple[Any, Any], executor: distfd.RayExecutor, tmp_path: Path
) -> None:
    helper, reader = modules
    helper.K = threading.Lock()
    with pytest.raises(distfd.InputError) as raised:
        gradient_on(executor, reader.J, store=tmp_path / "s.sqlite", version="1")
    assert raised.value.exit_code == 2
    told = str(raised.value)
    assert "same_helper.K is <unlocked _thread.lock" in told
    assert "and 2.0 where same_helper is imported afresh" in told
    helper.K = 2.0
    with distfd.Evaluator(reader.J, executor=executor, store=tmp_path / "s.sqlite", version="1") as evaluator:
        result = evaluator.differentiate(X)
    assert (result.n_reused, list(result.derivative)) == (0, times(2.0))


def test_values_are_stored_under_the_key_of_the_j_that_they_are_of(
    modules: tuple[Any, Any], executor: distfd.RayExecutor, tmp_path: Path
) -> None:
    helper, reader = modules
    for fun in (reader.J, reader.local):
        for k in (5.0, 2.0, 5.0):
            helper.K = k
            assert gradient_on(executor, fun, store=tmp_path / "s.sqlite") == times(k)
            with distfd.Evaluator(fun, executor="serial", store=tmp_path / "s.sqlite") as evaluator:
                result = evaluator.differentiate(X)
            assert list(result.derivative) == times(k)
            assert (result.n_evaluations, result.n_reused >= 3) == (0, True)


def test_state_that_changes_between_two_calls(modules: tuple[Any, Any], executor: distfd.RayExecutor) -> None:
    _, reader = modules
    model, args = reader.Model(), [1.0]
    started: list[int] = []

    def see(event: Event) -> None:
        if isinstance(event, SlotStarted):
            started.append(event.pid)

    with distfd.Evaluator(model.J, executor=executor, observers=[see]) as evaluator:
        evaluator.start(wait=True)
        before = set(started)
        assert evaluator.value(X) == 10.0
        model.gain = 2
        assert evaluator.gradient(X) == times(4.0)
        reader.Model.gain = 7.0
        del model.gain
        assert evaluator.gradient(X) == times(14.0)
        # By the same processes.
        assert set(started) == before
    with distfd.Evaluator(lambda x, a: float(a[0] * (x @ x)), args=(args,), executor=executor) as evaluator:
        assert evaluator.value(X) == 5.0
        args[0] = 2.0
        assert evaluator.gradient(X) == times(2.0)


def test_a_wave_that_was_begun_is_of_the_j_that_it_was_begun_with(executor: distfd.RayExecutor) -> None:
    args = [1.0]
    with distfd.Evaluator(lambda x, a: float(a[0] * (x @ x)), args=(args,), executor=executor) as evaluator:
        pending = evaluator.begin(X)
        args[0] = 2.0
        assert pending.result().derivative == times(1.0)
        assert evaluator.gradient(X) == times(2.0)


def test_the_surroundings_follow_on_every_call(
    executor: distfd.RayExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen(_: Any) -> Any:
        return (
            os.environ.get("LOAD"),
            str(Path.cwd()),
            np.geterr()["over"],
            decimal.getcontext().prec,
            sys.argv[1:],
            sys.getrecursionlimit(),
            time.timezone,
        )

    def fun(x: Any) -> float:
        return float(os.environ.get("LOAD", "1")) * float(x @ x)

    monkeypatch.setattr(sys, "argv", ["program", "one"])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "below").mkdir()
    limit = sys.getrecursionlimit()
    with distfd.Evaluator(fun, executor=executor) as evaluator, np.errstate(), decimal.localcontext():
        assert evaluator.gradient(X) == times(1.0)
        assert evaluator.map_function(seen, [0]) == [seen(0)]
        monkeypatch.setenv("LOAD", "3")
        assert evaluator.gradient(X) == times(3.0)
        monkeypatch.setenv("TZ", "XYZ3")
        assert evaluator.map_function(seen, [0]) == [seen(0)]  # it is read by time.tzset()
        time.tzset()
        monkeypatch.chdir(tmp_path / "below")
        np.seterr(over="raise")
        decimal.getcontext().prec = 7
        sys.argv.append("two")
        sys.setrecursionlimit(limit + 1000)
        try:
            assert evaluator.map_function(seen, [0, 1, 2]) == [seen(0)] * 3
            assert time.timezone == 3 * 3600
        finally:
            sys.setrecursionlimit(limit)
            monkeypatch.delenv("TZ")
            time.tzset()
        assert seen(0)[:5] == ("3", str(tmp_path / "below"), "raise", 7, ["one", "two"])
        monkeypatch.delenv("LOAD")
        assert evaluator.gradient(X) == times(1.0)


def test_a_host_without_the_directory_is_an_error_that_names_it(executor: distfd.RayExecutor) -> None:
    nowhere = PythonObjective(len).within(Surroundings(directory="/no/such/folder"))
    executor.open(nowhere)
    with pytest.raises(distfd.InputError, match="the working directory /no/such/folder is not on "):
        _wait_for_news(executor)


def _wait_for_news(executor: distfd.RayExecutor) -> None:
    for _ in range(600):
        executor.wait(0.1)


def test_a_map_calls_the_function_as_it_is(modules: tuple[Any, Any], executor: distfd.RayExecutor) -> None:
    helper, _ = modules
    state = {"k": 1.0}

    def fun(x: float) -> float:
        return state["k"] * x

    with distfd.Evaluator(len, executor=executor) as evaluator:
        for k in (1.0, 2.0, 1.0):
            state["k"] = k
            assert evaluator.map_function(fun, [1.0, 2.0, 3.0]) == [k, 2 * k, 3 * k]
        for k in (5.0, 7.0, 2.0):
            helper.K = k
            assert evaluator.map_function(helper.f, [1.0, 2.0, 3.0]) == [k, 2 * k, 3 * k]
        helper.K = threading.Lock()
        with pytest.raises(distfd.InputError, match=r"same_helper\.K is <unlocked"):
            evaluator.map_function(helper.f, [1.0])


def test_a_program_sees_what_its_options_say(executor: distfd.RayExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    objective = distfd.CommandObjective(
        ["sh", "-c", "echo ${LOAD-unset}"], outputs={"J": {"file": "stdout", "regex": "(.+)"}}, env={"LOAD": "4"}
    )
    with distfd.Evaluator(objective, executor=executor) as evaluator:
        monkeypatch.setenv("LOAD", "3")
        assert evaluator.value([1.0]) == 4.0


def test_a_simulator_is_set_up_anew_for_another_state(executor: distfd.RayExecutor) -> None:
    class Simulator:
        def __init__(self, load: list[float]) -> None:
            self.load = load[0]

        def reset(self) -> None: ...

        def evaluate(self, x: Any) -> float:
            return self.load * float(x @ x)

    load = [1.0]
    with distfd.Evaluator(Simulator, args=(load,), executor=executor) as evaluator:
        for k in (1.0, 3.0, 2.0):
            load[0] = k
            assert evaluator.gradient(X) == times(k)
