"""The examples with a state: an arm at rest that starts warm, OpenMDAO's beam, a unit in the way of an FMU."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from module_files import load_example, read_config

import distfd

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RequireSimulator
    from numpy.typing import NDArray


def start(name: str) -> NDArray[np.float64]:
    given = read_config(name)
    return np.array(given["x0"] if "x0" in given else [p["value"] for p in given["parameters"]], dtype=float)


# --- the arm at rest --------------------------------------------------------------------------------------------


@pytest.fixture
def pose(require_simulator: RequireSimulator) -> Any:
    require_simulator("mujoco")
    return load_example("pose")


def statics(torques: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """J and its gradient from the balance of gravity and torques; angles from the vertical."""
    g, first, second, m1, m2 = 9.81, 0.5, 0.4, 1.0, 0.6
    # m2 g (second / 2) sin(q1 + q2) = elbow; (m1 / 2 + m2) g first sin q1 + the same = shoulder
    both = np.arcsin(torques[1] / (m2 * g * second / 2))
    upper = np.arcsin((torques[0] - torques[1]) / ((m1 / 2 + m2) * g * first))
    tip = -np.array([first * np.sin(upper) + second * np.sin(both), 0, first * np.cos(upper) + second * np.cos(both)])
    off = tip - [0.5, 0.0, -0.3]
    d_upper = np.array([1, -1]) / ((m1 / 2 + m2) * g * first * np.cos(upper))
    d_both = np.array([0, 1]) / (m2 * g * second / 2 * np.cos(both))
    moved = -np.outer(first * np.array([np.cos(upper), 0, -np.sin(upper)]), d_upper)
    moved -= np.outer(second * np.array([np.cos(both), 0, -np.sin(both)]), d_both)
    return float(off @ off), 2 * off @ moved


def test_the_pose_is_that_of_statics_and_so_is_its_gradient(pose: Any) -> None:
    x, given = start("pose"), read_config("pose")
    assert given["objective"]["warm"] == "baseline"
    wanted = statics(x)
    options: dict[str, Any] = {"executor": "serial", "scheme": given["derivative"]["scheme"]}
    found = distfd.differentiate(
        pose.RestingArm,
        x,
        step=distfd.AbsoluteStep(float(given["derivative"]["step"]["absolute"])),
        **options,
        warm="baseline",
    )
    assert found.value == pytest.approx(wanted[0], rel=1e-9)
    np.testing.assert_allclose(found.derivative, wanted[1], rtol=1e-7)
    assert found.n_evaluations == 5


def test_a_warm_start_saves_steps_and_changes_nothing_else(pose: Any) -> None:
    x = start("pose")
    arm = pose.RestingArm()
    arm.setup()
    arm.reset()
    cold, steps = arm.evaluate(x), arm.steps
    state = pickle.loads(pickle.dumps(arm.snapshot()))
    fresh = pose.RestingArm()
    fresh.setup()
    found = []
    for simulator in (arm, fresh, arm):
        simulator.reset()
        simulator.restore(state)
        found.append(simulator.evaluate(x + np.array([1e-4, 0])))
        assert simulator.steps < 0.8 * steps
    assert len(set(found)) == 1, "in whatever process it is restored"
    arm.restore(state)
    assert arm.evaluate(x) == pytest.approx(cold, abs=1e-12)


# --- OpenMDAO's beam --------------------------------------------------------------------------------------------


@pytest.fixture
def beam(require_simulator: RequireSimulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    require_simulator("openmdao")
    monkeypatch.chdir(tmp_path)  # OpenMDAO leaves folders where it runs
    return load_example("openmdao_beam")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of OpenMDAO's own, while it is imported
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_the_beams_gradient_is_openmdaos_own(beam: Any) -> None:
    x, given = start("openmdao_beam"), read_config("openmdao_beam")
    simulator = beam.Beam(**given["objective"]["kwargs"])
    simulator.setup()
    value = simulator.evaluate(x)
    totals = simulator.problem.compute_totals(of=[beam.COMPLIANCE], wrt=["h"], return_format="array")
    found = distfd.differentiate(
        beam.Beam,
        x,
        kwargs=given["objective"]["kwargs"],
        executor="serial",
        scheme=given["derivative"]["scheme"],
        step=float(given["derivative"]["step"]),
        bounds=[(0.01, 10)] * len(x),
    )
    assert found.value == value
    np.testing.assert_allclose(found.derivative, totals[0], rtol=1e-7)
    assert np.abs(found.derivative).max() > 1e4, "not a beam that nothing moves"


# --- the unit in the way of an FMU ------------------------------------------------------------------------------


@pytest.fixture
def tanks() -> Any:
    return load_example("tanks")


def test_the_tanks_are_those_of_their_equations(tanks: Any) -> None:
    """By another method: both levels and J's integrand, by an integrator with a tight tolerance."""
    from scipy.integrate import solve_ivp

    x = start("tanks")
    flow = np.sqrt(2 * tanks.GRAVITY)

    def slope(_: float, y: NDArray[np.float64]) -> list[float]:
        first, second = x[1] * flow * np.sqrt(y[0]), x[2] * flow * np.sqrt(y[1])
        return [x[0] - first, first - second]

    times = np.arange(1.0, 601.0)
    found = solve_ivp(slope, (0, 600), [0.5, 0.5], t_eval=times, rtol=1e-11, atol=1e-12, method="DOP853")
    simulator = tanks.Tanks()
    simulator.setup()
    assert simulator.evaluate(x) == pytest.approx(np.mean((found.y[1] - simulator.wanted) ** 2), rel=1e-8)


def test_the_tanks_gradient_and_their_state(tanks: Any) -> None:
    x, given = start("tanks"), read_config("tanks")
    options: dict[str, Any] = {"executor": "serial", "recycle": {"evaluations": 3}}
    found = distfd.gradient(tanks.Tanks, x, scheme="central", step=float(given["derivative"]["step"]), **options)
    best = distfd.gradient(tanks.Tanks, x, scheme="central4", step=1e-3, executor="serial")
    np.testing.assert_allclose(found, best, rtol=1e-7)
    unit = tanks.TankUnit()
    unit.instantiate()
    unit.do_step(1.0)
    state = unit.get_state()
    unit.do_step(1.0)
    after = unit.get_real("level2")
    other = tanks.TankUnit()
    other.instantiate()
    other.set_state(state)
    other.do_step(1.0)
    assert (other.get_real("level2"), other.time) == (after, 2.0)
