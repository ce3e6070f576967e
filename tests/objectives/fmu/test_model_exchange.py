"""An FMU for model exchange: its equations by CVode, against closed forms and a hand-written ODE."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from fmus import build_exchange, level, load_builder, slopes, value
from scipy.integrate import solve_ivp

import distfd
import distfd.errors
from distfd.core.errors import InputError
from distfd.core.failures import EvaluationFailure

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequireSimulator

    from distfd.objectives.fmu.objective import FMUObjective

NAMES = ("area", "k", "tank.h0")
X = np.array([2.0, 0.5, 4.0])


@pytest.fixture(params=[2, 3])
def version(request: pytest.FixtureRequest) -> int:
    found: int = request.param
    return found


@pytest.fixture(autouse=True)
def _programs(require_simulator: RequireSimulator) -> None:
    require_simulator("fmpy")
    require_simulator("gcc")


@pytest.fixture
def tank(version: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.getbasetemp() / f"exchange{version}" / "tank.fmu"  # built once, as no test changes it
    if not path.exists():
        path.parent.mkdir()
        build_exchange(path, version)
    return path


def make(path: Path, **options: Any) -> FMUObjective:
    given: dict[str, Any] = {"outputs": {"h": "h"}, "names": NAMES, "tolerance": 1e-10, **options}
    return distfd.FMUObjective(path, **given)


def test_gradient_is_that_of_the_closed_form(tank: Path) -> None:
    found = distfd.gradient(make(tank), X, scheme="central", executor="serial")
    np.testing.assert_allclose(found, slopes(4.0), rtol=1e-8)


def test_times_and_residuals(tank: Path, tmp_path: Path) -> None:
    times = [0.0, 0.25, 1.0, 3.999]  # not all of them multiples of the step
    objective = make(tank, outputs={"h": {"times": times}})
    np.testing.assert_allclose(value(objective), level(times), rtol=1e-9)
    found = distfd.jacobian(objective, X, scheme="central", executor="serial")
    np.testing.assert_allclose(found, [slopes(t) for t in times], rtol=1e-7, atol=1e-9)
    (tmp_path / "measured.csv").write_text("time,h\n0.0,3.5\n0.25,3.25\n")
    residuals = value(make(tank, outputs={"h": {"data": "measured.csv"}}, base=tmp_path))
    np.testing.assert_allclose(residuals, level([0.0, 0.25]) - [3.5, 3.25], rtol=1e-8)


def test_max_min_and_mean(tank: Path) -> None:
    outputs = {name: {"variable": "h", "at": name} for name in ("max", "min", "mean", "last")}
    found = value(make(tank, outputs=outputs, value=list(outputs)))
    mean = np.trapezoid(level(np.linspace(0, 4, 41)), np.linspace(0, 4, 41)) / 4
    np.testing.assert_allclose(found, [4.0, level(4.0), mean, level(4.0)], rtol=1e-9)


def test_inputs_against_a_hand_written_ode(tank: Path) -> None:
    times, values = [0.0, 1.03, 1.03, 2.0, 4.0], [0.0, 1.0, 3.0, 0.5, 0.5]
    objective = make(tank, inputs={"q": {"times": times, "values": values}}, tolerance=1e-12)

    def inflow(t: float) -> float:
        return t / 1.03 if t < 1.03 else float(np.interp(t, [1.03, 2.0, 4.0], [3.0, 0.5, 0.5]))

    def by_hand(x: Any) -> float:
        h, pieces = x[2], [0.0, 1.03, 2.0, 4.0]
        for a, b in pairwise(pieces):

            def rate(t: float, y: Any, end: float = b) -> Any:
                q = 1.0 if t >= end == 1.03 else inflow(t)
                return [(q - x[1] * np.sqrt(y[0])) / x[0]]

            h = solve_ivp(rate, (a, b), [h], method="DOP853", rtol=1e-13, atol=1e-13).y[0, -1]
        return float(h)

    assert value(objective) == pytest.approx(by_hand(X), rel=1e-10)
    step = 1e-3  # CVode's steps are other ones at another x, by which J jumps: so much that 6e-6 would not do
    found = distfd.gradient(objective, X, scheme="central", step=step, executor="serial")
    expected = [(by_hand(X + step * e) - by_hand(X - step * e)) / (2 * step) for e in np.eye(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-6)


def test_an_output_at_a_jump_is_that_before_it(tank: Path) -> None:
    jump = {"q": {"times": [0, 0.3, 0.3, 4], "values": [0.0, 0.0, 1.0, 1.0]}}
    found = value(make(tank, inputs=jump, outputs={"flow": {"times": [0.2, 0.3, 0.4]}}))
    np.testing.assert_array_equal(found, [0.0, 0.0, 1.0])
    closed = make(tank, inputs=jump, names=("k",))
    assert value(closed, [0.0]) == pytest.approx(4.0 + 3.7 / 2, rel=1e-12)


def test_an_event_of_the_state_and_one_in_time(tank: Path) -> None:
    names = ("k", "shut")
    objective = make(tank, names=names)
    assert value(objective, [0.5, 3.0]) == pytest.approx(3.0, abs=1e-8), "the outlet closed at 3"
    shut = make(tank, names=("shut",))
    np.testing.assert_allclose(distfd.gradient(shut, [3.0], scheme="central", executor="serial"), [1.0], rtol=1e-8)
    ticks = make(tank, names=("tick", "q"), start={"k": 0.0})
    assert value(ticks, [1.0, 0.8]) == pytest.approx(4 + 0.8 / 2 * (1 + 2 * 3), rel=1e-12)
    found = distfd.gradient(ticks, [1.77, 0.8], scheme="central", executor="serial")
    np.testing.assert_allclose(found, [-0.4, (1.77 + 2 * 2.23) / 2], rtol=1e-8)


def test_a_reset_gives_the_same_bits_and_an_unclean_one_is_found_out(version: int, tmp_path: Path) -> None:
    model = make(build_exchange(tmp_path / "tank.fmu", version), names=("k", "shut")).make()
    points = [np.array([0.5, 3.0]), np.array([0.6, -1.0]), np.array([0.5, 3.0]), np.array([0.6, -1.0])]
    found = [model.evaluate(x, timeout=None) for x in points]
    model.close()
    assert found[:2] == found[2:]
    assert model._resets is True
    leaky = make(build_exchange(tmp_path / "leaky.fmu", version, "-DLEAKY")).make()
    again = [leaky.evaluate(X, timeout=None) for _ in range(4)]
    leaky.close()
    np.testing.assert_allclose(again, level(4.0), rtol=1e-9)
    assert leaky._resets is False


def test_failures_are_told_with_the_log(tank: Path, version: int, tmp_path: Path) -> None:
    with pytest.raises(EvaluationFailure, match=r"Derivatives failed with status 3 .*; its log ends: the tank leaks"):
        value(make(tank, start={"strange": 1.0}))
    with pytest.raises(EvaluationFailure, match="the tank has no area"):
        value(make(tank, names=("k", "tank.h0"), start={"area": -1.0}), [0.5, 4.0])
    strange = build_exchange(tmp_path / "strange.fmu", version, "-DSTRANGE_NUMBERS")
    with pytest.raises(EvaluationFailure, match="the derivative of the FMU's state 0 is nan at 0"):
        value(make(strange))
    model = make(tank, names=("strange",)).make()
    with pytest.raises(EvaluationFailure):
        model.evaluate(np.array([1.0]), timeout=None)
    assert model.evaluate(np.array([-1.0]), timeout=None) == pytest.approx(level(4.0), rel=1e-9), "it goes on"
    model.close()


def test_the_kind_is_chosen_and_co_simulation_comes_first(version: int, tmp_path: Path) -> None:
    both = build_exchange(tmp_path / "both.fmu", version, both=True)
    first, second = make(both), make(both, kind="model-exchange")
    assert first.description.interface.kind == "co-simulation"
    with pytest.raises(EvaluationFailure, match="this is by co-simulation"):
        value(first)
    assert value(second) == pytest.approx(level(4.0), rel=1e-9)
    assert first.fingerprint() != second.fingerprint()
    assert first.fingerprint() == make(both, kind="co-simulation").fingerprint()


def test_a_kind_that_is_not_there(version: int, tmp_path: Path, tank: Path) -> None:
    with pytest.raises(InputError, match=r"kind: tank\.fmu is for model-exchange alone, not for co-simulation"):
        make(tank, kind="co-simulation")
    with pytest.raises(InputError, match=r"kind: is co-simulation or model-exchange \(given 'model_exchange'\)"):
        make(tank, kind="model_exchange")
    slave = load_builder().build(tmp_path / "slave.fmu", version)
    with pytest.raises(InputError, match=r"kind: slave\.fmu is for co-simulation alone, not for model-exchange"):
        make(slave, kind="model-exchange")


def test_the_tolerance_is_that_of_cvode(version: int, tank: Path, tmp_path: Path) -> None:
    off = [abs(value(make(tank, tolerance=each)) - level(4.0)) for each in (1e-4, 1e-12)]
    assert off[0] > 1e-5
    assert off[1] < 1e-10
    assert make(tank, tolerance=None).tolerance == 1e-8
    own = build_exchange(tmp_path / "own.fmu", version, tolerance='tolerance="1e-6"')
    assert make(own, tolerance=None).tolerance == 1e-6
    with pytest.raises(InputError, match="tolerance: must be at least 1e-14 and below 1 for CVode"):
        make(tank, tolerance=1e-17)


def test_steps_that_the_solver_drowns_are_told_and_the_remedies_work(tank: Path) -> None:
    drive = {"q": {"times": [0.0, 1.03, 1.03, 2.0, 4.0], "values": [0.0, 1.0, 3.0, 0.5, 0.5]}}
    right = [0.172289, -3.485717, 0.776224]  # by hand, in the test above
    rough = make(tank, tolerance=1e-4, inputs=drive)
    with pytest.warns(distfd.errors.DerivativeWarning, match=r"tolerance of 0\.0001, .* Use step='auto'") as caught:
        found = distfd.gradient(rough, X, scheme="central", executor="serial")
    assert abs(found[0] - right[0]) > 1, "that it is wrong is why it is told"
    assert "x0" in str(caught[0].message) or "coordinate" in str(caught[0].message)
    with distfd.Evaluator(rough, executor="serial", step="auto", check=False) as evaluator:
        result = evaluator.differentiate(X)
    assert (abs(result.derivative - right) <= 2 * result.error).all()
    fine = make(tank, tolerance=1e-10, inputs=drive)
    np.testing.assert_allclose(distfd.gradient(fine, X, scheme="central", executor="serial"), right, rtol=3e-3)
