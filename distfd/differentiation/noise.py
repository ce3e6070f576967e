"""How noisy J is: ECnoise on lines of equally spaced points, and the quantum of printed output."""

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
"""Points of a line, x among them."""
_TRUSTED = LINE - 3
"""The highest difference from which a plateau may start."""
_ALIKE = 4.0
"""How far apart levels may be that are one and the same noise."""

_STUDENT = (21.20, 5.643, 3.896, 3.298, 3.003, 2.829, 2.715, 2.634, 2.574, 2.527)
"""Student's t at 98.5 %, for 1 to 10 degrees of freedom."""

FOUND, QUANTISED, FLAT, UNKNOWN = "found", "quantised", "flat", "unknown"
STATUSES = {
    FOUND: "the differences along a line show noise",
    QUANTISED: "J is printed or stored with few digits, and that is all the noise there is",
    FLAT: "J did not change at all along the lines; the level is that of rounding",
    UNKNOWN: "no spacing showed where the signal ends and the noise begins",
}


@dataclass(frozen=True, eq=False)
class Noise:
    """What is known of the noise in J, output by output.

    Attributes
    ----------
    level : (m,) ndarray
        Standard deviation; NaN where it is not known.
    quantum : (m,) ndarray
        The unit in which output is rounded; 0 where nothing says that it is.
    factor : (m,) ndarray
        How many levels hold the noise with some 97 %; see `confidence`.
    status : tuple of str
        Keys of `STATUSES`.
    """

    level: Floats
    quantum: Floats
    factor: Floats
    status: tuple[str, ...]

    @property
    def bound(self) -> Floats:
        """What the noise hardly ever passes, (m,): half a quantum, or as many levels as hold some 97 % of it."""
        rounded = np.array([status == QUANTISED for status in self.status])
        return np.where(rounded, self.quantum / 2, self.factor * self.level)

    def shown_by(self, line: Floats) -> bool:
        """Whether a line, (n, m) values, is one of those that showed the noise, in most outputs."""
        squares, freedom = line_noise(line)
        each = np.sqrt(squares / np.maximum(freedom, 1))
        return bool(np.mean((freedom > 0) & (each * _ALIKE >= np.nan_to_num(self.level))) > 0.5)

    def deviation(self, weights: Floats) -> Floats:
        """Standard deviation of sum W_i (F_i - F_0), for weights (..., n): (..., m)."""
        total = weights.sum(axis=-1)
        return np.asarray(self.level * np.sqrt((weights**2).sum(axis=-1) + total**2)[..., None])

    def part(self, weights: Floats) -> Floats:
        """The noise part of the bar of sum W_i (F_i - F_0), for weights (..., n): (..., m).

        z sigma sqrt(sum W^2 + (sum W)^2); where output is only rounded q/2 (sum abs(W) + abs(sum W)), which no error
        can pass.
        """
        total = weights.sum(axis=-1)
        reach = (np.abs(weights).sum(axis=-1) + np.abs(total))[..., None]
        rounded = np.array([status == QUANTISED for status in self.status])
        return np.where(rounded, self.quantum / 2 * reach, self.factor * self.deviation(weights))

    def spread(self, sums: WeightSums) -> tuple[Floats, Floats]:
        """Standard deviation and noise part, (rows, m) both, for rows of weights that are known by their sums."""
        total, absolute, squares = sums.total[:, None], sums.absolute[:, None], sums.squares[:, None]
        deviation = self.level * np.sqrt(squares + total**2)
        rounded = np.array([status == QUANTISED for status in self.status])
        part = np.where(rounded, self.quantum / 2 * (absolute + np.abs(total)), self.factor * deviation)
        return deviation, part


def known_noise(level: Floats | float, outputs: int = 1) -> Noise:
    """A level that the user vouches for."""
    levels = np.broadcast_to(np.asarray(level, dtype=float), (outputs,)).copy()
    return Noise(levels, np.zeros(outputs), np.full(outputs, 2.2), (FOUND,) * outputs)


