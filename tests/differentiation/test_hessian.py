"""Hessians with given steps: schemes, masks, and what bounds or rounding leave of a second difference."""

from __future__ import annotations

import math
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import rosen, rosen_hess
from solving import bits, drive, plan

import distfd
from distfd.errors import DerivativeWarning, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SERIAL: dict[str, Any] = {"executor": "serial"}
X = np.array([1.0, 0.5])
EXACT = np.array([[200 * (2 * math.exp(-2) - 0.3 * math.exp(-1)), math.sinh(0.5)], [math.sinh(0.5), math.cosh(0.5)]])
ROSEN = np.linspace(-1.0, 1.3, 6)


def well(p: Floats) -> float:
    return float(100 * (np.exp(-p[0]) - 0.3) ** 2 + np.cosh(p[1]) * p[0])


@pytest.mark.parametrize(
    ("scheme", "evaluations", "named", "tolerance"),
    [
        ("forward", 7, "central", 1e-6),
        ("central", 7, "central", 1e-6),
        ("backward", 9, "backward", 1e-4),
        ("forward2", 9, "forward2", 1e-4),
        ("backward2", 9, "backward2", 1e-4),
        ("central4", 13, "central4", 1e-8),
        (distfd.Stencil("mine", (-1, 1, 2)), 7, "central", 1e-6),
        (distfd.Stencil("wide", (-2, -1, 1, 2)), 13, "wide", 1e-8),
    ],
)
def test_the_scheme_says_on_which_sides_points_are_and_of_what_order(
    scheme: Any, evaluations: int, named: str, tolerance: float
) -> None:
    seen: list[Floats] = []

    def fun(p: Floats) -> float:
        seen.append(p.copy())
        return well(p)

    found = distfd.differentiate(fun, X, kind="hessian", scheme=scheme, **SERIAL)
    assert (found.n_evaluations, found.n_reused, found.scheme) == (evaluations, 0, named)
    np.testing.assert_allclose(found.derivative, EXACT, rtol=0, atol=tolerance)
    moves = np.array(seen) - X
    if named.startswith("backward"):
        assert (moves <= 0).all()
    if named == "forward2":
        assert (moves >= 0).all()


def test_fourth_order_falls_with_the_fourth_power() -> None:
    errors = [
        np.abs(drive(plan("hessian", X, scheme="central4", step=distfd.AbsoluteStep(h)), well)[0].derivative - EXACT)
        for h in (0.04, 0.02)
    ]
    assert 3.6 < math.log2(errors[0][0, 0] / errors[1][0, 0]) < 4.4
    assert 3.6 < math.log2(errors[0][0, 1] / errors[1][0, 1]) < 4.4


@pytest.mark.parametrize(("width", "sides"), [*product([1e-8, 1e-9, 1e-10, 1e-11, 1e-13], ["both", "up", "down"])])
def test_bounds_without_room_for_a_second_difference_are_named(width: float, sides: str) -> None:
    bounds = [(1 - width * (sides != "up"), 1 + width * (sides != "down")), (None, None)]
    with pytest.warns(DerivativeWarning, match=r"too little room along coordinate 0 \('a'\) for second") as told:
        found = distfd.differentiate(well, X, kind="hessian", bounds=bounds, names=["a", "b"], **SERIAL)
    assert len(told) == 1
    assert found.derivative[1, 1] == pytest.approx(EXACT[1, 1], rel=1e-6), "the other one has room"
    with pytest.warns(DerivativeWarning, match="too little room along coordinate 0"):
        distfd.hvp(well, X, [1.0, 1.0], bounds=bounds, **SERIAL)


@pytest.mark.parametrize("width", [1e-8, 1e-11])
def test_what_the_warning_of_tight_bounds_says_works(width: float) -> None:
    bounds = [(1 - width, 1 + width), (None, None)]
    unreal = distfd.hessian(well_anywhere, X, bounds=bounds, scheme="complex-step", **SERIAL)
    np.testing.assert_allclose(unreal, EXACT, rtol=1e-4)
    fixed = distfd.hessian(well, X, bounds=[(1, 1), (None, None)], **SERIAL)
    np.testing.assert_allclose(fixed, EXACT * [[0, 0], [0, 1]], atol=1e-6)


def well_anywhere(p: Any) -> Any:
    return 100 * (np.exp(-p[0]) - 0.3) ** 2 + np.cosh(p[1]) * p[0]


@pytest.mark.parametrize("width", [1e-2, 1e-4, 1e-5])
def test_bounds_with_enough_room_are_no_matter(width: float) -> None:
    for bounds in ([(1 - width, 1 + width), (None, None)], [(1, 1 + width), (0.5 - width, 0.5)]):
        found = distfd.differentiate(well, X, kind="hessian", bounds=bounds, **SERIAL)
        np.testing.assert_allclose(found.derivative, EXACT, rtol=2e-4)
        assert not found.warnings


