"""The failure ladder: where J failed along a coordinate, which points are asked for, and which formula is taken.

Other points at the same step come first, including those on the other side of x. Then the step is halved, ten times at
most. Then the points that have a value give a formula of lower order. All coordinates go through these steps (the
rungs) together, one request for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.core.errors import InputError
from distfd.core.points import Points, join_points, single_points
from distfd.core.records import Status
from distfd.differentiation.assemble import Terms, assemble
from distfd.differentiation.method import Request
from distfd.differentiation.placement import arrangements
from distfd.differentiation.stencils import coefficients

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.core.records import Failure
    from distfd.differentiation.method import Wave

    Floats = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    from collections.abc import Generator

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.evaluation_budget import Budget
    from distfd.differentiation.stencils import Stencil


_SAME = 1e-6
"""Two points count as the same if they are nearer than this part of the step plus two ulps: rounding at a bound, and
the step computed from it, make differences of that size."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Real points that move one of ``a`` coordinates each, in the order in which they were asked for.

    Attributes
    ----------
    x : (a,) ndarray
        The coordinates themselves.
    row : (s,) ndarray of int
        Which of the coordinates each point moves.
    at : (s,) ndarray
        The value of that coordinate.
    ok : (s,) ndarray of bool
    values : (s, m) ndarray
    """

    x: Floats
    row: NDArray[np.int64]
    at: Floats
    ok: Flags
    values: Floats

    def near(self, at: Floats, h: Floats) -> tuple[Flags, Flags, Floats, Floats]:
        """For points where each coordinate is ``at``, (a,): has J a value, was J asked, J, and the exact coordinate.

        The steps ``h``, (a,), decide how near two points must be to count as the same.
        """
        a = len(at)
        ok, asked = np.zeros(a, dtype=bool), np.zeros(a, dtype=bool)
        values, known = np.full((a, self.values.shape[1]), np.nan), np.full(a, np.nan)
        apart = _SAME * h + 2 * np.spacing(np.abs(self.x))
        with np.errstate(invalid="ignore"):
            same = np.flatnonzero(np.abs(self.at - at[self.row]) <= apart[self.row])
        row = self.row[same]
        ok[row], asked[row], values[row], known[row] = self.ok[same], True, self.values[same], self.at[same]
        return ok, asked, values, known

    def nearest(self) -> Floats:
        """Distance of the nearest point of each coordinate, (a,); inf where there is none."""
        distance = np.full(len(self.x), np.inf)
        np.minimum.at(distance, self.row, np.abs(self.at - self.x[self.row]))
        return distance


def failed_coordinates(waves: Sequence[Wave]) -> dict[int, tuple[complex, Failure | None]]:
    """Coordinates along which J failed, each with the offset of the first failure and its reason."""
    found: dict[int, tuple[complex, Failure | None]] = {}
    for wave in waves:
        points = wave.request.points
        for k in np.flatnonzero((wave.status != Status.OK) & (np.diff(points.indptr) == 1)).tolist():
            indices, values = points.changes(k)
            i = int(indices[0])
            found.setdefault(i, (complex(values[0] - points.x[i]), wave.failures.get(k)))
    return found


def gather_samples(waves: Sequence[Wave], x: Floats, rows: NDArray[np.int64], needed: Flags) -> Samples:
    """The samples of these coordinates, (a,), in rising order; only outputs in ``needed``, (a, m), must have values."""
    row, at, ok, values = [], [], [], []
    for wave in waves:
        points = wave.request.points
        single = np.flatnonzero((np.diff(points.indptr) == 1) & ~points.imaginary)
        changed = points.indices[points.indptr[single]]
        mine = np.isin(changed, rows)
        single, changed = single[mine], changed[mine]
        row.append(np.searchsorted(rows, changed))
        at.append(points.values[points.indptr[single]].real)
        ok.append(_has_needed(wave, single, needed[row[-1]]))
        values.append(wave.values[single].real)
    return Samples(
        x[rows],
        np.concatenate([np.empty(0, dtype=np.int64), *row]),
        np.concatenate([np.empty(0), *at]),
        np.concatenate([np.empty(0, dtype=bool), *ok]),
        np.concatenate([np.empty((0, needed.shape[1])), *values]),
    )


def _has_needed(wave: Wave, points: NDArray[np.int64], needed: Flags) -> Flags:
    """Which of these points, (s,), have a value, at least in all needed outputs, (s, m)."""
    there = (np.isfinite(wave.values[points]) | ~needed).all(axis=1)
    return np.asarray((wave.status[points] == Status.OK) | (there & needed.any(axis=1)))


HALVINGS = 10
"""Largest number of halvings: with a step a thousand times smaller than wanted, the derivative is mostly round-off."""


@dataclass(frozen=True, eq=False)
class Node:
    """The points x_k + c h_k of ``a`` coordinates, with the same c for all.

    Attributes
    ----------
    at, offset : (a,) ndarrays
        The coordinate's value, and the displacement that J sees; NaN where the point is impossible.
    asked, ok : (a,) ndarrays of bool
        Whether J was asked there, and whether J has a value there.
    values : (a, m) ndarray
    """

    at: Floats
    offset: Floats
    asked: Flags
    ok: Flags
    values: Floats

    @property
    def open(self) -> Flags:
        """Points that may be asked for and were not."""
        return ~self.asked & np.isfinite(self.offset)


@dataclass(eq=False)
class Ladder:
    """Coordinates whose differences lack the value of a point, and the search for another formula.

    Attributes
    ----------
    site : Site
    rows : (a,) ndarray of int
        The coordinates.
    h : (a,) ndarray
        Their signed steps.
    stencil : Stencil
        The formula that is wanted.
    samples : Samples
        Points that were evaluated before.
    baseline : (m,) ndarray
    needed : (a, m) ndarray of bool
        The outputs whose derivatives are wanted.
    budget : Budget
        The budget. If it is too small, the first coordinates get their points.
    drifts : bool
        Whether J(x) started from another state than the points do. A central difference does not contain J(x), but a
        one-sided one would contain the change of J since then; so x is evaluated again, together with the points.
    slope : (a, m) ndarray
        The derivatives; NaN until they are formed.
    step : (a,) ndarray
        The steps of these derivatives.
    how : list of str
        How each derivative was formed; empty until then.
    """

    site: BasePoint
    rows: NDArray[np.int64]
    h: Floats
    stencil: Stencil
    samples: Samples
    baseline: Floats
    needed: Flags
    budget: Budget
    drifts: bool = False

    def __post_init__(self) -> None:
        self.slope = np.full((len(self.rows), len(self.baseline)), np.nan)
        self.step = np.zeros(len(self.rows))
        self.how = [""] * len(self.rows)
        self._nodes: dict[float, Node] = {}

    def climb(self, *, vector: bool) -> Generator[Request, Wave, None]:
        """Asks for points, one request a rung, until every coordinate has a derivative or no rung is left."""
        options = arrangements(self.stencil.nodes)
        yield from self._ask(self._aside(options), vector=vector, again=self.drifts)
        self._settle(options, 1.0, "other points at full step")
        near = {sign * c for c in self.stencil.nodes for sign in (1, -1)}
        for k in range(1, HALVINGS + 1):
            scale = 0.5**k
            yield from self._ask({c * scale: self._unsettled() for c in near}, vector=vector)
            self._settle(options, scale, f"the step halved {k} times" if k > 1 else "the step halved")
            if not self._unsettled().any():
                return
        self._lower_order()

    def _unsettled(self) -> Flags:
        return np.array([not how for how in self.how], dtype=bool)

    def _aside(self, options: Sequence[tuple[float, Floats]]) -> dict[float, Flags]:
        """For each coordinate, the points of the formula without failures that lacks the fewest points."""
        fewest, choice = np.full(len(self.rows), np.inf), np.full(len(self.rows), -1)
        for number, (direction, nodes) in enumerate(options):
            parts = [self._node(direction * c) for c in nodes]
            possible = np.all([part.ok | part.open for part in parts], axis=0)
            lacking = np.sum([~part.ok for part in parts], axis=0)
            better = possible & (lacking < fewest)
            fewest[better], choice[better] = lacking[better], number
        wanted: dict[float, Flags] = {}
        for number, (direction, nodes) in enumerate(options):
            chosen = self._unsettled() & (choice == number)
            for c in (direction * nodes).tolist():
                wanted[c] = wanted.get(c, np.zeros(len(self.rows), dtype=bool)) | chosen
        return wanted

    def _ask(self, wanted: dict[float, Flags], *, vector: bool, again: bool = False) -> Generator[Request, Wave, None]:
        """One request for points that are not known yet, if any; ``wanted`` has the flags of coordinates by node.

        With ``again`` the request begins with x itself.
        """
        # Sorted by node, because the order of a set differs between processes and a request must not.
        asked = {c: np.flatnonzero(rows & self._node(c).open) for c, rows in sorted(wanted.items())}
        if not again and not any(len(a) for a in asked.values()):
            return
        cost = np.bincount(np.concatenate([np.empty(0, np.int64), *asked.values()]), minlength=len(self.rows))
        if not self.budget.affords(int(cost.sum()) + again):
            affordable = np.cumsum(cost) + again <= self.budget.free
            asked = {c: a[affordable[a]] for c, a in asked.items()}
            if not any(len(a) for a in asked.values()):
                return
        every = np.concatenate(list(asked.values()))
        at = np.concatenate([self._nodes[c].at[a] for c, a in asked.items()])
        points = single_points(self.site.x, self.rows[every], at)
        if again:
            alone = Points(self.site.x, np.zeros(2, dtype=np.int64), points.indices[:0], points.values[:0])
            points = join_points([alone, points])
        wave = yield self.budget.spend(Request(points, None, vector, outputs=len(self.baseline)))
        start = int(again)
        if again and wave.status[0] == Status.OK:
            self.baseline = wave.values[0]
        for c, a in asked.items():
            node, part = self._nodes[c], slice(start, start + len(a))
            node.asked[a] = True
            node.ok[a] = _has_needed(wave, np.arange(part.start, part.stop), self.needed[a])
            node.values[a] = wave.values[part]
            start += len(a)

    def _settle(self, options: Sequence[tuple[float, Floats]], scale: float, how: str) -> None:
        """Forms the derivative of coordinates that have all points of an arrangement, by the first such arrangement."""
        for direction, nodes in options:
            parts = [self._node(c) for c in (direction * scale * nodes).tolist()]
            done = np.flatnonzero(self._unsettled() & np.all([part.ok for part in parts], axis=0))
            if not len(done):
                continue
            offsets = np.stack([part.offset[done] for part in parts], axis=1)
            ordered = np.sort(offsets, axis=1)
            done, offsets = (part[(np.diff(ordered, axis=1) != 0).all(axis=1)] for part in (done, offsets))
            a, n = offsets.shape
            terms = Terms(
                n_rows=a,
                row=np.repeat(np.arange(a), n),
                point=np.arange(a * n),
                coefficient=coefficients(offsets).ravel(),
                divisor=offsets.ravel(),
            )
            values = np.stack([part.values[done] for part in parts], axis=1)
            slope = assemble(terms, values.reshape(a * n, -1), self.baseline)
            good = (np.isfinite(slope) | ~self.needed[done]).all(axis=1)
            self.slope[done[good]] = slope[good]
            self.step[done[good]] = offsets[good, 0] / nodes[0]
            for r in done[good].tolist():
                sign = np.copysign(direction, direction * self.h[r])
                formula = ", ".join(_place(float(c)) for c in sorted(sign * nodes))
                self.how[r] = f"{how}: J at {formula} with h = {abs(self.step[r]):.3g}"

    def _lower_order(self) -> None:
        """Forms derivatives of the highest order that the values allow, at the largest step that does."""
        for n in range(len(self.stencil.nodes) - 1, 0, -1):
            windows = arrangements(tuple(float(c) for c in range(1, n + 1)))
            # The most symmetric window has the smallest error.
            options = sorted(windows, key=lambda option: abs(float(option[1].sum())))
            for k in range(HALVINGS + 1):
                self._settle(options, 0.5**k, f"a formula of order {n} in place of {self.stencil.order}")
        # A secant to any point that has a value; a distance near one step is preferred.
        for c in sorted(self._nodes, key=lambda c: (abs(np.log2(abs(c))), -c)):
            self._settle([(np.sign(c), np.ones(1))], abs(c), f"a formula of order 1 in place of {self.stencil.order}")

    def _node(self, c: float) -> Node:
        if c not in self._nodes:
            self._nodes[c] = self._placed(c)
        return self._nodes[c]

    def _placed(self, c: float) -> Node:
        site, x = self.site, self.site.x[self.rows]
        with np.errstate(over="ignore"):
            at = x + self.h * c
        ok, asked, values, known = self.samples.near(at, np.abs(self.h))
        at = np.where(asked, known, at)
        inside = np.isfinite(at) & (at >= site.lower[self.rows]) & (at <= site.upper[self.rows])
        offset = np.full(len(x), np.nan)
        offset[inside] = self._offsets(self.rows[inside], at[inside])
        offset[offset == 0] = np.nan
        return Node(at, offset, asked, ok & np.isfinite(offset), values)

    def _offsets(self, rows: NDArray[np.int64], at: Floats) -> Floats:
        """Displacements of the coordinates as J sees them; NaN where the text that J reads does not show a change."""
        try:
            return self.site.offsets(rows, at[:, None])[:, 0]
        except InputError:
            if len(rows) == 1:
                return np.array([np.nan])
            return np.concatenate([self._offsets(rows[r : r + 1], at[r : r + 1]) for r in range(len(rows))])


def _place(c: float) -> str:
    size = "h" if abs(c) == 1 else f"{abs(c):g} h"
    return f"x {'+' if c > 0 else '-'} {size}"
