"""The last, linear step of every finite-difference derivative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Terms:
    """Entry a = sum of coefficient (F[point] - F_0) / divisor over the terms t with row[t] = a, in their order.

    Dividing by the realised step, not multiplying by its inverse, makes the forward difference the source formula's
    own bits. Subtracting F_0 first keeps the digits that a weighted sum with a baseline weight loses.

    ``output`` gives, where each row is one number, the output j of J that a term takes: F[point, j] - F_0[j]. (A sparse
    structure needs that, as its points move several coordinates.) Without ``output`` a row has all outputs.
    """

    n_rows: int
    row: NDArray[np.int64]
    point: NDArray[np.int64]
    coefficient: NDArray[np.float64]
    divisor: NDArray[np.float64]
    output: NDArray[np.int64] | None = None


def assemble(terms: Terms, values: NDArray[Any], baseline: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum the rows from values (n, m) and J(x), (m,): (n_rows, m), or (n_rows,) where terms take one output.

    Complex values come from imaginary steps. Their weights are coefficient / (i divisor), and only the real part of the
    sum is kept, so the real parts of the values and of the baseline drop out.

    The same values give the same bits, whatever order they arrived in. A row with a missing value (NaN) is NaN. A row
    that overflows is infinite or NaN.
    """
    if np.iscomplexobj(values):
        values, baseline = values.imag, np.zeros(len(baseline))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if terms.output is None:
            part = terms.coefficient[:, None] * (values[terms.point] - baseline) / terms.divisor[:, None]
        else:
            change = values[terms.point, terms.output] - baseline[terms.output]
            part = terms.coefficient * change / terms.divisor
        rows = np.full((terms.n_rows, *part.shape[1:]), -0.0)  # -0.0 + a is a, bit for bit; 0.0 + -0.0 is not
        np.add.at(rows, terms.row, part)
    return rows


@dataclass(frozen=True, eq=False)
class WeightSums:
    """Sums over the weights W of each row, which tell how noise and rounding of J act on it.

    Weights of the same point are added up first.

    Attributes
    ----------
    total, absolute, squares : (n_rows,) ndarrays
        sum W, sum abs(W) and sum W^2; the baseline's own weight is -sum W.
    """

    total: NDArray[np.float64]
    absolute: NDArray[np.float64]
    squares: NDArray[np.float64]


def weight_sums(*weighted: tuple[float, Terms, int]) -> WeightSums:
    """The sums for a combination of terms: (factor, terms, number by which its points are shifted) each."""
    n = weighted[0][1].n_rows
    row = np.concatenate([terms.row for _, terms, _ in weighted])
    point = np.concatenate([terms.point + shift for _, terms, shift in weighted])
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        weight = np.concatenate([factor * terms.coefficient / terms.divisor for factor, terms, _ in weighted])
        place, where = np.unique(row * (1 + point.max(initial=0)) + point, return_inverse=True)
        merged = np.bincount(where, weight, len(place))
        rows = place // (1 + point.max(initial=0))
        sums = [np.bincount(rows, part, n) for part in (merged, np.abs(merged), merged**2)]
    total, absolute, squares = (np.asarray(part, dtype=np.float64) for part in sums)
    return WeightSums(total, absolute, squares)
