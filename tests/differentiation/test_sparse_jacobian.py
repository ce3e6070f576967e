"""Sparse Jacobians: the entries of the dense one, few evaluations, and memory for the entries alone."""

from __future__ import annotations

import tracemalloc
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from solving import bits, drive, plan

import distfd
from distfd.core.records import Status
from distfd.differentiation.method import Request, Wave
from distfd.differentiation.stencils import SCHEMES
from distfd.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


def tridiagonal(x: Any) -> Any:
    """F_i = 2 x_i^2 - x_{i-1} - sin x_{i+1}: takes complex x, and any number of coordinates."""
    found = 2 * x**2
    found[1:] -= x[:-1]
    found[:-1] -= np.sin(x[1:])
    return found


def band(d: int) -> Any:
    return sp.diags_array([np.ones(d - 1), np.ones(d), np.ones(d - 1)], offsets=[-1, 0, 1], format="csr")


def test_a_tridiagonal_system_of_ten_thousand_takes_four_evaluations_and_memory_for_its_entries() -> None:
    d = 10_000
    x, structure = np.linspace(0, 1, d), band(d)
    distfd.jacobian(tridiagonal, x[:3], sparsity=band(3), executor="serial")  # what it imports is no memory of its own
    tracemalloc.start()
    try:
        result = distfd.differentiate(tridiagonal, x, kind="jacobian", sparsity=structure, executor="serial")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert result.n_evaluations == 4
    assert isinstance(result.derivative, sp.csr_array)
    assert result.derivative.nnz == structure.nnz
    np.testing.assert_allclose(result.derivative.diagonal(), 4 * x, atol=1e-6)
    np.testing.assert_allclose(result.derivative.diagonal(1), -np.cos(x[1:]), atol=1e-6)
    np.testing.assert_allclose(result.derivative.diagonal(-1), -1, atol=1e-6)
    assert peak < 300 * structure.nnz  # 9 MB; a dense array would be 800 MB


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
@pytest.mark.parametrize("options", [{}, {"scheme": "central"}, {"step": "auto"}])
def test_a_structure_without_any_entry_is_held_against_j(options: dict[str, Any]) -> None:
    x, none = np.linspace(0.1, 1, 5), np.zeros((5, 5))
    how: dict[str, Any] = {"kind": "jacobian", "sparsity": none, "executor": "serial", **options}
    result = distfd.differentiate(tridiagonal, x, **how)
    assert "sparsity: output 0 changes where" in result.warnings[0]
    still = distfd.differentiate(lambda x: np.full(5, 1 / 3) + 0 * x, x, **how)
    assert not any("sparsity" in text for text in still.warnings)
    found: Any = still.derivative
    assert found.nnz == 0
    with pytest.raises(InputError, match="the structure lacks some of these entries"):
        distfd.jacobian(tridiagonal, x, sparsity=none, scheme="complex-step", executor="serial")


@pytest.mark.filterwarnings("ignore::distfd.DerivativeWarning")
def test_a_jacobian_that_is_0_by_chance_still_gives_the_structure() -> None:
    def fun(x: Any) -> Any:
        return np.array([x[0] * x[1], x[1] + x[2] ** 2])

    mask = sp.csr_array(np.array([[1, 1, 0], [0, 1, 1]]))
    at_zero = distfd.jacobian(fun, [0.0, 0.0, 0.0], scheme="central", sparsity=mask, executor="serial")
    assert at_zero.nnz == 4
    assert np.count_nonzero(at_zero.toarray()) == 1
    found = distfd.jacobian(fun, [1.0, 2.0, 3.0], scheme="central", sparsity=at_zero, executor="serial")
    np.testing.assert_allclose(found.toarray(), [[2, 1, 0], [0, 1, 6]], rtol=1e-8)


