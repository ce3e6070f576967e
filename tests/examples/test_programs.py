"""The configurations of real programs, against what theory says; skipped without the program, but never in CI."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import least_squares

from distfd import Evaluator
from distfd.config.load import load_config
from distfd.core.failures import ProgramError
from distfd.errors import InputError
from distfd.executors.serial import SerialExecutor
from distfd.jobs.build import make_evaluator, make_objective
from distfd.objectives.command.objective import CommandObjective

if TYPE_CHECKING:
    from conftest import RequireSimulator
    from numpy.typing import NDArray

    from distfd.results.derivative_result import DerivativeResult

CONFIGS = Path(__file__).parents[2] / "configs"


def objective_of(name: str, work: Path, *overrides: str) -> tuple[CommandObjective, NDArray[np.float64]]:
    loaded = load_config(CONFIGS / name, overrides)
    problem = loaded.config.problem()
    made = make_objective(loaded, problem, work)
    assert isinstance(made, CommandObjective)
    return made, problem.x0


def derivative(name: str, work: Path, *overrides: str) -> DerivativeResult:
    """What the configuration's task finds, without Ray."""
    loaded = load_config(CONFIGS / name, overrides)
    problem = loaded.config.problem()
    objective = make_objective(loaded, problem, work)
    kind: Any = loaded.config.task
    with make_evaluator(loaded.config, problem, objective, executor=SerialExecutor()) as evaluator:
        return evaluator.differentiate(problem.x0, kind=kind)


# ---- CalculiX: a cantilever


def bending(depth: NDArray[np.float64]) -> float:
    """Euler and Bernoulli's tip deflection: the integral of F (L - s)^2 / (E I(s)), in mm."""
    stations = np.linspace(0, 1000, len(depth))

    def bay(s: float) -> float:
        return float(500 * (1000 - s) ** 2 / (210000 * 20 * np.interp(s, stations, depth) ** 3 / 12))

    return float(sum(quad(bay, a, b)[0] for a, b in itertools.pairwise(stations)))


def shearing(depth: NDArray[np.float64]) -> float:
    """Timoshenko's addition: the integral of F / (k G A(s)), k = 5/6."""
    stations = np.linspace(0, 1000, len(depth))

    def bay(s: float) -> float:
        return float(500 / (5 / 6 * 210000 / 2.6 * 20 * np.interp(s, stations, depth)))

    return float(sum(quad(bay, a, b)[0] for a, b in itertools.pairwise(stations)))


@pytest.mark.parametrize("depth", [np.full(10, 30.0), np.linspace(40, 22, 10), np.array([40, 30] * 5, dtype=float)])
def test_beam_bends_as_beam_theory_says(
    tmp_path: Path, require_simulator: RequireSimulator, depth: NDArray[np.float64]
) -> None:
    require_simulator("ccx")
    objective, _ = objective_of("beam.yaml", tmp_path)
    deflection = objective.make().evaluate(depth, timeout=60)
    assert deflection == pytest.approx(bending(depth), rel=5e-3)
    if np.all(np.diff(depth) <= 0):  # a zigzag is no slender beam, and theory is not exact for it
        assert deflection == pytest.approx(bending(depth) + shearing(depth), rel=5e-4)


