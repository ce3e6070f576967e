"""When a directional check rides along: what it costs, who decides, and that a resumed run decides alike."""

from __future__ import annotations

import contextlib
import itertools
import os
import time
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.optimize import rosen
from solving import bits

import distfd
from distfd.evaluation.optional_choice import LEFT_OUT, SPENT, TAKEN
from distfd.results import events
from distfd.stores.memory import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


class Wide(distfd.SerialExecutor):
    """As many slots as a test wants, on paper."""

    def __init__(self, slots: int, *, free: bool = True) -> None:
        super().__init__()
        self.slots = slots
        self._free = free

    @property
    def idle_slots_are_free(self) -> bool:
        return self._free


class Counted:
    """J that counts, and may do something at the n-th call or where several coordinates have moved from x."""

    def __init__(
        self, x: Any, there: Callable[[], Any] | None = None, at_call: tuple[int, BaseException] | None = None
    ) -> None:
        self.x, self.there, self.at_call, self.calls = np.asarray(x, dtype=float), there, at_call, 0

    def __call__(self, x: Floats) -> float:
        self.calls += 1
        if self.at_call is not None and self.calls == self.at_call[0]:
            raise self.at_call[1]
        if self.there is not None and np.count_nonzero(x != self.x) > 1:
            self.there()
        return float(np.sin(x).sum() + x[0] * x[-1])


def x_of(d: int) -> Floats:
    return np.linspace(0.3, 2.0, d)


def fail() -> None:
    raise ValueError("not here")


def test_a_wave_of_14_coordinates_on_16_slots_has_16_evaluations_and_one_round() -> None:
    fun, seen = Counted(x_of(14)), []

    def watch(event: events.Event) -> None:
        seen.append(event)

    result = distfd.differentiate(fun, x_of(14), executor=Wide(16), observers=[watch])
    assert result.n_evaluations == fun.calls == 16
    (started,) = [event for event in seen if isinstance(event, events.WaveStarted)]
    assert (started.n_points, started.slots) == (16, 16)
    assert result.consistency is not None
    assert (result.consistency.verdict, result.consistency.n_evaluations) == ("consistent", 1)
    assert result.warnings == ()
    plain = distfd.differentiate(fun, x_of(14), executor="serial")
    assert bits(result.derivative) == bits(plain.derivative)
    assert plain.n_evaluations == 15
    assert "check: consistent" in repr(result)


def told_of_checks(result: distfd.DerivativeResult) -> list[str]:
    """The lines on checks in what a terminal and a notebook show; both have the same."""
    lines = [line for line in repr(result).splitlines() if line.startswith("check: ")]
    assert all(f"<div>{line}</div>" in result._repr_html_() for line in lines)
    return lines


@pytest.mark.parametrize(
    ("d", "scheme", "extra", "said"),
    [
        (3, "forward", 1, "check: none (check=True adds 1 evaluation)"),
        (7, "central", 2, "check: none (check=True adds 2 evaluations)"),
    ],
)
def test_a_derivative_without_a_check_says_so_and_what_one_takes(d: int, scheme: Any, extra: int, said: str) -> None:
    def fun(x: Any) -> Any:
        return np.sin(x).sum()

    alone = distfd.differentiate(fun, x_of(d), scheme=scheme, executor=Wide(2))
    assert alone.consistency is None
    assert told_of_checks(alone) == [said]
    checked = distfd.differentiate(fun, x_of(d), scheme=scheme, executor=Wide(2), check=True)
    assert checked.n_evaluations == alone.n_evaluations + extra
    assert [line.partition(" with")[0].split(":")[1] for line in told_of_checks(checked)] == [" consistent"]
    assert checked.unchecked == 0


@pytest.mark.parametrize(
    "options", [{"check": False}, {"step": "auto"}, {"scheme": "richardson"}, {"scheme": "complex-step"}], ids=str
)
def test_where_none_is_wanted_or_error_bars_stand_in_its_place_nothing_is_said_of_checks(options: Any) -> None:
    def fun(x: Any) -> Any:
        return np.sin(x).sum()

    result = distfd.differentiate(fun, x_of(3), executor=Wide(2), **options)
    assert result.unchecked == 0
    assert not any("none" in line for line in told_of_checks(result))