@pytest.mark.parametrize("scheme", [*SCHEMES, "complex-step"])
@settings(max_examples=25)
@given(st.data())
def test_entries_are_the_dense_ones_bit_for_bit_if_points_are_linear_in_no_other(
    scheme: Any, data: st.DataObject
) -> None:
    """An output that sees one coordinate of its group alone gives the same bits, whatever else moves."""
    m, d = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 6))
    mask = data.draw(hnp.arrays(np.bool_, (m, d)))
    x = data.draw(hnp.arrays(np.float64, d, elements=st.floats(-3, 3)))
    bounds = [(v - data.draw(st.sampled_from([0, 9])), v + data.draw(st.sampled_from([1, 9]))) for v in x.tolist()]

    def fun(at: Any) -> Any:
        # Row by row over its own coordinates: a product with a dense mask would round with all of them.
        return np.array([sum((np.sin((j + 1) * at[j]) for j in np.flatnonzero(row)), 0.0 * at[0]) for row in mask])

    dense_plan = plan("jacobian", x, scheme=scheme, bounds=bounds)
    sparse_plan = plan("jacobian", x, scheme=scheme, bounds=bounds, sparsity=mask)
    if scheme == "complex-step" and not np.any(mask):
        return
    try:
        dense = drive(dense_plan, fun)[0].derivative
    except distfd.EvaluationError:
        return  # every imaginary part underflowed or vanished: refused alike
    sparse, waves = drive(sparse_plan, fun)
    assert bits(sparse.derivative.toarray()[mask]) == bits(dense[mask])
    assert sparse.derivative.nnz == mask.sum()
    nodes = len(waves[0].request.points) - 1
    assert nodes >= mask.sum(axis=1).max()


def test_bounds_are_kept_by_each_coordinate_of_a_group() -> None:
    x = np.linspace(-1, 1, 9)
    bounds = [(v, v + 1) if k % 2 else (v - 1, v) for k, v in enumerate(x)]
    bounds[4] = (x[4], x[4])
    asked = plan("jacobian", x, scheme="central", bounds=bounds, sparsity=band(9))
    answer, (wave,) = drive(asked, tridiagonal)
    low, high = np.array(bounds).T
    for k in range(len(wave.values)):
        assert np.all((low <= wave.request.points.dense(k)) & (wave.request.points.dense(k) <= high))
    assert answer.step[4] == 0
    assert np.all(answer.derivative.toarray()[:, 4] == 0)
    np.testing.assert_allclose(answer.derivative.diagonal()[5], 4 * x[5], atol=1e-8)


def test_a_lost_point_loses_its_groups_columns() -> None:
    x = np.linspace(0.1, 1, 9)
    asked = plan("jacobian", x, sparsity=band(9))
    whole, (wave,) = drive(asked, tridiagonal)
    values, status = wave.values.copy(), wave.status.copy()
    values[2], status[2] = np.nan, Status.TIMEOUT
    answer = asked.advance([Wave(wave.request, values, status)])
    assert not isinstance(answer, Request)
    assert answer.missing.tolist() == sorted(wave.request.points.changes(2)[0].tolist())
    found, wanted = answer.derivative.toarray(), whole.derivative.toarray()
    others = np.setdiff1d(np.arange(9), answer.missing)
    assert bits(found[:, others]) == bits(wanted[:, others])
    assert np.isnan(answer.derivative.data).sum() == sum(np.diff(band(9).tocsc().indptr)[answer.missing])


def test_a_structure_of_another_height_is_refused() -> None:
    with pytest.raises(InputError, match="sparsity: has 4 rows, and J has 5 outputs"):
        drive(plan("jacobian", np.ones(5), sparsity=band(5)[:4]), tridiagonal)


@pytest.mark.parametrize("bounded", [False, True])
def test_a_structure_is_found_by_probing_where_x_itself_hides_it(bounded: bool) -> None:
    """At x = 0 a product and a square have no derivative; a displaced point has."""

    def fun(x: Floats) -> Floats:
        return np.array([x[0] * x[1], x[2] ** 2, np.sin(x[3]) + 3, 1.0])

    bounds = [(0, 1)] * 4 if bounded else None
    answer, waves = drive(plan("jacobian", np.zeros(4), sparsity="probe", bounds=bounds), fun)
    assert [len(wave.request.points) for wave in waves] == [5, 5, 3]
    rows, columns = answer.derivative.tocoo().coords
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0), (0, 1), (1, 2), (2, 3)]
    for wave in waves:
        for k in range(len(wave.values)):
            assert not bounded or np.all((wave.request.points.dense(k) >= 0) & (wave.request.points.dense(k) <= 1))


