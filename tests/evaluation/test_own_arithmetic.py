"""Whatever numpy and warnings are set to, distfd's own arithmetic neither raises nor loses what was evaluated."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.optimize
from numpy.testing import assert_allclose

import distfd
from distfd.core.errors import DerivativeWarning, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def flat(x: Floats) -> float:
    """Coordinate 1 is flat."""
    return float((x[0] - 1) ** 2)


@pytest.fixture
def strict() -> Iterator[None]:
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


METHODS = ("L-BFGS", "L-BFGS-B", "BFGS", "CG", "SLSQP", "TNC", "trust-constr", "Newton-CG")


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("method", METHODS)
def test_a_flat_coordinate_ends_no_minimisation(method: Any) -> None:
    found = distfd.minimize(flat, [0.0, 5.0], method=method, executor="serial")
    assert_allclose(found.x, [1, 5], atol=1e-4)
    assert any("did not change" in text for text in found.derivative.warnings)


@pytest.mark.usefixtures("strict")
def test_a_flat_coordinate_ends_no_fit() -> None:
    found = distfd.least_squares(lambda x: np.array([x[0] - 1, 2 * x[0] - 2]), [0.0, 5.0], executor="serial")
    assert_allclose(found.x, [1, 5], atol=1e-6)


@pytest.mark.usefixtures("strict")
def test_a_warning_that_is_an_error_has_the_result() -> None:
    seen: list[Any] = []
    with pytest.raises(DerivativeWarning, match="did not change") as caught:
        distfd.differentiate(flat, [0.0, 5.0], executor="serial", observers=[seen.append])
    result = caught.value.result
    assert_allclose(result.derivative, [-2, 0], rtol=1e-6)
    assert result.n_evaluations == 3
    assert any(type(event).__name__ == "Differentiated" for event in seen), "observers have it before"


KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"scheme": "central4"},
    {"scheme": "richardson"},
    {"step": "auto"},
    {"step": distfd.NoiseStep("shi")},
    {"step": distfd.NoiseStep("gill")},
    {"accuracy": 1e-3},
    {"kind": "hessian"},
    {"kind": "hvp", "v": [1.0, 0.0]},
    {"kind": "jvp", "v": [1.0, 0.0]},
    {"kind": "jacobian", "sparsity": [[1, 1]]},
)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("options", KINDS, ids=str)
@pytest.mark.parametrize("x", [[0.0, 5.0], [1e-300, 5.0], [1e-9, 1e3]], ids=str)
def test_no_kind_raises_what_numpy_would(options: dict[str, Any], x: list[float]) -> None:
    warnings.simplefilter("ignore", DerivativeWarning)
    result: Any = distfd.differentiate(flat, x, executor="serial", **options)
    assert np.isfinite(result.derivative.toarray() if "sparsity" in options else result.derivative).all()
    zero: Any = distfd.differentiate(lambda x: 0.0, x, executor="serial", **options)
    assert not np.any(zero.derivative.toarray() if "sparsity" in options else zero.derivative)


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("options", KINDS, ids=str)
def test_near_overflow_an_error_is_distfds_own(options: dict[str, Any]) -> None:
    warnings.simplefilter("ignore", DerivativeWarning)
    try:
        distfd.differentiate(lambda x: 1.7e308 * float(np.tanh(x[0])), [0.0, 5.0], executor="serial", **options)
    except distfd.EvaluationError as error:
        assert "too large for floating point" in str(error)  # noqa: PT017  # or none


@pytest.mark.usefixtures("strict")
def test_checks_and_levels() -> None:
    warnings.simplefilter("ignore", DerivativeWarning)
    assert distfd.check_gradient(flat, [-2.0, 0.0], [0.0, 5.0], executor="serial").ok
    assert distfd.noise_level(flat, [0.0, 5.0], executor="serial").level < 1e-14
    assert "1e-05" in str(distfd.step_sweep(flat, [0.0, 5.0], executor="serial"))


@pytest.mark.parametrize(
    ("x", "bounds"),
    [([0.0, 5.0], ([0, 0], [5, 5])), ([1.0, 2.0], ([0, 0], [5, 5])), ([1.0, 5.0], np.array([[1.0, 1.0], [5.0, 5.0]]))],
)
def test_arrays_that_look_like_pairs_are_refused(x: list[float], bounds: Any) -> None:
    def call(**options: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DerivativeWarning)
            return distfd.gradient(lambda x: float(x @ x), x, executor="serial", **options)

    with pytest.raises(InputError, match=r"scipy\.optimize\.Bounds"):
        call(bounds=bounds)
    with pytest.raises(InputError, match=r"scipy\.optimize\.Bounds"):
        distfd.minimize(lambda x: float(x @ x), x, bounds=bounds, executor="serial")
    assert_allclose(call(bounds=scipy.optimize.Bounds(*bounds)), 2 * np.array(x), rtol=1e-6, atol=1e-6)


def test_pairs_are_pairs_where_they_may_be() -> None:
    def call(x: list[float], bounds: Any) -> list[float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DerivativeWarning)
            found: list[float] = distfd.gradient(lambda x: float(x @ x), x, bounds=bounds, executor="serial").tolist()
        return found

    assert call([0.0, 5.0], [(0, 0), (4, 6)])[0] == 0, "one is fixed, and the other moves"
    assert call([4.0, 3.0], [(4, 4), (3, 3)]) == [0, 0], "as arrays they would not hold x"
    with pytest.raises(InputError, match="outside its bounds"):
        call([9.0, 9.0], ([0, 0], [5, 5]))