def difference_levels(values: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """sigma_j of each difference j = 1 .. n - 1 of a line, and whether its signs change: (n - 1, m) both.

    sigma_j^2 = gamma_j mean(T_j^2), gamma_j = (j!)^2 / (2j)!: what every column of the difference table of pure noise
    has for its variance (More & Wild, SIAM J. Sci. Comput. 33(3), 2011, section 2).

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
        # Squares of what is near the end of the range overflow; no noise is that large.
        with np.errstate(over="ignore"):
            levels.append(np.sqrt(gamma * np.mean(table**2, axis=0)))
        changes.append((table > 0).any(axis=0) & (table < 0).any(axis=0))
    return np.array(levels), np.array(changes)


def line_noise(values: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Squares of the noise that one line shows, summed, and of how many degrees of freedom: (m,) both, 0 for none.

    The first three successive levels within a factor of 4, with a change of sign in the first, are noise, and what
    comes before is a polynomial of that degree: the squares are those of the residuals from its fit (measured: they
    scatter less than the differences, which use each value more than once). The range of the values is not asked
    first, as More & Wild do: where J is near 0 that finds nothing (measured: 0 of 300).
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
        plateau = (three.max(axis=0) <= _ALIKE * three.min(axis=0)) & (three.min(axis=0) > 0) & changes[k]
        # Of a plateau that still slopes a little the trend goes one degree higher.
        bent = (
            np.zeros(m, dtype=bool) if k == _TRUSTED - 1 else rest[k + 1] / (n - k - 2) > 3 * rest[k + 2] / (n - k - 3)
        )
        higher = rest[min(k + 2, _TRUSTED)]
        squares = np.where(plateau, np.where(bent, higher, rest[k + 1]), squares)
        freedom = np.where(plateau, n - k - 2 - bent, freedom)
    return squares, freedom


def estimate(lines: Sequence[Floats], others: Sequence[Floats] = ()) -> Noise:
    """What several lines, (n, m) values each, say together; J's quantum is read off ``others`` too.

    One line alone shows no quantum: a straight J has equal gaps between equally spaced points.

    Lines that agree within a factor of 4 are pooled. Where they do not, the largest is right: noise that is alike at
    near points (an adaptive step, an inner iteration) is seen whole only by the longer line.
    """
    found = [line_noise(values) for values in lines]
    squares, freedom = np.array([s for s, _ in found]), np.array([f for _, f in found])
    each = np.sqrt(squares / np.maximum(freedom, 1))
    agree = (freedom > 0) & (each * _ALIKE >= each.max(axis=0))
    total = np.where(agree, freedom, 0).sum(axis=0)
    level = np.sqrt(np.where(agree, squares, 0.0).sum(axis=0) / np.maximum(total, 1))
    everything = np.concatenate([*lines, *others])
    unit = quantum(everything)
    flat = (everything == everything[0]).all(axis=0)
    # The last digit that a float64 holds is a quantum too, below which there is nothing.
    floor = np.spacing(np.abs(np.nan_to_num(lines[0][0], posinf=0.0, neginf=0.0))) / np.sqrt(12)
    rounding = unit / np.sqrt(12)
    status = np.select(
        [(unit > 0) & (level <= 1.5 * rounding), total > 0, flat], [QUANTISED, FOUND, FLAT], default=UNKNOWN
    )
    level = np.where(status == QUANTISED, rounding, np.where(status == UNKNOWN, np.nan, np.maximum(level, floor)))
    return Noise(level, unit, confidence(total), tuple(status.tolist()))


def confidence(freedom: NDArray[np.int64]) -> Floats:
    """How many estimated standard deviations hold 97 % of the noise: Student's t for these degrees of freedom.

    A level that was read off few values is itself uncertain: of a single line, 2 cover 86 % and 3 cover 95 %.
    """
    at = np.clip(freedom, 1, len(_STUDENT)) - 1
    return np.where(freedom > 0, np.asarray(_STUDENT)[at], 3.0)


def next_spacing(values: Floats, spacing: float) -> float:
    """Where to look when a line showed no noise: wider where J stands still, nearer where its signal drowns all else.

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
