"""Measures the noise in J: ECnoise on lines of equally spaced points, and the quantum of printed output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.rounding_quantum import quantum

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.assemble import WeightSums

    Floats = NDArray[np.float64]

LINE = 7
"""Number of points of a line, with x."""
_TRUSTED = LINE - 3
"""The highest order of differences at which a plateau of noise levels may start."""
ALIKE = 4.0
"""Two noise levels count as the same if their ratio is at most this."""

_STUDENT = (21.20, 5.643, 3.896, 3.298, 3.003, 2.829, 2.715, 2.634, 2.574, 2.527)
"""Student's t at 98.5 %, for 1 to 10 degrees of freedom."""

_SQUARES = 1e-120
"""Squares of the noise of outputs below this size, or above its inverse, may be beyond floating point."""
FOUND, QUANTISED, FLAT, UNKNOWN = "found", "quantised", "flat", "unknown"
STATUSES = {
    FOUND: "the differences along a line show noise",
    QUANTISED: "J is printed or stored with few digits, and that is all the noise there is",
    FLAT: "J did not change at all along the lines; the level is that of rounding",
    UNKNOWN: "no spacing showed where the signal ends and the noise begins",
}


@dataclass(frozen=True, eq=False)
class Noise:
    """What is known of the noise in J, for each output.

    Attributes
    ----------
    level : (m,) ndarray
        Standard deviation; NaN where it is not known.
    quantum : (m,) ndarray
        The unit in which output is rounded; 0 where no rounding was seen.
    factor : (m,) ndarray
        Number of levels that hold about 97 % of the noise; see `confidence`.
    status : tuple of str
        Keys of `STATUSES`.
    """

    level: Floats
    quantum: Floats
    factor: Floats
    status: tuple[str, ...]

    @property
    def bound(self) -> Floats:
        """A bound that the noise rarely exceeds, (m,): half a quantum, or ``factor`` times the level."""
        rounded = np.array([status == QUANTISED for status in self.status])
        return np.where(rounded, self.quantum / 2, self.factor * self.level)

    def shown_by(self, line: Floats) -> bool:
        """Whether a line, (n, m) values, shows the noise in most outputs."""
        unit = _magnitude(line)
        squares, freedom = line_noise(line / unit)
        each = unit * np.sqrt(squares / np.maximum(freedom, 1))
        return bool(np.mean((freedom > 0) & (each * ALIKE >= np.nan_to_num(self.level))) > 0.5)

    def deviation(self, weights: Floats) -> Floats:
        """Standard deviation of sum W_i (F_i - F_0), for weights (..., n): (..., m)."""
        total = weights.sum(axis=-1)
        return np.asarray(self.level * np.sqrt((weights**2).sum(axis=-1) + total**2)[..., None])

    def part(self, weights: Floats) -> Floats:
        """The noise part of the error bar of sum W_i (F_i - F_0), for weights (..., n): (..., m).

        It is z sigma sqrt(sum W^2 + (sum W)^2). Where output is only rounded it is q/2 (sum abs(W) + abs(sum W)), which
        no error can exceed.
        """
        total = weights.sum(axis=-1)
        reach = (np.abs(weights).sum(axis=-1) + np.abs(total))[..., None]
        rounded = np.array([status == QUANTISED for status in self.status])
        return np.where(rounded, self.quantum / 2 * reach, self.factor * self.deviation(weights))

    def spread(self, sums: WeightSums) -> tuple[Floats, Floats]:
        """Standard deviation and noise part, (rows, m) both, for rows of weights given by their sums."""
        total, absolute, squares = sums.total[:, None], sums.absolute[:, None], sums.squares[:, None]
        deviation = self.level * np.sqrt(squares + total**2)
        rounded = np.array([status == QUANTISED for status in self.status])
        part = np.where(rounded, self.quantum / 2 * (absolute + np.abs(total)), self.factor * deviation)
        return deviation, part


def known_noise(level: Floats | float, outputs: int = 1) -> Noise:
    """The noise for a level that the user gives."""
    levels = np.broadcast_to(np.asarray(level, dtype=float), (outputs,)).copy()
    return Noise(levels, np.zeros(outputs), np.full(outputs, 2.2), (FOUND,) * outputs)