@pytest.mark.parametrize(
    ("d", "scheme", "slots", "extra"),
    [
        (15, "forward", 16, 0),
        (14, "forward", 15, 0),
        (13, "forward", 16, 1),
        (2, "forward", 2, 1),
        (3, "forward", 2, 0),
        (3, "forward", 1, 0),
        (7, "central", 16, 0),
        (6, "central", 16, 2),
        (7, "central", 17, 2),
        (7, "forward2", 17, 2),
        (3, "central4", 16, 2),
    ],
)
def test_it_rides_where_it_costs_no_round(d: int, scheme: Any, slots: int, extra: int) -> None:
    def fun(x: Any) -> Any:
        return np.sin(x).sum()

    result = distfd.differentiate(fun, x_of(d), scheme=scheme, executor=Wide(slots))
    plain = distfd.differentiate(fun, x_of(d), scheme=scheme, executor=Wide(slots), check=False)
    assert result.n_evaluations == plain.n_evaluations + extra
    assert (result.consistency is not None) == bool(extra)
    assert plain.consistency is None
    assert bits(result.derivative) == bits(plain.derivative)
    always = distfd.differentiate(fun, x_of(d), scheme=scheme, executor="serial", check=True)
    assert always.consistency is not None
    assert always.n_evaluations == plain.n_evaluations + always.consistency.n_evaluations
    assert always.consistency.n_evaluations == (1 if scheme == "forward" else 2)


def test_points_that_are_known_leave_room_for_it() -> None:
    with distfd.Evaluator(Counted(x_of(15)), executor=Wide(15)) as evaluator:
        evaluator.value(x_of(15))
        assert evaluator.differentiate(x_of(15)).consistency is None
    with distfd.Evaluator(Counted(x_of(14)), executor=Wide(15)) as evaluator:
        evaluator.value(x_of(14))
        result = evaluator.differentiate(x_of(14))
        assert result.consistency is not None
        assert (result.n_evaluations, result.n_reused) == (15, 1)
        again = evaluator.differentiate(x_of(14))
        assert (again.n_evaluations, again.n_reused) == (0, 16)
        assert again.consistency is not None
        assert again.consistency.n_evaluations == 0


def test_where_evaluations_take_licences_there_is_none_by_default() -> None:
    assert distfd.differentiate(rosen, x_of(4), executor=Wide(16, free=False)).consistency is None
    assert distfd.differentiate(rosen, x_of(4), executor=Wide(16, free=False), check=True).consistency is not None
    assert distfd.RayExecutor(custom={"licence": 1}).idle_slots_are_free is False
    assert distfd.RayExecutor().idle_slots_are_free is True


@pytest.mark.parametrize("check", ["yes", 2, 0.5, "auto"])
def test_check_is_true_false_or_none(check: Any) -> None:
    with pytest.raises(distfd.InputError, match="check: must be True, False or None"):
        distfd.Evaluator(rosen, executor="serial", check=check)


@pytest.mark.filterwarnings("ignore:the derivative could not be checked")  # told where a check was asked for
@pytest.mark.parametrize("check", [None, True])
def test_a_failure_there_fails_nothing(check: bool | None, tmp_path: Path) -> None:
    x = x_of(5)
    how: dict[str, Any] = {"executor": Wide(16), "store": tmp_path / "s.sqlite", "check": check, "version": "1"}
    fun = Counted(x, fail)
    result = distfd.differentiate(fun, x, **how)
    plain = distfd.differentiate(Counted(x), x, executor="serial")
    assert bits(result.derivative) == bits(plain.derivative)
    assert result.consistency is not None
    assert result.consistency.verdict == "unknown"
    assert "ValueError: not here" in result.consistency.cause
    assert (result.n_evaluations, result.n_failed, result.n_retried) == (7, 0, 0)
    assert [text.partition(":")[0] for text in result.warnings] == ["the derivative could not be checked"] * bool(check)
    assert fun.calls == 7, "it is not tried again"
    again = distfd.differentiate(fun, x, **how)
    assert (again.n_evaluations, fun.calls) == (0, 7), "nor by who comes later"
    assert bits(again.derivative) == bits(plain.derivative)
    assert again.consistency is not None
    assert again.consistency.verdict == "unknown"


