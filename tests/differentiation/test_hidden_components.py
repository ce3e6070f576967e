"""Components that are small beside the noise that a check has seen, in a derivative that is right as a whole."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from problems import PROBLEMS

import distfd
from distfd.core.errors import DerivativeWarning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

TOLD = "are not known to 10 %"
SLOPES = np.array([[10.0, 3.0, 0.02], [0.0, 5.0, 4.0]])


def rough(x: Floats) -> Floats:
    """Straight, but for noise of 1e-10 that the bits of x make."""
    seed = np.frombuffer(np.asarray(x).tobytes(), dtype=np.uint32)
    return np.asarray(SLOPES @ x + 1e-10 * np.random.default_rng(seed).normal(size=2))


def differentiated(fun: Any, kind: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        return distfd.differentiate(fun, [0.3, 0.7, 1.1], kind=kind, check=True, executor="serial", **options)


def test_a_small_component_of_a_gradient() -> None:
    """10 and 3 are right to a percent; 0.02 is not, and it matters a little."""
    result = differentiated(lambda x: float(rough(x)[0] + 0.3 * x[2]), "gradient")
    assert_allclose(result.derivative[:2], [10, 3], rtol=0.02)
    assert result.consistency.verdict == "consistent"
    assert not [text for text in result.warnings if TOLD in text]  # 0.32 is seen well enough beside noise of 0.01
    result = differentiated(lambda x: float(rough(x)[0] + 0.1 * x[2]), "gradient")
    (text,) = result.warnings
    assert TOLD in text
    assert "along coordinate 2: J at one more point" in text
    assert "step='auto'" in text
    better = differentiated(lambda x: float(rough(x)[0] + 0.1 * x[2]), "gradient", step="auto")
    assert abs(better.derivative[2] - 0.12) <= better.error[2] < 0.012
    assert not better.warnings


@pytest.mark.parametrize("sparsity", [None, (SLOPES != 0).astype(int)])
def test_entries_of_a_jacobian(sparsity: Any) -> None:
    more = {} if sparsity is None else {"sparsity": sparsity}

    def fun(x: Floats) -> Floats:
        return np.asarray(rough(x) + np.array([0.1 * x[2], 0.0]))

    result = differentiated(fun, "jacobian", **more)
    (text,) = [text for text in result.warnings if TOLD in text]
    assert text.startswith("small components of the derivative of output 0")
    assert TOLD in text
    assert "coordinate 2" in text
    assert "coordinate 1" not in text
    large = differentiated(fun, "jacobian", step=1e-4, **more)
    assert not large.warnings
    value = large.derivative if sparsity is None else large.derivative.toarray()
    assert_allclose(value, SLOPES + np.array([[0, 0, 0.1], [0, 0, 0]]), rtol=1e-3, atol=1e-3)


def test_no_alarms_on_clean_functions() -> None:
    told = []
    for problem in PROBLEMS.values():
        result = differentiated_at(problem)
        told += [(problem, text) for text in result.warnings if TOLD in text]
    assert not told


def differentiated_at(problem: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        return distfd.differentiate(
            lambda x: float(problem.value(x[None])[0]), problem.x0, check=True, executor="serial"
        )


def test_entries_of_a_hessian() -> None:
    """The large entry is right to a percent, and the small one beside it is noise."""

    def fun(x: Floats) -> float:
        seed = np.frombuffer(np.asarray(x).tobytes(), dtype=np.uint32)
        return float(50 * x[0] ** 2 + 0.5 * x[1] ** 2 + 2e-9 * np.random.default_rng(seed).normal())

    def hessian(**options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DerivativeWarning)
            return distfd.differentiate(fun, [1.0, 1.0], kind="hessian", check=True, executor="serial", **options)

    result = hessian()
    assert abs(result.derivative[0, 0] - 100) < 2
    (text,) = result.warnings
    assert TOLD in text
    assert "coordinate 1" in text
    larger = hessian(step=1e-2)
    assert not larger.warnings
    assert_allclose(larger.derivative, [[100, 0], [0, 1]], atol=1e-3)


TINY = [1.0, 2.0, 3e-7]
"""A step of the default is a part of the first two, and some hundredths of the third one's own size."""


def at_tiny(fun: Any, kind: Any = "gradient", **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        return distfd.differentiate(fun, TINY, kind=kind, check=True, executor="serial", **options)


def curved(x: Floats) -> float:
    """Right to 1 % along the third coordinate, whose curvature is larger than all that the others change."""
    return float(3 * x[0] + x[1] ** 2 + 100 * np.exp(x[2] / 1e-6))


def test_the_curvature_of_a_tiny_parameter_says_nothing_about_the_others() -> None:
    result = at_tiny(curved)
    assert_allclose(result.derivative, [3, 4, 1e8 * np.exp(0.3)], rtol=0.02)
    assert result.consistency.verdict == "consistent"
    assert not result.warnings
    assert result.consistency.n_evaluations == 4  # two draws, as 0.6 % may be chance, and two without it


@pytest.mark.parametrize("sparsity", [None, np.array([[1, 0, 1], [0, 1, 1]])])
def test_nor_in_a_jacobian(sparsity: Any) -> None:
    more = {} if sparsity is None else {"sparsity": sparsity}
    result = at_tiny(
        lambda x: np.array([3 * x[0] + 100 * np.exp(x[2] / 1e-6), x[1] ** 2 + np.exp(x[2] / 1e-6)]), "jacobian", **more
    )
    assert not result.warnings
    value = result.derivative if sparsity is None else result.derivative.toarray()
    assert_allclose(value, np.array([[3, 0, 1e8 * np.exp(0.3)], [0, 4, 1e6 * np.exp(0.3)]]), rtol=0.02)


def test_a_small_component_that_curves_over_its_own_step_is_told() -> None:
    """The same residual, but it is that of the component itself, which is off by a seventh."""
    result = at_tiny(lambda x: float(curved(x) + 0.2 * np.exp((x[1] - 2) / 1e-7)))
    assert result.consistency.verdict == "consistent"
    (text,) = result.warnings
    assert TOLD in text
    assert "coordinate 1" in text


def test_noise_beside_the_curvature_is_told() -> None:
    told = 0
    for k in range(20):

        def fun(x: Floats, k: int = k) -> float:
            seed = np.frombuffer(np.asarray(x).tobytes(), dtype=np.uint32)
            return curved(x) + 0.01 * float(np.random.default_rng([k, *seed]).normal())

        told += any(TOLD in text for text in at_tiny(fun).warnings)
    assert told >= 18


def test_values_of_few_digits_are_told() -> None:
    result = at_tiny(lambda x: float(f"{curved(x) + 1e6 * x[1]:.5g}"))
    assert result.warnings
