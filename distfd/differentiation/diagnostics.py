"""Reasons to doubt a derivative, as sentences that name its coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Label = Callable[[int], str]

_NAMED = 5
"""Number of coordinates that a sentence names; it gives the number of the others."""


def no_movement_warnings(label: Label, rows: NDArray[np.int64], quantum: float) -> tuple[str, ...]:
    """Warnings for coordinates (a,) that were moved without any change in J.

    ``quantum`` is the unit in which J is rounded, 0 where it has all its digits.
    """
    if not len(rows):
        return ()
    if quantum > 0:
        why = (
            f"J has few digits (the last of them is worth {quantum:.3g} or less), and smaller changes are lost: use a "
            "larger step"
        )
        return (f"J did not change at all along {listed(label, rows)}. {why}",)
    why = "either J does not depend on it, or the step is too small to show it"
    return (f"J did not change at all along {listed(label, rows)}: {why}",)


def unexpected_entry_warnings(
    label: Label,
    pairs: list[tuple[int, int]],
    columns_of: Callable[[int], NDArray[np.int64]],
    output: Label = lambda j: f"output {j}",
) -> tuple[str, ...]:
    """Warnings for rows of a sparse Jacobian that changed when columns were moved of which none has an entry there."""
    if not pairs:
        return ()
    row, group = pairs[0]
    more = f" (and {len(pairs) - 1} more such rows and groups)" if len(pairs) > 1 else ""
    text = (
        f"sparsity: {output(row)} changes where {listed(label, columns_of(group))} moved, and the structure has no "
        f"entry for it there{more}: the Jacobian lacks it. Add the entry, or give sparsity='probe'; if J has noise, "
        "the change may be noise: give a larger step, or step='auto'"
    )
    return (text,)


def flat_part_warnings(label: Label, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Warnings for coordinates (a,) along which J changes at a distance, and not at all near x."""
    if not len(rows):
        return ()
    text = (
        f"J did not change at all near x along {listed(label, rows)}, and it changed farther away: it has steps or a "
        "plateau there. The derivative 0 is that of the flat part; for a slope across steps, give a step larger than "
        "they are"
    )
    return (text,)


_JUMPS = 4.0
"""Jumps of J caused by an adaptive solver, relative to J, in units of its tolerance; measured with CVode at 1e-4 and
1e-8."""
_DOUBTFUL = 0.1
"""Relative error of a derivative from which on a warning is worthwhile."""