def difference_levels(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """The noise level sigma_j by differences of order j = 1 .. n - 1, and whether these change sign: (n - 1, m) both.

    sigma_j^2 = gamma_j mean(T_j^2), gamma_j = (j!)^2 / (2j)!. For pure noise, each column of the difference table gives
    the variance of the noise in this way (More & Wild, SIAM J. Sci. Comput. 33(3), 2011, section 2).

    Parameters
    ----------
    values : (n, m) ndarray
        J at equally spaced points.
    """
    table, gamma = values, 1.0
    levels, changes = [], []
    for j in range(1, len(values)):
        table = np.diff(table, axis=0)
        gamma *= 0.5 * j / (2 * j - 1)
        # Squares of values near the end of the range overflow; no noise is that large.
        with np.errstate(over="ignore"):
            levels.append(np.sqrt(gamma * np.mean(table**2, axis=0)))
        changes.append((table > 0).any(axis=0) & (table < 0).any(axis=0))
    return np.array(levels), np.array(changes)


def line_noise(values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Sum of squares of the noise that one line shows, and its degrees of freedom: (m,) both, 0 for no noise.

    Three successive levels within a factor of 4, the first with a change of sign, show noise. Differences of lower
    order belong to a polynomial of that degree. The squares are those of the residuals from the fit of this polynomial:
    they scatter less than the differences, which use each value more than once (measured). The range of the values is
    not tested first, as More & Wild do: near J = 0 that test finds no noise (measured: 0 of 300).
    """
    n, m = values.shape
    squares, freedom = np.zeros(m), np.zeros(m, dtype=np.int64)
    whole = np.isfinite(values).all(axis=0)
    if not whole.all():
        if whole.any():
            squares[whole], freedom[whole] = line_noise(values[:, whole])
        return squares, freedom
    levels, changes = difference_levels(values)
    basis = np.linalg.qr(np.vander(np.linspace(-1, 1, n), _TRUSTED + 1, increasing=True))[0]
    centred = values - values.mean(axis=0)
    left = [(centred - basis[:, :c] @ (basis[:, :c].T @ centred)) for c in range(1, _TRUSTED + 2)]
    with np.errstate(over="ignore"):
        rest = [np.sum(part**2, axis=0) for part in left]
    for k in reversed(range(_TRUSTED)):
        three = levels[k : k + 3]
        plateau = (three.max(axis=0) <= ALIKE * three.min(axis=0)) & (three.min(axis=0) > 0) & changes[k]
        # Where the levels of a plateau still fall a little, the polynomial needs one degree more.
        bent = (
            np.zeros(m, dtype=bool) if k == _TRUSTED - 1 else rest[k + 1] / (n - k - 2) > 3 * rest[k + 2] / (n - k - 3)
        )
        higher = rest[min(k + 2, _TRUSTED)]
        squares = np.where(plateau, np.where(bent, higher, rest[k + 1]), squares)
        freedom = np.where(plateau, n - k - 2 - bent, freedom)
    return squares, freedom


def estimate(lines: Sequence[Floats], others: Sequence[Floats] = ()) -> Noise:
    """The noise that several lines, (n, m) values each, show together; J's quantum is also read off ``others``.

    One line alone shows no quantum: a linear J has equal gaps between equally spaced points.

    Lines that agree within a factor of 4 are pooled. Where they do not agree, the largest level is right: noise that is
    nearly the same at near points (an adaptive step, an inner iteration) shows in full only on the longer line.
    """
    units = np.array([_magnitude(values) for values in lines])
    found = [line_noise(values / unit) for values, unit in zip(lines, units, strict=True)]
    squares, freedom = np.array([s for s, _ in found]), np.array([f for _, f in found])
    each = units * np.sqrt(squares / np.maximum(freedom, 1))
    agree = (freedom > 0) & (each * ALIKE >= each.max(axis=0))
    total = np.where(agree, freedom, 0).sum(axis=0)
    magnitude = np.take_along_axis(units, each.argmax(axis=0)[None], axis=0)[0]
    with np.errstate(over="ignore", invalid="ignore"):
        pooled = np.where(agree, squares * (units / magnitude) ** 2, 0.0).sum(axis=0)
    level = magnitude * np.sqrt(pooled / np.maximum(total, 1))
    everything = np.concatenate([*lines, *others])
    unit = quantum(everything)
    flat = (everything == everything[0]).all(axis=0)
    # The spacing of float64 numbers is a quantum too: no noise can be lower.
    floor = np.spacing(np.abs(np.nan_to_num(lines[0][0], posinf=0.0, neginf=0.0))) / np.sqrt(12)
    rounding = unit / np.sqrt(12)
    status = np.select(
        [(unit > 0) & (level <= 1.5 * rounding), total > 0, flat], [QUANTISED, FOUND, FLAT], default=UNKNOWN
    )
    level = np.where(status == QUANTISED, rounding, np.where(status == UNKNOWN, np.nan, np.maximum(level, floor)))
    return Noise(level, unit, confidence(total), tuple(status.tolist()))


def _magnitude(values: Floats) -> Floats:
    """A divisor of values (n, m) with which their squares can be computed, (m,): 1, but for tiny and huge outputs."""
    largest = np.nan_to_num(np.abs(values), posinf=0.0).max(axis=0)
    return np.where((largest > 0) & ((largest < _SQUARES) | (largest > 1 / _SQUARES)), largest, 1.0)


def confidence(freedom: NDArray[np.int64]) -> Floats:
    """How many estimated standard deviations hold 97 % of the noise: Student's t for these degrees of freedom.

    A level that was estimated from few values is itself uncertain: from a single line, 2 levels cover 86 % and 3 cover
    95 %.
    """
    at = np.clip(freedom, 1, len(_STUDENT)) - 1
    return np.where(freedom > 0, np.asarray(_STUDENT)[at], 3.0)


def next_spacing(values: Floats, spacing: float) -> float:
    """The next spacing after a line without noise: wider if J did not change, narrower if its signal hid the noise.

    Parameters
    ----------
    values : (n, m) ndarray
    spacing : float

    Returns
    -------
    float
        100 times the spacing, or a hundredth of it (More & Wild's section 6).
    """
    still = (np.diff(values, axis=0) == 0).sum(axis=0) >= LINE // 2 + 1
    return spacing * (100.0 if still.mean() > 0.5 else 0.01)