def test_beam_gradient_is_theorys(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("ccx")
    found = derivative("beam.yaml", tmp_path)
    x = np.linspace(40, 22, 10)
    h = 1e-4
    expected = np.array([(bending(x + h * e) - bending(x - h * e)) / (2 * h) for e in np.eye(10)])
    np.testing.assert_allclose(found.derivative, expected, atol=2e-3 * np.abs(expected).max())
    np.testing.assert_allclose(found.step, 5e-3 * x, rtol=1e-9)


def test_beam_a_step_below_the_seven_digits_sees_nothing(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    """Why the configuration asks for 5e-3: the program prints no more than the difference."""
    require_simulator("ccx")
    objective, x = objective_of("beam.yaml", tmp_path)
    model = objective.make()
    assert model.evaluate(x * (1 + 1e-8)) == model.evaluate(x)


def test_beam_an_error_of_the_program_is_named(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("ccx")
    objective, x = objective_of("beam.yaml", tmp_path)
    x[3] = -40.0  # bricks turned inside out
    with pytest.raises(ProgramError, match=rf"ccx beam: .*; work directory {tmp_path}/") as caught:
        objective.make().evaluate(x, timeout=60)
    assert "the last lines of stdout" in caught.value.detail


# ---- A Fortran program that reads a namelist: a cooling fin


def fin(film: float, base: float) -> NDArray[np.float64]:
    """Temperatures at the ten stations: the fin equation's closed solution with an adiabatic tip."""
    m = np.sqrt(2 * film / (200 * 0.001))
    s = np.arange(1, 11) * 0.01
    return np.asarray(20 + (base - 20) * np.cosh(m * (0.1 - s)) / np.cosh(m * 0.1))


MEASURED = np.loadtxt(CONFIGS / "fin" / "measured.csv", delimiter=",", skiprows=1)[:, 1]


def test_fin_is_the_closed_solution(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("gfortran")
    objective, x = objective_of("fin.yaml", tmp_path)
    for point in (x, np.array([60.0, 95.0])):
        value = objective.make().evaluate(point, timeout=60)
        assert value == pytest.approx(np.sum((fin(*point) - MEASURED) ** 2), rel=1e-5)


def test_fin_residuals_against_the_data_have_theorys_jacobian(
    tmp_path: Path, require_simulator: RequireSimulator
) -> None:
    require_simulator("gfortran")
    found = derivative("fin.yaml", tmp_path, "task=jacobian", "objective.command.value=temperature - measured")
    x = np.array([30.0, 80.0])
    h = 1e-5 * x
    expected = [(fin(*(x + h * e)) - fin(*(x - h * e))) / (2 * h @ e) for e in np.eye(2)]
    np.testing.assert_allclose(found.derivative, np.transpose(expected), rtol=1e-4, atol=1e-6)


def test_fin_fitted_is_the_closed_solution_fitted(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("gfortran")
    residuals = ("objective.command.value=temperature - measured", "objective.command.pre=[]")
    objective, x = objective_of("fin.yaml", tmp_path, *residuals, f"objective.command.argv=[{build(tmp_path)}]")
    with Evaluator(objective, executor="serial", scheme="central", step=1e-5) as evaluator:
        ours = least_squares(evaluator.value, x, jac=evaluator.jacobian)
    theirs = least_squares(lambda p: fin(*p) - MEASURED, x)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-4)
    assert 2 * theirs.cost == pytest.approx(0.202, abs=1e-3)


def build(folder: Path) -> Path:
    """As the configuration advises for a larger program: built once, and found by its path."""
    import subprocess

    program = folder / "fin"
    subprocess.run(["gfortran", "-O2", "-o", program, CONFIGS / "fin" / "fin.f90"], check=True)
    return program


def test_fin_a_namelist_that_swallows_the_step_is_refused(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("gfortran")
    deck = (CONFIGS / "fin" / "case.nml.j2").read_text().replace("{{ film }}", '{{ film | fmt("8.2f") }}')
    (tmp_path / "case.nml.j2").write_text(deck)
    with pytest.raises(InputError, match=r'film .*case.nml does not change: fmt\("8.2f"\) swallows it'):
        derivative(
            "fin.yaml", tmp_path, "task=gradient", f"objective.command.inputs={{case.nml: {tmp_path}/case.nml.j2}}"
        )


# ---- ngspice with several templates and outputs: a band-pass filter


def bandpass(p: NDArray[Any]) -> NDArray[np.float64]:
    w = 2 * np.pi * np.array([1000.0, 2500.0])
    response = p[2] / (p[2] + 1j * (w * p[0] * 1e-3 - 1 / (w * p[1] * 1e-6)))
    low, high = 20 * np.log10(np.abs(response))
    return np.array([low, high, high - low, np.degrees(np.angle(response[0]))])


def test_bandpass_value_and_jacobian_are_the_formulas(tmp_path: Path, require_simulator: RequireSimulator) -> None:
    require_simulator("ngspice")
    found = derivative("bandpass.yaml", tmp_path)
    x = np.array([10.0, 1.0, 50.0])
    np.testing.assert_allclose(found.value, bandpass(x), rtol=1e-9)
    h = 1e-5 * x
    expected = [(bandpass(x + h * e) - bandpass(x - h * e)) / (2 * h @ e) for e in np.eye(3)]
    np.testing.assert_allclose(found.derivative, np.transpose(expected), rtol=1e-6)