def test_functions_that_do_not_bend_are_not_doubted() -> None:
    for fun in (lambda p: 3 * p[0] - p[1], lambda p: p[0] * p[1], lambda p: 1.0 + 0 * p[0]):
        found = distfd.differentiate(fun, X, kind="hessian", **SERIAL)
        assert not found.warnings


def test_a_large_offset_is_told_and_auto_gets_past_it() -> None:
    def offset(p: Floats) -> float:
        return float(1e9 + np.sum(np.sin(p)))

    with pytest.warns(DerivativeWarning, match=r"along coordinate 0, coordinate 1 are mostly rounding: J is 1e\+09"):
        distfd.hessian(offset, [1.0, 1.0], **SERIAL)
    found = distfd.differentiate(offset, [1.0, 1.0], kind="hessian", step="auto", **SERIAL)
    np.testing.assert_allclose(found.derivative, np.diag([-math.sin(1)] * 2), atol=1e-3)
    assert np.all(np.abs(found.derivative - np.diag([-math.sin(1)] * 2)) <= found.error)


@pytest.mark.parametrize("options", [{}, {"scheme": "central4"}, {"sparsity": np.ones((2, 2))}])
@pytest.mark.parametrize("offset", [1e10, 1e12])
def test_an_offset_that_hides_all_second_differences_is_told(offset: float, options: dict[str, Any]) -> None:
    with pytest.warns(DerivativeWarning, match="along coordinate 0, coordinate 1 are mostly rounding"):
        distfd.hessian(lambda x: offset + np.sin(x[0]) * x[1], [0.5, 2.0], executor="serial", **options)


@pytest.mark.parametrize("options", [{}, {"sparsity": np.ones((3, 3))}])
def test_small_entries_of_a_row_that_rounding_hides_are_told_and_auto_finds_them(options: dict[str, Any]) -> None:
    def fun(x: Floats, offset: float) -> float:
        return float(offset + 0.05 * np.exp(x[0]) + 3e-4 * np.sin(x[0] * x[1]) + 5 * np.cosh(x[2]))

    x, mixed = [0.5, 1.0, 0.3], 3e-4 * (math.cos(0.5) - 0.5 * math.sin(0.5))
    found = distfd.hessian(fun, x, args=(0.0,), executor="serial", **options)
    assert found[0, 1] == pytest.approx(mixed, rel=0.1), "without a word"
    with pytest.warns(DerivativeWarning, match=r"small second derivatives along coordinate 0 are lost in rounding"):
        found = distfd.hessian(fun, x, args=(1e5,), executor="serial", **options)
    assert found[2, 2] == pytest.approx(5 * math.cosh(0.3), rel=1e-2)
    remedied = distfd.differentiate(fun, x, args=(1e5,), kind="hessian", step="auto", executor="serial")
    assert remedied.derivative[0, 1] == pytest.approx(mixed, rel=0.1)


@pytest.mark.parametrize("fun", [lambda x: 3 * x[0] - x[1], lambda x: 1e10 + 0 * x[0], lambda x: x[0] ** 2 - x[1]])
def test_second_derivatives_that_are_0_are_not_doubted(fun: Any) -> None:
    distfd.hessian(fun, [0.5, 2.0], executor="serial")  # warnings are errors here


@pytest.mark.parametrize("form", ["whole", "upper", "lower", "sparse array", "sparse matrix"])
def test_a_mask_of_either_half_costs_two_points_for_each_coordinate_and_pair(form: str) -> None:
    d = len(ROSEN)
    band: Any = np.eye(d) + np.eye(d, k=1) + np.eye(d, k=-1)
    mask = {
        "whole": band,
        "upper": np.triu(band),
        "lower": np.tril(band).astype(bool),
        "sparse array": sp.csr_array(band),
        "sparse matrix": sp.csc_matrix(band),
    }[form]
    found: Any = distfd.differentiate(rosen, ROSEN, kind="hessian", sparsity=mask, **SERIAL)
    assert found.n_evaluations == 1 + 2 * d + 2 * (d - 1)
    assert type(found.derivative) is (sp.csr_matrix if form == "sparse matrix" else sp.csr_array)
    dense = distfd.hessian(rosen, ROSEN, **SERIAL)
    assert bits(found.derivative.toarray()) == bits(np.where(band, dense, 0.0)), "the same points and weights"
    np.testing.assert_allclose(found.derivative.toarray(), rosen_hess(ROSEN), rtol=1e-5, atol=1e-4)
    assert found.derivative.nnz == band.sum()


