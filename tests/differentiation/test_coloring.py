"""Groups of columns: no two share a row, few of them, and the user's own are checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from distfd.differentiation.coloring import find_groups, make_structure
from distfd.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

MASKS = st.tuples(st.integers(1, 8), st.integers(1, 8)).flatmap(lambda shape: hnp.arrays(np.bool_, shape))


def groups_of(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    columns, rows = np.nonzero(mask.T)
    return find_groups(rows, columns, (mask.shape[0], mask.shape[1]))


@given(MASKS)
def test_columns_of_a_group_share_no_row_and_each_with_entries_is_in_one(mask: NDArray[np.bool_]) -> None:
    group = groups_of(mask)
    assert ((group >= 0) == mask.any(axis=0)).all()
    for g in range(group.max() + 1):
        assert (mask[:, group == g].sum(axis=1) <= 1).all()
        assert np.any(group == g), "every group has a column, or an evaluation would be for nothing"
    assert group.max() + 1 >= mask.sum(axis=1).max(), "no grouping can do with less"


@pytest.mark.parametrize("width", [1, 3, 5, 8])
def test_a_band_takes_as_many_groups_as_it_is_wide(width: int) -> None:
    d = 200
    offsets = np.arange(width) - width // 2
    mask = sp.diags_array([np.ones(d - abs(k)) for k in offsets], offsets=offsets)
    structure = make_structure(mask, np.arange(d), d)
    assert structure.n_groups == width
    assert len(structure.rows) == mask.nnz


def test_an_arrow_takes_a_group_a_column() -> None:
    mask = np.eye(30, dtype=bool)
    mask[0] = mask[:, 0] = True
    assert groups_of(mask).max() + 1 == 30
    mask[0, 1:] = False  # without the full row, the first column is alone and all the others go together
    assert groups_of(mask).max() + 1 == 2


@pytest.mark.parametrize(
    "form", [np.asarray, np.ndarray.tolist, sp.csr_array, sp.csc_matrix, sp.coo_array, sp.lil_matrix]
)
def test_every_form_of_a_mask_is_the_same_structure(form: Any) -> None:
    mask = np.array([[1.5, 0, 0, 2], [0, 0, 3, 0], [0, 0, 0, -1]])
    structure = make_structure(form(mask), np.arange(4), 4)
    assert (structure.rows.tolist(), structure.columns.tolist()) == ([0, 1, 0, 2], [0, 2, 3, 3])
    assert structure.group[1] == -1
    filled = structure.filled(np.array([1.0, 2.0, 3.0, 4.0]))
    assert sp.isspmatrix_csr(filled) if sp.isspmatrix(form(mask)) else isinstance(filled, sp.csr_array)
    assert filled.toarray().tolist() == [[1, 0, 0, 3], [0, 0, 2, 0], [0, 0, 0, 4]]


def test_stored_zeros_are_entries_and_fixed_columns_have_none() -> None:
    stored = sp.csc_array((np.array([0.0, 1.0, 1.0]), np.array([0, 1, 1]), np.array([0, 1, 2, 3])), shape=(2, 3))
    structure = make_structure(stored, np.array([0, 2]), 3)
    assert structure.columns.tolist() == [0, 2]
    assert structure.group.tolist() == [0, -1, 0]
    cancelled = sp.coo_array((np.array([1.0, -1.0]), (np.array([1, 1]), np.array([0, 0]))), shape=(2, 3))
    assert make_structure(cancelled, np.arange(3), 3).columns.tolist() == [0]


def test_without_any_entry_all_columns_that_move_are_one_group() -> None:
    structure = make_structure(np.zeros((2, 3)), np.array([0, 2]), 3)
    assert structure.group.tolist() == [0, -1, 0]
    assert structure.n_groups == 1
    assert make_structure(np.zeros((2, 3)), np.array([], dtype=int), 3).n_groups == 0


def test_given_groups_are_kept() -> None:
    structure = make_structure((np.eye(4), [7, 7, 3, 3]), np.array([0, 1, 3]), 4)
    assert structure.group.tolist() == [1, 1, -1, 0]
    assert structure.n_groups == 2


@pytest.mark.parametrize(
    ("sparsity", "message"),
    [
        (np.ones((3, 3)), "needs 4 columns"),
        (np.ones(4), r"must be a mask \(m, 4\)"),
        ("diagonal", r"must be a mask \(m, 4\)"),
        ((np.ones((2, 4)), [0, 0, 1, 2]), "columns 0 and 1 are in one group and both have an entry in row 0"),
        ((np.eye(4), [0, 1]), "groups must be 4 whole numbers"),
        ((np.eye(4), [0.5, 1, 2, 3]), "groups must be 4 whole numbers"),
    ],
)
def test_what_is_no_structure_is_refused(sparsity: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_structure(sparsity, np.arange(4), 4)