def solver_noise_warnings(
    label: Label, derivative: Floats, value: Floats, step: Floats, tolerance: float
) -> tuple[str, ...]:
    """Warnings for coordinates whose differences the jumps of an adaptive solver may change by a tenth or more.

    Parameters
    ----------
    derivative : (d,) or (m, d) ndarray
    value : (m,) ndarray
        J at x.
    step : (d,) ndarray
        0 where a coordinate does not move.
    tolerance : float
        Relative tolerance of the solver.
    """
    size = np.linalg.norm(np.atleast_2d(derivative), axis=0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        noise = _JUMPS * tolerance * float(np.linalg.norm(value)) / np.abs(step)
        rows = np.flatnonzero((step != 0) & (size > 0) & (noise > _DOUBTFUL * size))
    if not len(rows):
        return ()
    text = (
        f"J's solver has a tolerance of {tolerance:.3g}, by about which J jumps from point to point: over the steps "
        f"that were taken this is {100 * float((noise[rows] / size[rows]).max()):.2g} % of the derivative along "
        f"{listed(label, rows)}. Use step='auto', which measures the noise and has an error, or a smaller tolerance"
    )
    return (text,)


def tight_bounds_warnings(label: Label, rows: NDArray[np.int64], step: Floats) -> tuple[str, ...]:
    """Warnings for coordinates (a,) where bounds leave so little room that second differences are mere rounding."""
    if not len(rows):
        return ()
    text = (
        f"the bounds leave too little room along {listed(label, rows)} for second differences (a step of "
        f"{step.min():.1g}): they are mostly rounding error. Widen the bounds, fix it by lower == upper, or, if J "
        "takes complex x, use scheme='complex-step'"
    )
    return (text,)


def rounding_warnings(label: Label, rows: NDArray[np.int64], level: float, unit: float) -> tuple[str, ...]:
    """Warnings for coordinates (a,) whose second differences are mere rounding of J.

    J has the size ``level``, and is rounded to multiples of ``unit``; 0 where it has all digits of a double.
    """
    if not len(rows):
        return ()
    of = f" in units of {unit:.2g}" if unit else ""
    text = (
        f"second differences along {listed(label, rows)} are mostly rounding: J is {level:.3g}{of}, and changes by a "
        "few of its last digits. Give a larger step, or step='auto', which has an error; or subtract a constant from J"
    )
    return (text,)


def blurred_rows_warnings(
    label: Label, rows: NDArray[np.int64], level: float, unit: float, rounding: float
) -> tuple[str, ...]:
    """Warnings for rows of a Hessian whose small entries are known to less than a digit, as J is rounded.

    Parameters
    ----------
    rounding : float
        The rounding error of an entry of these rows.
    """
    if not len(rows):
        return ()
    of = f" in units of {unit:.2g}" if unit else ""
    text = (
        f"small second derivatives along {listed(label, rows)} are lost in rounding: J is {level:.3g}{of}, so entries "
        f"are known to about +-{rounding:.1g}, and those of less than ten times that may be wrong. Give a larger step, "
        "or step='auto', which has an error; or subtract a constant from J"
    )
    return (text,)


def unexpected_diagonal_warnings(label: Label, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Warnings for coordinates (a,) with a second derivative on the diagonal where the Hessian's mask has none."""
    if not len(rows):
        return ()
    text = (
        f"sparsity: the second derivative along {listed(label, rows)} is not 0, and the mask has no entry on its "
        "diagonal there: the Hessian lacks it. Add the entry"
    )
    return (text,)


def noise_warnings(label: Label, rows: NDArray[np.int64], value: Floats, bar: Floats) -> tuple[str, ...]:
    """Warnings for coordinates (a,) whose slopes (a, m) are all smaller than their error bars."""
    with np.errstate(invalid="ignore"):
        lost = (bar > np.abs(value)).all(axis=1) & (value != 0).any(axis=1)
    if not lost.any():
        return ()
    at = np.flatnonzero(lost)
    one = ""
    if len(at) == 1 and value.shape[1] == 1:
        one = f" ({value[at[0], 0]:.3g} +- {bar[at[0], 0]:.3g})"
    return (f"noise above the signal: the derivative along {listed(label, rows[at])} cannot be told from 0{one}",)


def kink_warnings(label: Label, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Warnings for coordinates (a,) along which J has different slopes on the two sides of x."""
    if not len(rows):
        return ()
    why = "its slopes on the two sides disagree, however near they are taken, and the derivative is their mean"
    return (f"J seems to have a kink at x along {listed(label, rows)}: {why}",)


def bend_warnings(label: Label, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Warnings for coordinates (a,) along which the points of a stencil show no smooth J."""
    if not len(rows):
        return ()
    why = (
        "its slopes on the two sides of x differ as much at the nearest points as at the farthest. It has a kink "
        "there, or noise, or shapes that are smaller than the step, and the derivative is a mean of both sides"
    )
    return (f"J is not smooth over the step along {listed(label, rows)}: {why}",)


def rough_warnings(label: Label, rows: NDArray[np.int64]) -> tuple[str, ...]:
    """Warnings for coordinates (a,) whose second derivatives over two distances are far apart."""
    if not len(rows):
        return ()
    why = (
        "second derivatives over two distances are far apart, and J is bent there more than it changes over the scale "
        "of x. It has a kink near x, or shapes smaller than the step, which a smaller `scale` may resolve"
    )
    return (f"J is not smooth over the step along {listed(label, rows)}: {why}",)


def listed(label: Label, rows: NDArray[np.int64]) -> str:
    """The names of a few coordinates; of many, the first names and the number of the others."""
    names = ", ".join(label(int(k)) for k in rows[:_NAMED])
    return names if len(rows) <= _NAMED else f"{names} and {len(rows) - _NAMED} more"