def test_a_column_that_failed_in_both_probes_may_have_every_entry() -> None:
    asked = plan("jacobian", np.ones(3), sparsity="probe")
    waves: list[Wave] = []
    for _ in range(2):
        request = asked.advance(waves)
        assert isinstance(request, Request)
        values = np.array([tridiagonal(request.points.dense(k)) for k in range(4)])
        status = np.full(4, Status.OK, dtype=np.uint8)
        status[1], values[1] = Status.CRASH, np.nan
        waves.append(Wave(request, values, status))
    last = asked.advance(waves)
    assert isinstance(last, Request)
    values = np.array([tridiagonal(last.points.dense(k)) for k in range(len(last.points))])
    answer = asked.advance([*waves, Wave(last, values, np.full(len(values), Status.OK, dtype=np.uint8))])
    assert not isinstance(answer, Request)
    assert np.diff(answer.derivative.tocsc().indptr).tolist() == [3, 3, 2]


def test_an_evaluator_probes_once() -> None:
    x = np.linspace(0, 1, 30)
    with distfd.Evaluator(tridiagonal, executor="serial") as evaluator:
        first = evaluator.differentiate(x, kind="jacobian", sparsity="probe")
        second = evaluator.differentiate(x + 0.1, kind="jacobian", sparsity="probe")
    assert (first.n_evaluations, second.n_evaluations) == (2 * 31 + 4, 4 + 1), "one more tells whether it still holds"
    structures: list[Any] = [first.derivative, second.derivative]
    assert [structure.nnz for structure in structures] == [88, 88]


def test_another_word_than_probe_is_refused() -> None:
    with pytest.raises(InputError, match=r"sparsity: must be a mask.*or 'probe' \(was 'prob'\)"):
        plan("jacobian", np.ones(3), sparsity="prob")


def chain(x: Any) -> Any:
    """F = (x0 x1, x1 + x2, x2^2): at x1 = 0 an entry is 0 that elsewhere is not."""
    return np.array([x[0] * x[1], x[1] + x[2], x[2] ** 2])


@pytest.mark.parametrize("scheme", ["forward", "central", "complex-step"])
def test_what_is_kept_of_a_probe_is_where_entries_are_and_not_what_they_were(scheme: Any) -> None:
    with distfd.Evaluator(chain, scheme=scheme, executor="serial") as ev:
        for x in ([1, 0, 0.5], [1, 2, 0.5], [3, 1, 0.0], [0, 0, 0.25]):
            found = ev.jacobian(x, sparsity="probe")
            exact: Any = [[x[1], x[0], 0], [0, 1, 1], [0, 0, 2 * x[2]]]
            np.testing.assert_allclose(found.toarray(), exact, atol=1e-7)
            assert found.nnz == 5


def test_a_fit_with_a_probed_structure_goes_where_a_dense_one_goes() -> None:
    found = distfd.least_squares(chain, [1.0, 0.0, 3.0], sparsity="probe", executor="serial")
    assert found.success
    assert found.cost < 1e-9
    np.testing.assert_allclose(found.fun, 0, atol=1e-5)


def switching(x: Any) -> Any:
    """Entries come and go with branches of J."""
    return np.array(
        [
            x[0] ** 2 + (x[3] if x[0].real > 2 else 0) + x[1],
            x[1] * x[2],
            (x[2] if x[2].real > 0 else 0) + x[3],
            x[0] - x[3] if x[1].real > 0 else 0 * x[0],
        ]
    )


@pytest.mark.parametrize("scheme", ["forward", "central", "complex-step"])
def test_a_probed_structure_grows_where_j_has_other_entries(scheme: Any) -> None:
    with (
        distfd.Evaluator(switching, scheme=scheme, executor="serial") as ev,
        distfd.Evaluator(switching, scheme=scheme, executor="serial") as dense,
    ):
        for x in ([1.0, -1, -1, 1], [3, -1, -1, 1], [3, 1, 1, 1], [3, 1, 1, 2], [1, -1, 1, 2]):
            found: Any = ev.differentiate(x, kind="jacobian", sparsity="probe")
            np.testing.assert_allclose(found.derivative.toarray(), dense.jacobian(x), atol=1e-6)
            assert not found.warnings


