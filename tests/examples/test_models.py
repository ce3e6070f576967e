"""The models of configs/, without distfd: they are what their YAML files say they are."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from module_files import CONFIGS, load_example, read_config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    J = Callable[[NDArray[np.float64]], float]


def forward(fun: J, x: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    base = fun(x)
    return np.array([fun(x + e) - base for e in h * np.eye(len(x))]) / h


def central(fun: J, x: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    return np.array([fun(x + e) - fun(x - e) for e in h * np.eye(len(x))]) / (2 * h)


def central4(fun: J, x: NDArray[np.float64], h: float) -> NDArray[np.float64]:
    return (4 * central(fun, x, h) - central(fun, x, 2 * h)) / 3


# --- quickstart -------------------------------------------------------------------------------------------------

FITTED = np.log([0.540, 0.0272, 0.796, 0.0237, 34.6, 5.84])


@pytest.fixture(scope="module")
def misfit() -> J:
    fun: J = load_example("lotka_volterra").misfit
    return fun


@pytest.fixture(scope="module")
def parameters() -> Any:
    return read_config("quickstart")["parameters"]


def test_quickstart_starts_where_it_says(misfit: J, parameters: Any) -> None:
    assert [p["name"] for p in parameters] == ["log_a", "log_b", "log_c", "log_d", "log_u0", "log_v0"]
    x0 = np.array([p["value"] for p in parameters])
    np.testing.assert_allclose(np.exp(x0), [0.5, 0.02, 0.8, 0.02, 30, 4], rtol=1e-4)
    assert misfit(x0) == pytest.approx(31.04, abs=0.005)


def test_quickstart_solves_the_equations_it_states(misfit: J, parameters: Any) -> None:
    # The populations themselves, by another method and tolerance, instead of their logarithms.
    from scipy.integrate import solve_ivp

    module = load_example("lotka_volterra")
    for x in (np.array([p["value"] for p in parameters]), FITTED):
        a, b, c, d, u0, v0 = np.exp(x)

        def rates(_t: float, p: NDArray[np.float64], a: float = a, b: float = b, c: float = c, d: float = d) -> Any:
            return [a * p[0] - b * p[0] * p[1], -c * p[1] + d * p[0] * p[1]]

        solved = solve_ivp(rates, (0, 20), [u0, v0], method="LSODA", t_eval=range(21), rtol=1e-11, atol=1e-11)
        expected = np.sum((np.log(solved.y) - module.MEASURED) ** 2)
        assert misfit(x) == pytest.approx(expected, rel=1e-6)


def test_quickstart_ends_where_it_says_with_its_own_settings(misfit: J, parameters: Any) -> None:
    from scipy.optimize import minimize

    settings = read_config("quickstart")
    h = settings["derivative"]["step"]["absolute"]
    assert settings["derivative"]["scheme"] == "central"
    result = minimize(
        misfit,
        [p["value"] for p in parameters],
        jac=lambda x: central(misfit, x, h),
        method=settings["minimize"]["method"],
        bounds=[(p["lower"], p["upper"]) for p in parameters],
        tol=settings["minimize"]["tolerance"],
        options={"maxiter": settings["minimize"]["max_iterations"]},
    )
    assert result.success, result.message
    assert result.fun == pytest.approx(2.0187, abs=5e-5)
    off = np.abs(np.exp(result.x) - np.exp(FITTED))
    assert (off <= [5e-4, 5e-5, 5e-4, 5e-5, 0.05, 0.005]).all(), "half a unit of the last digit stated"


def test_quickstart_fit_is_the_same_fit(misfit: J, parameters: Any) -> None:
    assert read_config("quickstart_fit")["parameters"] == parameters
    residuals = load_example("lotka_volterra").residuals
    assert float(np.sum(residuals(FITTED) ** 2)) == pytest.approx(misfit(FITTED), rel=1e-14)


def test_quickstart_gradient_is_as_exact_as_its_comment_says(misfit: J, parameters: Any) -> None:
    # Steps a hundred times wider average over the grain of J, and the fourth order leaves no truncation error.
    h = read_config("quickstart")["derivative"]["step"]["absolute"]
    x0 = np.array([p["value"] for p in parameters])
    np.testing.assert_allclose(central(misfit, x0, h), central4(misfit, x0, 100 * h), rtol=0, atol=1e-5)
    np.testing.assert_allclose(central(misfit, FITTED, h), central4(misfit, FITTED, 100 * h), rtol=0, atol=2e-6)


def test_quickstart_is_finite_everywhere_between_its_bounds(misfit: J, parameters: Any) -> None:
    corners = itertools.product(*((p["lower"], p["upper"]) for p in parameters))
    values = [misfit(np.array(corner)) for corner in corners]
    assert np.isfinite(values).all()
    assert min(values) > 2.0187


def test_quickstart_is_finite_or_fails_clearly_far_from_its_bounds(misfit: J) -> None:
    random = np.random.default_rng(0)
    failures = set()
    for x in (width * random.uniform(-1, 1, 6) for width in (5, 10, 30, 100, 1000) for _ in range(12)):
        try:
            assert np.isfinite(misfit(x))
        except ArithmeticError as failure:
            failures.add(str(failure).split(":")[0])
    assert failures == {"the ODE solver gave up", "the ODE solver gets nowhere in 25000 calls"}


def test_quickstart_does_not_make_up_a_number_for_nan(misfit: J) -> None:
    with pytest.raises((ArithmeticError, ValueError)):
        misfit(np.full(6, np.nan))


# --- arm --------------------------------------------------------------------------------------------------------


@pytest.fixture
def arm() -> Iterator[Any]:
    if importlib.util.find_spec("mujoco") is None:
        message = 'the arm example is NOT tested: mujoco is missing (pip install "distfd[examples]")'
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    simulator = load_example("arm").TwoJointArm()
    simulator.setup()
    yield simulator
    simulator.close()


@pytest.fixture(scope="module")
def x0() -> NDArray[np.float64]:
    return np.array(read_config("arm")["x0"], dtype=np.float64)


def from_start(simulator: Any) -> J:
    def fun(x: NDArray[np.float64]) -> float:
        simulator.reset()
        value: float = simulator.evaluate(x)
        return value

    return fun


def test_arm_starts_where_it_says(arm: Any, x0: NDArray[np.float64]) -> None:
    assert len(x0) == 40
    assert from_start(arm)(x0) == pytest.approx(0.39765, abs=5e-6)


def test_arm_value_does_not_depend_on_what_was_evaluated_before(arm: Any, x0: NDArray[np.float64]) -> None:
    fun = from_start(arm)
    points = [x0, x0 + 1e-6, np.zeros(40), -x0, 50 * np.cos(np.arange(40.0))]
    alone = {}
    for k, x in enumerate(points):
        fresh = load_example("arm").TwoJointArm()
        fresh.setup()
        alone[k] = from_start(fresh)(x)
        fresh.close()
    assert len(set(alone.values())) == len(points)
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 2, 4, 2, 0, 4, 1, 3]):
        # Bit for bit: a difference of 1e-6 in x leaves nothing to spare.
        assert [fun(points[k]) for k in order] == [alone[k] for k in order]


def test_arm_without_reset_goes_on_from_where_it_was(arm: Any, x0: NDArray[np.float64]) -> None:
    arm.reset()
    first = arm.evaluate(x0)
    assert arm.evaluate(x0) != pytest.approx(first, rel=1e-2)


def test_arm_leaves_x_as_it_was(arm: Any, x0: NDArray[np.float64]) -> None:
    x = x0.copy()
    from_start(arm)(x)
    assert (x == x0).all()


def test_arm_gradient_is_as_exact_as_its_comment_says(arm: Any, x0: NDArray[np.float64]) -> None:
    settings = read_config("arm")["derivative"]
    assert settings["scheme"] == "forward"
    fun = from_start(arm)
    best = central4(fun, x0, 2e-3)
    size = np.linalg.norm(best)
    given = forward(fun, x0, settings["step"]["absolute"])
    assert np.linalg.norm(given - best) / size < 1e-6
    np.testing.assert_allclose(given, best, rtol=1e-5)
    assert np.linalg.norm(central(fun, x0, 1e-4) - best) / size < 2e-9
    # A step that is wrong by a factor of a hundred shows: the bound above can fail.
    assert np.linalg.norm(forward(fun, x0, 1e-4) - best) / size > 1e-5


def test_arm_without_mujoco_says_what_is_missing() -> None:
    # None in sys.modules is what Python takes for a module that cannot be imported.
    program = "import sys; sys.modules['mujoco'] = None; import arm; a = arm.TwoJointArm(); a.setup()"
    ran = subprocess.run(  # the point is another interpreter
        [sys.executable, "-c", program], cwd=CONFIGS, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.strip().splitlines()[-1].startswith("ModuleNotFoundError: ")
    assert "mujoco" in ran.stderr.strip().splitlines()[-1]
