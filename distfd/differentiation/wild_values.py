"""Finds single values of J that are out of all proportion, without further evaluations.

If a number in an input file has one character too many, the program reads another number and solves another problem: J
is -5e8 on one side of x, and -0.5 at x and on the other side. The difference is finite and wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.records import Status
from distfd.differentiation.stencils import EPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Wave

    Floats = NDArray[np.float64]

_RATIO = 1e3
"""A value is wild if J moves this many times as far as on the other side of x. For a smooth J both sides are alike,
unless J has a minimum or maximum within 0.1 % of halfway to one of the points; ..."""
_SIZES = 10.0
"""... and J must move by this many times its own size at x."""
_LOST = 3e-3
"""J is also wild if it loses all of its size at x but this part: a program that prints units with prefixes writes
0.9999k for 1.0001k a step further, as 999.9."""
_ALIKE = 2.0
"""Two points on both sides are compared only if their distances from x differ by at most this factor."""
_BESIDE = 1e-2
"""The size of an output counts as at least this part of the largest output."""
_ONE_SIDED = 1e6
"""Where there are values on one side only, a move along one coordinate is wild if it is this many times J's own size.
Near a minimum of J such a move may be right, so this test is only made for programs that read text, ..."""
_SMALL = 0.1
"""... for steps of less than this part of x, ..."""
_CALM, _OTHERS = 1e-2, 3
"""... and if J moves along at least so many (`_OTHERS`) other coordinates, by less than this part (`_CALM`) of its size
along each."""
_BLOCK = 1 << 22
"""Number of values of J that are examined at once, to limit memory."""
_ROUNDING = 64.0 * EPS
"""Moves of J below this, relative to the larger of 1 and x, may be rounding where the exact J is 0."""


@dataclass(frozen=True)
class WildValue:
    """A value of J that is out of all proportion.

    Attributes
    ----------
    coordinate, output : int
    here : float
        J at x.
    there : float
        J at the point.
    offset : float
        The displacement of the coordinate at the point.
    opposite : float or None
        J at the point on the other side of x, if there is one.
    """

    coordinate: int
    output: int
    here: float
    there: float
    offset: float
    opposite: float | None


def wild_values(waves: Sequence[Wave], *, one_sided: bool = False) -> list[WildValue]:
    """The wild values at points that move one coordinate alone, at most one for each coordinate.

    Coordinates with points on one side of x only are examined if ``one_sided``.
    """
    found: dict[int, WildValue] = {}
    for whole in waves:
        wave = whole.required
        if wave.request.baseline is not None and not np.iscomplexobj(wave.values):
            for one in _of_wave(wave, wave.request.baseline, one_sided=one_sided):
                found.setdefault(one.coordinate, one)
    return [found[k] for k in sorted(found)]


def wild_value_warnings(site: BasePoint, waves: Sequence[Wave], *, outputs: int, printed: bool) -> tuple[str, ...]:
    """A sentence on coordinates with a wild value; ``printed`` says that J is a program that reads and writes text."""
    found = wild_values(waves, one_sided=printed)
    if not found:
        return ()
    one = found[0]
    names = ", ".join(site.label(each.coordinate) for each in found[:_NAMED])
    names += f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    of = f" of {site.output(one.output, outputs)}" if outputs > 1 else ""
    numbers = f"J(x) = {one.here:.7g}, at {one.offset:+.3g}: {one.there:.7g}"
    if one.opposite is not None:
        numbers += f", at {-one.offset:+.3g}: {one.opposite:.7g}"
    where = "on one side of x, and not on the other" if one.opposite is not None else "and along no other coordinate"
    deck = (
        "Look at the decks of these points: a number may be wider there than what the program reads of it, which "
        "`| fit(n)` in the template prevents, n being the characters that it reads; or the program prints its numbers "
        "with prefixes, 999.9 and then 1.0k; or else "
        if printed
        else "Look at J at these points: "
    )
    return (
        (
            f"J{of} jumps along {names} {where}, and the derivative is not to be trusted. {deck}J has a jump or a kink "
            f"there, or the step is too large ({numbers})"
        ),
    )


_NAMED = 5
"""Number of coordinates that the sentence names."""


def _of_wave(wave: Wave, baseline: int, *, one_sided: bool) -> list[WildValue]:
    points = wave.request.points
    good = wave.status == Status.OK
    if not good[baseline]:
        return []
    single = np.flatnonzero((np.diff(points.indptr) == 1) & good)
    at = points.indptr[single]
    k = points.indices[at].astype(np.int64)
    offset = points.values[at].real - points.x[k]
    order = np.lexsort((np.abs(offset), k))
    single, k, offset = single[order], k[order], offset[order]
    base = wave.values[baseline]
    size = np.maximum(np.abs(base), _BESIDE * np.max(np.abs(base), initial=0.0, where=np.isfinite(base)))
    rounding = _ROUNDING * np.maximum(1.0, np.abs(points.x[k]))

    def moves(rows: NDArray[np.int64]) -> Floats:
        return np.asarray(np.abs(wave.values[single[rows]] - base))

    def value(p: int, q: int | None, j: int) -> WildValue:
        opposite = None if q is None else float(wave.values[single[q], j])
        there = float(wave.values[single[p], j])
        return WildValue(int(k[p]), j, float(base[j]), there, float(offset[p]), opposite)

    found: dict[int, WildValue] = {}
    pairs = np.flatnonzero(
        (k[1:] == k[:-1])
        & (np.sign(offset[1:]) == -np.sign(offset[:-1]))
        & (np.abs(offset[1:]) <= _ALIKE * np.abs(offset[:-1]))
    )
    rows_at_once = max(1, _BLOCK // max(1, len(base)))
    with np.errstate(all="ignore"):
        for begin in range(0, len(pairs), rows_at_once):
            a = pairs[begin : begin + rows_at_once]
            first, second = moves(a), moves(a + 1)
            floor = np.maximum(_SIZES * size, rounding[a][:, None])
            less, more = np.minimum(first, second), np.maximum(first, second)
            # If J is 0 at x and on one side, J may be a hinge, max(0, x), rather than a program that misread its input.
            far = (more > floor) & ((less > 0) | (base != 0))
            lost = (np.abs(more - np.abs(base)) < _LOST * np.abs(base)) & (more > rounding[a][:, None])
            wild = (far | lost) & (more > _RATIO * less)
            for i in np.flatnonzero(wild.any(axis=1)).tolist():
                j = int(np.argmax(np.where(wild[i], more[i] / size, 0.0)))
                p, q = (int(a[i]), int(a[i]) + 1) if first[i, j] > second[i, j] else (int(a[i]) + 1, int(a[i]))
                found.setdefault(int(k[p]), value(p, q, j))
        rows = np.flatnonzero(~np.isin(k, k[pairs]))
        if one_sided and len(np.unique(k[rows])) > _OTHERS and len(rows) * len(base) <= _BLOCK:
            moved = moves(rows)
            small = np.abs(offset[rows]) <= _SMALL * np.abs(points.x[k[rows]])
            lost = np.abs(moved - np.abs(base)) < _LOST * np.abs(base)
            far = ((moved > _ONE_SIDED * size) | lost) & small[:, None] & (base != 0)
            for i, j in zip(*np.nonzero(far & (far.sum(axis=0) == 1)), strict=True):
                others = moved[k[rows] != k[rows[i]], j]
                if ((others > 0) & (others < _CALM * size[j])).all():
                    found.setdefault(int(k[rows[i]]), value(int(rows[i]), None, int(j)))
    return list(found.values())
