"""Which second derivatives are wanted: all of them, or the entries of a symmetric mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.differentiation.coloring import as_mask

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HessianPattern:
    """The entries of a symmetric matrix (d, d): some of its diagonal, and pairs of coordinates.

    Attributes
    ----------
    d : int
    moving : (a,) ndarray of int
        The coordinates that are moved.
    diagonal : (a,) ndarray of bool
        Which of them have an entry on the diagonal.
    first, second : (n,) ndarrays of int
        Numbers of coordinates within ``moving``, first < second: the pairs that have an entry.
    sparse, as_matrix : bool
        Whether the result is sparse, and whether it is a sparse matrix rather than a sparse array.
    """

    d: int
    moving: Numbers
    diagonal: NDArray[np.bool_]
    first: Numbers
    second: Numbers
    sparse: bool = False
    as_matrix: bool = False

    def filled(self, own: Floats, mixed: Floats) -> Any:
        """The matrix with second derivatives (a,) on its diagonal and (n,) at the pairs."""
        rows, columns = self.moving[self.first], self.moving[self.second]
        if not self.sparse:
            matrix = np.zeros((self.d, self.d))
            matrix[self.moving, self.moving] = own
            matrix[rows, columns] = matrix[columns, rows] = mixed
            return matrix
        from scipy.sparse import csr_array, csr_matrix

        at = self.moving[self.diagonal]
        data = np.concatenate((own[self.diagonal], mixed, mixed))
        places = np.concatenate((at, rows, columns)), np.concatenate((at, columns, rows))
        return (csr_matrix if self.as_matrix else csr_array)((data, places), shape=(self.d, self.d))


def full_pattern(moving: Numbers, d: int) -> HessianPattern:
    """All entries of the coordinates that may move."""
    first, second = np.triu_indices(len(moving), 1)
    return HessianPattern(d, moving, np.ones(len(moving), dtype=bool), first, second)


def masked_pattern(sparsity: Any, moving: Numbers, d: int) -> HessianPattern:
    """The entries of a mask (given whole, or as one half), without coordinates that do not move.

    Raises
    ------
    InputError
        If the mask is not of shape (d, d).
    """
    from scipy.sparse import isspmatrix

    if isinstance(sparsity, (str, tuple)):
        what = repr(sparsity) if isinstance(sparsity, str) else "(structure, groups)"
        raise InputError(
            f"sparsity: for a Hessian, give a mask ({d}, {d}) or a sparse array; {what} is for Jacobians only, whose "
            "columns can share points (each entry of a Hessian needs points of its own)"
        )
    try:
        mask = as_mask(sparsity)
    except (TypeError, ValueError, IndexError) as error:  # IndexError: older SciPy, for a one-dimensional mask
        raise InputError(f"sparsity: must be a mask ({d}, {d}) or a sparse array ({error})") from None
    if mask.shape != (d, d):
        raise InputError(f"sparsity: of a Hessian must be a mask ({d}, {d}) (had shape {mask.shape})")
    mask.sum_duplicates()
    mask.eliminate_zeros()
    entries = mask.tocoo()
    rows, columns = np.minimum(entries.row, entries.col).astype(np.int64), np.maximum(entries.row, entries.col)
    kept = np.isin(rows, moving) & np.isin(columns, moving)
    flat = np.unique(rows[kept] * d + columns[kept])
    rows, columns = flat // d, flat % d
    used = np.unique(np.concatenate((rows, columns)))
    diagonal = np.isin(used, rows[rows == columns])
    apart = rows != columns
    first, second = np.searchsorted(used, rows[apart]), np.searchsorted(used, columns[apart])
    return HessianPattern(d, used, diagonal, first, second, True, isspmatrix(sparsity))