def test_noise_does_not_make_it_look_again_and_again() -> None:
    rng = np.random.default_rng(0)

    def rough(x: Floats) -> Any:
        return chain(x) * (1 + 1e-7 * rng.normal(size=3))

    with distfd.Evaluator(rough, executor="serial") as ev:
        costs = [
            ev.differentiate([1 + k / 7, 0.5, 2], kind="jacobian", sparsity="probe").n_evaluations for k in range(12)
        ]
    assert sum(cost > 8 for cost in costs[1:]) <= 2, "a look costs 8 evaluations more"


def test_an_output_without_a_value_has_no_row_to_probe() -> None:
    def fun(x: Any) -> Any:
        return np.array([x[0] * x[1], np.nan, x[2] ** 2])

    found: Any = distfd.differentiate(
        fun, [1.0, 2, 3], kind="jacobian", sparsity="probe", on_failure="nan", executor="serial"
    )
    assert np.isnan(found.derivative.toarray()).tolist() == [[False] * 3, [True] * 3, [False] * 3]
    np.testing.assert_allclose(found.derivative.toarray()[[0, 2]], [[2, 1, 0], [0, 0, 6]], atol=1e-6)
    assert found.n_evaluations == 2 * 4 + 1 + 2, "and the two other rows take two groups"


LACKING: dict[str, tuple[Any, str]] = {
    "an empty row": ([[1, 1, 0], [0, 1, 1], [0, 0, 0]], r"output 2 changes where .*coordinate 2.* moved"),
    "a row that moves elsewhere": (
        [[0, 0, 0], [0, 1, 1], [0, 0, 1]],
        r"output 0 changes where .*coordinate [01].* moved",
    ),
    "one entry": ([[1, 1, 0], [0, 0, 1], [0, 0, 1]], r"output 1 changes where .*coordinate 1.* moved"),
    "an empty column": ([[1, 0, 0], [0, 0, 1], [0, 0, 1]], ""),
}


@pytest.mark.parametrize("scheme", ["forward", "backward", "central", "central4"])
@pytest.mark.parametrize(("mask", "message"), LACKING.values(), ids=LACKING)
@pytest.mark.parametrize("bounded", [False, True])
def test_a_row_that_changes_where_the_mask_has_no_entry_is_told_by_name(
    bounded: bool, mask: Any, message: str, scheme: Any
) -> None:
    x = [1.0, 2.0, 0.5]
    bounds = [(v, v + 1) for v in x] if bounded else None
    if not message:  # a column without entries is not moved, so nothing is seen
        assert not distfd.differentiate(
            chain, x, kind="jacobian", sparsity=mask, scheme=scheme, executor="serial"
        ).warnings
        return
    with pytest.warns(distfd.DerivativeWarning, match=message) as told:
        distfd.jacobian(chain, x, sparsity=mask, scheme=scheme, bounds=bounds, executor="serial")
    assert "Add the entry" in str(told[0].message)
    with warnings.catch_warnings():  # what it says to do works
        warnings.simplefilter("error")
        full = distfd.jacobian(
            chain, x, sparsity=np.abs(mask) + EXACT_MASK, scheme=scheme, bounds=bounds, executor="serial"
        )
    np.testing.assert_allclose(full.toarray(), [[2, 1, 0], [0, 1, 1], [0, 0, 1]], atol=1e-6)


EXACT_MASK = np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1]])


def test_rounding_in_rows_without_an_entry_is_no_entry() -> None:
    def fun(x: Floats) -> Any:
        # The second row has x0 and takes it away again.
        return np.array([x[0] ** 2, (1 + x[0]) - x[0] + x[1], x[2]])

    found = distfd.differentiate(fun, [0.3, 0.7, 0.1], kind="jacobian", sparsity=np.eye(3), executor="serial")
    assert not found.warnings


def test_one_output_that_is_missing_costs_its_entry_alone() -> None:
    def fun(x: Floats) -> Any:
        return np.array([x[0] ** 2, np.nan if x[0] > 1 else x[0], x[1]])

    found: Any = distfd.differentiate(
        fun, [1.0, 2.0], kind="jacobian", sparsity=[[1, 0], [1, 0], [0, 1]], on_failure="nan", executor="serial"
    )
    assert np.isnan(found.derivative.toarray()).tolist() == [[False, False], [True, False], [False, False]]
    assert found.missing.tolist() == [0]
    assert found.missing_entries.tolist() == [[1, 0]]
