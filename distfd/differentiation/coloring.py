"""Groups the columns of a sparse Jacobian, so that one evaluation serves a group: no two of its columns share a row.

Curtis, Powell & Reid, J. Inst. Maths Applics 13 (1974); Coleman & Moré, SIAM J. Numer. Anal. 20 (1983).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from scipy.sparse import csc_array


@dataclass(frozen=True, eq=False)
class Structure:
    """Where a Jacobian (m, d) may be other than 0, and its columns in groups.

    Attributes
    ----------
    shape : (m, d)
    rows, columns : (n,) ndarrays of int
        The entries, sorted by column and then by row.
    group : (d,) ndarray of int
        The group of each column, 0 .. n_groups - 1; -1 for columns that are not moved. Columns without entries are not,
        unless there is no entry at all: then all columns are one group, which shows whether J changes after all.
    as_matrix : bool
        Whether the user gave a sparse matrix, and so gets one back instead of a sparse array.
    """

    shape: tuple[int, int]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    group: NDArray[np.int64]
    as_matrix: bool = False

    @property
    def n_groups(self) -> int:
        """The number of evaluations for each node of the stencil."""
        return int(self.group.max(initial=-1)) + 1

    def columns_of(self, group: int) -> NDArray[np.int64]:
        """The columns that are moved together."""
        return np.flatnonzero(self.group == group)

    def joined(self, other: Structure) -> Structure:
        """The entries of both structures, grouped anew."""
        m, d = self.shape
        if other.shape != self.shape:
            return other
        flat = np.unique(np.concatenate((self.columns * m + self.rows, other.columns * m + other.rows)))
        columns, rows = flat // m, flat % m
        return Structure(self.shape, rows, columns, find_groups(rows, columns, (m, d)), self.as_matrix)

    def filled(self, data: NDArray[np.float64]) -> Any:
        """The matrix with these entries: csr_array, or csr_matrix where one was given."""
        from scipy.sparse import csr_array, csr_matrix

        kind = csr_matrix if self.as_matrix else csr_array
        return kind((data, (self.rows, self.columns)), shape=self.shape)


def as_mask(sparsity: Any) -> csc_array:
    """What a user gives as a mask, where every stored element of a sparse array is an entry.

    Raises
    ------
    TypeError, ValueError, IndexError
        If it can be no mask; the last with older SciPy, for a one-dimensional one.
    """
    from scipy.sparse import csc_array, issparse

    if issparse(sparsity):
        return csc_array(sparsity)
    if not np.ndim(sparsity):
        raise TypeError(f"was {sparsity!r}")
    return csc_array(np.asarray(sparsity) != 0)


def make_structure(sparsity: Any, moving: NDArray[np.int64], d: int) -> Structure:
    """The structure that a user describes, without the columns that do not move.

    Parameters
    ----------
    sparsity : (m, d) array, sparse array or matrix, or (structure, groups)
        0 where the derivative is 0 at every x. Every stored element of a sparse array is an entry, whatever its value:
        a Jacobian that was computed elsewhere may have a 0 by chance at that x. ``groups`` (d,) says which columns are
        perturbed together, in SciPy's format; without it the groups are computed.
    moving : (a,) ndarray of int
    d : int

    Raises
    ------
    InputError
        If it has another form, or columns of a given group share a row.
    """
    from scipy.sparse import issparse, isspmatrix

    groups = None
    if isinstance(sparsity, tuple) and len(sparsity) == 2 and (issparse(sparsity[0]) or np.ndim(sparsity[0]) == 2):
        sparsity, groups = sparsity
    try:
        mask = as_mask(sparsity)
    except (TypeError, ValueError, IndexError) as error:  # IndexError: older SciPy, for a one-dimensional mask
        raise InputError(
            f"sparsity: must be a mask (m, {d}), a sparse array, or (structure, groups) ({error})"
        ) from error
    if mask.ndim != 2 or mask.shape[1] != d:
        raise InputError(f"sparsity: needs {d} columns, one for each coordinate (had shape {mask.shape})")
    mask.sum_duplicates()
    mask.sort_indices()
    columns = np.repeat(np.arange(d), np.diff(mask.indptr))
    kept = np.isin(columns, moving)
    rows, columns = mask.indices[kept].astype(np.int64), columns[kept]
    shape = (int(mask.shape[0]), d)
    group = _given(groups, rows, columns, d) if groups is not None else find_groups(rows, columns, shape)
    if not len(columns):
        group[moving] = 0
    return Structure(shape, rows, columns, group, isspmatrix(sparsity))


def find_groups(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.int64]:
    """Groups of columns, (d,), -1 for columns without entries, by SciPy's greedy algorithm over several orders.

    No grouping has fewer groups than the fullest row has entries; the search ends at an order that reaches this number.
    """
    from scipy.optimize._numdiff import group_columns
    from scipy.sparse import csc_array

    used = np.unique(columns)
    result = np.full(shape[1], -1)
    if not len(used):
        return result
    entries = (np.ones(len(rows), dtype=np.int32), (rows, np.searchsorted(used, columns)))
    compact = csc_array(entries, shape=(shape[0], len(used)))
    least = int(np.bincount(rows).max())
    best: NDArray[np.int64] | None = None
    for order in _orders(np.diff(compact.indptr)):
        found = group_columns(compact, order)
        if best is None or found.max() < best.max():
            best = found
        if best.max() + 1 == least:
            break
    result[used] = best
    return result


def _orders(counts: NDArray[np.int64]) -> Iterator[NDArray[np.int64] | int]:
    """Orders of columns: as given (best for banded matrices), fullest first, SciPy's shuffle with a fixed seed."""
    yield np.arange(len(counts))
    yield np.argsort(-counts, kind="stable")
    yield 0


def _given(groups: Any, rows: NDArray[np.int64], columns: NDArray[np.int64], d: int) -> NDArray[np.int64]:
    given = np.asarray(groups)
    if given.shape != (d,) or given.dtype.kind not in "iu":
        raise InputError(f"sparsity: groups must be {d} whole numbers, one for each column (had shape {given.shape})")
    result = np.full(d, -1)
    used = np.unique(columns)
    result[used] = np.unique(given[used], return_inverse=True)[1]
    pairs = np.stack((rows, result[columns]))
    twice = np.unique(pairs, axis=1, return_counts=True)
    if np.any(twice[1] > 1):
        row, group = twice[0][:, np.argmax(twice[1] > 1)]
        first, second = columns[(rows == row) & (result[columns] == group)][:2]
        raise InputError(f"sparsity: columns {first} and {second} are in one group and both have an entry in row {row}")
    return result
