"""The last step: the stated sum, its order and its bits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from solving import bits

from distfd.differentiation.assemble import Terms, assemble

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

NUMBER = st.floats(-1e6, 1e6)
STEP = st.floats(1e-9, 10) | st.floats(-10, -1e-9)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Terms, Floats, Floats]:
    """Any terms: several a row, none for some rows, points used twice, rows in any order."""
    n, m, n_rows, n_terms = (draw(st.integers(1, 5)) for _ in range(4))
    terms = Terms(
        n_rows=n_rows,
        row=draw(hnp.arrays(np.int64, n_terms, elements=st.integers(0, n_rows - 1))),
        point=draw(hnp.arrays(np.int64, n_terms, elements=st.integers(0, n - 1))),
        coefficient=draw(hnp.arrays(np.float64, n_terms, elements=NUMBER)),
        divisor=draw(hnp.arrays(np.float64, n_terms, elements=STEP)),
    )
    values = draw(hnp.arrays(np.float64, (n, m), elements=NUMBER))
    return terms, values, draw(hnp.arrays(np.float64, m, elements=NUMBER))


@given(problems())
def test_rows_are_the_stated_sums_in_the_order_of_the_terms(problem: tuple[Terms, Floats, Floats]) -> None:
    terms, values, baseline = problem
    wanted = np.full((terms.n_rows, len(baseline)), -0.0)
    for t in range(len(terms.row)):
        for j in range(len(baseline)):
            part = terms.coefficient[t] * (values[terms.point[t], j] - baseline[j]) / terms.divisor[t]
            wanted[terms.row[t], j] += part
    assert bits(assemble(terms, values, baseline)) == bits(wanted)


@given(problems(), st.data())
def test_a_missing_value_is_missing_in_its_rows_and_outputs_alone(
    problem: tuple[Terms, Floats, Floats], data: st.DataObject
) -> None:
    terms, values, baseline = problem
    k = data.draw(st.integers(0, len(values) - 1))
    j = data.draw(st.integers(0, len(baseline) - 1))
    before = assemble(terms, values, baseline)
    values[k, j] = math.nan
    after = assemble(terms, values, baseline)
    touched = np.zeros(before.shape, dtype=bool)
    touched[terms.row[terms.point == k], j] = True
    assert np.isnan(after[touched]).all()
    assert bits(after[~touched]) == bits(before[~touched])


@given(problems())
def test_inputs_are_left_alone(problem: tuple[Terms, Floats, Floats]) -> None:
    terms, values, baseline = problem
    values.setflags(write=False)
    baseline.setflags(write=False)
    assemble(terms, values, baseline)


@given(NUMBER, NUMBER, STEP)
def test_one_term_is_the_source_formula_bit_for_bit(there: float, here: float, h: float) -> None:
    one = Terms(1, np.array([0]), np.array([0]), np.ones(1), np.array([h]))
    row = assemble(one, np.array([[there]]), np.array([here]))
    # A flat J with h < 0 has the derivative -0.0, as the formula has.
    assert bits(row) == bits(np.array((there - here) / h))


def test_what_floating_point_cannot_hold_is_infinite_and_no_warning() -> None:
    terms = Terms(2, np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([1.0, 1.0, 1.0]), np.array([1e-9, 1e-9, -1e-9]))
    rows = assemble(terms, np.array([[1e308], [1e308]]), np.array([-1e308]))
    assert rows[0] == math.inf
    assert math.isnan(rows[1, 0])