@pytest.mark.parametrize("slots", [(16, 16), (16, 1), (15, 16), (16, 7)])
@pytest.mark.parametrize("stop", [1, 5, 15])
def test_an_interrupted_run_has_as_many_evaluations_as_another(
    slots: tuple[int, int], stop: int, tmp_path: Path
) -> None:
    x = x_of(14)
    wanted = 16 if slots[0] == 16 else 15
    how: dict[str, Any] = {"store": tmp_path / "s.sqlite", "version": "1"}
    first = Counted(x, at_call=(stop + 1, KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt) if stop < wanted else contextlib.nullcontext():
        distfd.differentiate(first, x, executor=Wide(slots[0]), **how)
    second = Counted(x)
    result = distfd.differentiate(second, x, executor=Wide(slots[1]), **how)
    third = distfd.differentiate(Counted(x), x, executor=Wide(16), **how)
    assert third.n_evaluations == 0
    assert bits(third.derivative) == bits(result.derivative)
    if stop == 15 and wanted == 16:
        # All but the check was done: it would cost a round now, and is given up.
        assert (result.n_evaluations, third.n_reused) == (0, 15)
        assert result.consistency is not None
        assert result.consistency.verdict == "unknown"
        return
    assert stop + result.n_evaluations == wanted
    assert (result.consistency is not None) == (wanted == 16)
    assert third.n_reused == wanted


def test_a_run_that_had_none_gets_none_when_it_is_done_again_on_more_slots(tmp_path: Path) -> None:
    how: dict[str, Any] = {"store": tmp_path / "s.sqlite", "version": "1"}
    assert distfd.differentiate(rosen, x_of(14), executor="serial", **how).n_evaluations == 15
    again = distfd.differentiate(rosen, x_of(14), executor=Wide(16), **how)
    assert (again.n_evaluations, again.consistency) == (0, None)
    asked = distfd.differentiate(rosen, x_of(14), executor="serial", check=True, **how)
    assert asked.n_evaluations == 1
    assert asked.consistency is not None
    later = distfd.differentiate(rosen, x_of(14), executor="serial", **how)
    assert later.n_evaluations == 0
    assert later.consistency is not None, "its value is known"


def test_a_store_of_ones_own_that_keeps_no_decisions_will_do() -> None:
    class Plain:
        def __init__(self) -> None:
            self.inner = MemoryStore()

        def get(self, keys: Any) -> Any:
            return self.inner.get(keys)

        def put(self, keys: Any, batch: Any) -> None:
            self.inner.put(keys, batch)

    store: Any = Plain()
    assert distfd.differentiate(rosen, x_of(14), executor=Wide(16), store=store, version="1").n_evaluations == 16
    again = distfd.differentiate(rosen, x_of(14), executor=Wide(16), store=store, version="1")
    assert again.n_evaluations == 0
    assert again.consistency is not None


def test_decisions_in_memory_and_in_a_file(tmp_path: Path) -> None:
    from distfd.stores.sqlite import SQLiteStore

    def stores() -> Any:
        yield MemoryStore()
        yield SQLiteStore(tmp_path / "s.sqlite")

    for store in stores():
        assert store.decision(b"k" * 16) is None
        store.decide(b"k" * 16, TAKEN)
        store.decide(b"l" * 16, LEFT_OUT)
        store.decide(b"k" * 16, SPENT)
        assert (store.decision(b"k" * 16), store.decision(b"l" * 16)) == (SPENT, LEFT_OUT)
        store.close()
    store = SQLiteStore(tmp_path / "s.sqlite")
    assert (store.decision(b"k" * 16), store.decision(b"l" * 16)) == (SPENT, LEFT_OUT)
    store.close()


# --- optimisation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["L-BFGS", "L-BFGS-B", "Newton-CG", "trust-exact"])
def test_a_minimisation_has_none_unless_it_is_asked_for(method: Any) -> None:
    def run(check: bool | None, slots: int = 16) -> Any:
        fun = Counted(np.full(3, 9e9))
        limits = distfd.Limits(max_iterations=4)
        found = distfd.minimize(
            fun, [1.2, 0.7, 0.9], method=method, executor=Wide(slots), check=check, limits=limits, speculative=True
        )
        assert found.n_evaluations == fun.calls
        return found

    default, never = run(None), run(False)
    assert default.n_evaluations == never.n_evaluations
    assert default.derivative.consistency is None
    always = run(True)
    assert always.derivative.consistency is not None
    assert always.n_evaluations > never.n_evaluations or method == "L-BFGS", "which fills its rounds with trials"
    assert [row.value for row in always.history] == [row.value for row in never.history] or method == "L-BFGS"


def test_a_fit_has_none_unless_it_is_asked_for() -> None:
    t = np.linspace(0, 1, 6)

    def residuals(p: Floats) -> Floats:
        return np.asarray(p[0] * np.exp(-p[1] * t) - np.exp(-2 * t))

    default = distfd.least_squares(residuals, [0.5, 1.0], executor=Wide(16))
    never = distfd.least_squares(residuals, [0.5, 1.0], executor=Wide(16), check=False)
    assert default.n_evaluations == never.n_evaluations
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", distfd.DerivativeWarning)
        always = distfd.least_squares(residuals, [0.5, 1.0], executor=Wide(16), check=True)
    assert bits(always.x) == bits(default.x)
    assert always.derivative.consistency is not None


def test_an_evaluator_that_is_lent_to_a_minimisation_has_its_own_way_again() -> None:
    with distfd.Evaluator(rosen, executor=Wide(16)) as evaluator:
        evaluator.start()
        found = distfd.minimize(evaluator, [1.2, 0.7, 0.9], limits=distfd.Limits(max_iterations=2))
        assert found.derivative.consistency is None
        assert evaluator.differentiate([0.1, 0.2, 0.3]).consistency is not None


def test_what_else_measures_derivatives_has_none() -> None:
    x = x_of(4)
    plain = [
        distfd.check_gradient(
            rosen, lambda p: distfd.gradient(rosen, p, scheme="central", executor="serial"), x, executor=e
        )
        for e in ("serial", Wide(64))
    ]
    assert plain[0].n_evaluations == plain[1].n_evaluations
    noise = [distfd.noise_level(rosen, x, executor=e).n_evaluations for e in ("serial", Wide(64))]
    assert noise[0] == noise[1]
    sweeps = [distfd.step_sweep(rosen, x, [0], executor=e).n_evaluations for e in ("serial", Wide(64))]
    assert sweeps[0] == sweeps[1]
    fun = Counted(np.full(4, 9e9))
    _, told = distfd.approx_derivative(fun, x, method="2-point", full_output=True, executor=Wide(64))
    assert told["nfev"] == fun.calls == 5


# --- other ways in ---------------------------------------------------------------------------------------------------


def test_begin_and_all_kinds_of_calls_have_it() -> None:
    with distfd.Evaluator(rosen, executor=Wide(64)) as evaluator:
        evaluator.start()
        pending = evaluator.begin(x_of(4))
        assert pending.value() == rosen(x_of(4))
        result = pending.result()
        assert result.consistency is not None
        assert result.n_evaluations == 6
        for kind, particulars in (
            ("jacobian", {}),
            ("hessian", {}),
            ("hvp", {"v": np.ones(4)}),
            ("jvp", {"v": np.ones(4)}),
            ("directional", {"directions": np.eye(4)[:2] + 0.5}),
        ):
            found = evaluator.differentiate(x_of(4) + 0.1, kind=kind, **particulars)  # type: ignore[arg-type]
            assert found.consistency is not None
            assert found.consistency.verdict == "consistent"


class Remembering:
    """A simulator with a state to start from."""

    def setup(self) -> None:
        self.state = 0.0

    def evaluate(self, x: Floats) -> float:
        self.state += 1e-3 * float(x.sum())
        return float(np.sin(x).sum() + self.state)

    def reset(self) -> None:
        self.state = 0.0

    def snapshot(self) -> float:
        return self.state

    def restore(self, state: float) -> None:
        self.state = state


@pytest.mark.parametrize("warm", [None, "baseline", "iterate"])
def test_warm_starts_start_the_check_too(warm: Any) -> None:
    how: dict[str, Any] = {"warm": warm}
    plain = distfd.differentiate(Remembering, x_of(4), executor="serial", **how)
    # From another state than J(x) itself the points of baseline starts are not those of one function.
    doubt = pytest.warns(distfd.DerivativeWarning, match="in doubt") if warm == "baseline" else contextlib.nullcontext()
    with doubt:
        result = distfd.differentiate(Remembering, x_of(4), executor=Wide(16), **how)
    assert bits(result.derivative) == bits(plain.derivative)
    assert result.consistency is not None
    assert result.n_evaluations == plain.n_evaluations + 1
    assert result.consistency.verdict == ("doubtful" if warm == "baseline" else "consistent")


class Leaky(Remembering):
    """... that is not reset."""

    def reset(self) -> None:
        """Nothing."""


def test_a_simulator_that_leaks_state_is_told_of() -> None:
    with pytest.warns(distfd.DerivativeWarning, match="a state passes from one evaluation to the next"):
        result = distfd.differentiate(Leaky, x_of(4), executor=Wide(16))
    assert result.consistency is not None
    assert result.consistency.verdict == "doubtful"
    assert any("in doubt" in text for text in result.warnings)


def test_a_doubt_is_told_where_the_caller_stands() -> None:
    with pytest.warns(distfd.DerivativeWarning, match="float32") as told:
        distfd.gradient(lambda x: np.float32(np.sum(np.cosh(x) ** 3 * x)), [0.04, 0.1, 0.3], executor=Wide(16))
    assert told[0].filename == __file__


class Late(Counted):
    """J whose check takes for ever, and that tells which processes are at work."""

    def __init__(self, x: Any, folder: Path) -> None:
        super().__init__(x, late)
        self.folder = folder

    def __call__(self, x: Floats) -> float:
        (self.folder / str(os.getpid())).touch()
        return super().__call__(x)


def late() -> None:
    time.sleep(300)


def test_one_that_is_late_is_cancelled_and_not_asked_for_again(wide_ray: None, tmp_path: Path) -> None:
    x, folder = x_of(3), tmp_path / "pids"
    folder.mkdir()
    how: dict[str, Any] = {"executor": distfd.RayExecutor(max_slots=5), "store": tmp_path / "s.sqlite", "version": "1"}
    with distfd.Evaluator(Late(x, folder), **how) as ev:
        for k in itertools.count(1):  # until all slots are up: one that is not has no room for a check
            ev.map(np.arange(20.0)[:, np.newaxis] * [1, 0, 0] + [100.0 * k, x[1], x[2]])
            if len(list(folder.iterdir())) == 5:
                break
        begin = time.monotonic()
        result = ev.differentiate(x)
        assert time.monotonic() - begin < 250
        assert result.consistency is not None
        assert (result.consistency.verdict, result.consistency.n_evaluations) == ("unknown", 0)
        assert "late" in result.consistency.cause
        assert (result.n_evaluations, result.n_failed) == (4, 0)
        again = ev.differentiate(x)
    assert (again.n_evaluations, again.n_reused) == (0, 4)
    assert again.consistency is not None
    assert again.consistency.verdict == "unknown"