@pytest.mark.parametrize("options", [{"step": "auto"}, {"scheme": "complex-step"}, {"scheme": "central4"}])
@pytest.mark.parametrize("bounded", [False, True])
def test_masks_go_with_every_way_to_a_hessian(options: dict[str, Any], bounded: bool) -> None:
    band = np.tri(6, 6, 1) - np.tri(6, 6, -2)
    bounds = [(v, v + 2) if k % 2 else (v - 2, v + 0.0) for k, v in enumerate(ROSEN)] if bounded else None
    found: Any = distfd.differentiate(
        rosen_anywhere, ROSEN, kind="hessian", sparsity=band, bounds=bounds, **options, **SERIAL
    )
    np.testing.assert_allclose(found.derivative.toarray(), rosen_hess(ROSEN), rtol=1e-4, atol=2e-3)
    if found.error is not None:
        assert isinstance(found.error, sp.csr_array)
        assert found.error.nnz == found.derivative.nnz


def rosen_anywhere(x: Any) -> Any:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def test_ten_thousand_coordinates_in_a_band_take_no_dense_matrix() -> None:
    d = 2000
    x = np.linspace(0.5, 1.5, d)
    band = sp.diags_array([np.ones(d - 1), np.ones(d)], offsets=[1, 0])
    method = plan("hessian", x, sparsity=band)
    request: Any = method.advance(())
    assert len(request.points) == 4 * d - 1


def test_a_mask_without_an_entry_on_the_diagonal_is_told_where_there_is_one() -> None:
    mask = [[0, 1], [1, 1]]
    with pytest.warns(DerivativeWarning, match=r"second derivative along coordinate 0 is not 0.*Add the entry"):
        distfd.hessian(well, X, sparsity=mask, **SERIAL)
    with pytest.warns(DerivativeWarning, match="second derivative along coordinate 0"):
        distfd.hessian(well, X, sparsity=mask, step="auto", **SERIAL)
    assert not distfd.differentiate(lambda p: p[0] * p[1] ** 2, X, kind="hessian", sparsity=mask, **SERIAL).warnings


@pytest.mark.parametrize(
    ("sparsity", "message"),
    [
        ("probe", "'probe' is for Jacobians"),
        ((np.eye(2), np.array([0, 1])), r"\(structure, groups\) is for Jacobians"),
        (np.eye(3), r"must be a mask \(2, 2\) \(had shape \(3, 3\)\)"),
        (np.ones(2), r"mask \(2, 2\)"),
        ("no", "'no' is for Jacobians"),
    ],
)
def test_what_is_no_mask_of_a_hessian_is_refused(sparsity: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        distfd.hessian(well, X, sparsity=sparsity, **SERIAL)


def test_an_empty_mask_is_a_hessian_without_entries() -> None:
    found: Any = distfd.differentiate(well, X, kind="hessian", sparsity=np.zeros((2, 2)), **SERIAL)
    assert (found.derivative.nnz, found.derivative.shape, found.n_evaluations) == (0, (2, 2), 1)


@pytest.mark.parametrize(("scheme", "order"), [("central4", 4), ("backward", 2), ("forward2", 2), ("central", 2)])
def test_products_take_the_schemes_order_and_sides(scheme: Any, order: int) -> None:
    v = np.array([0.7, -1.0])
    errors, seen = [], []

    def fun(p: Floats) -> float:
        seen.append(p.copy())
        return well(p)

    for h in (0.04, 0.02):
        found = drive(plan("hvp", X, v=v, scheme=scheme, step=distfd.AbsoluteStep(h)), fun)[0]
        errors.append(np.linalg.norm(found.derivative - EXACT @ v))
    assert abs(math.log2(errors[0] / errors[1]) - order) < 0.5
    moves = np.array(seen) - X
    if scheme != "central" and order == 2:
        away = moves[(moves != 0).sum(axis=1) == 1]
        assert len(away)


def test_tiny_parameters_have_a_hessian_where_steps_find_their_size() -> None:
    exact = 1e12 * math.e
    found = distfd.differentiate(lambda p: math.exp(1e6 * p[0]), [1e-6], kind="hessian", step="auto", **SERIAL)
    assert found.derivative[0, 0] == pytest.approx(exact, rel=1e-5)
    scaled = distfd.hessian(lambda p: math.exp(1e6 * p[0]), [1e-6], scale=[1e-6], **SERIAL)
    assert scaled[0, 0] == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("free", [False, True])
def test_a_product_in_bounds_of_one_spacing_is_an_error_and_not_zero(free: bool) -> None:
    bounds = [(1.0, np.nextafter(1.0, 2)), (None, None) if free else (2.0, np.nextafter(2.0, 3))]
    with pytest.raises(InputError, match=r"coordinate 0.*step is too small"):
        distfd.differentiate(
            lambda x: x[0] ** 3 * x[1], [1.0, 2.0], kind="hvp", v=[1.0, 0.5], bounds=bounds, executor="serial"
        )
