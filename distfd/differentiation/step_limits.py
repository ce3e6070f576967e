"""Checks, without further evaluations, whether steps suit x and J, which the difference itself cannot show.

Two things make a difference worthless without any error. If a step is not small relative to x (where x is tiny), it
spans the whole scale on which J changes. And if J is large relative to its changes, has few digits, or is a float32, a
difference of a few units in its last place is mere rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.records import DOUBLE, WHOLE, Status
from distfd.differentiation.diagnostics import listed, no_movement_warnings
from distfd.differentiation.method import Request
from distfd.differentiation.rounding_quantum import many_digits, quantum
from distfd.differentiation.step_changes import changes_over_steps
from distfd.differentiation.steps import own_sizes
from distfd.differentiation.value_precision import SINGLE, single_outputs, type_name, unit_roundoff, wave_bits
from distfd.differentiation.wild_values import wild_value_warnings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Answer, Wave
    from distfd.differentiation.value_precision import OwnPrecision

    Floats = NDArray[np.float64]
    Numbers = NDArray[np.int64]

_OFF = 0.1
"""A step is too large for x, or for the width of its bounds, if the p-th power of the ratio is at least this, for a
scheme of order p: the derivative of a power of x then has about this relative error."""
_MOVES = 1e3
"""... and it matters if J changes this many times as fast as a J that changes by its own size when x changes by max(1,
abs(x)), ..."""
_BENT_MOVES = 0.1
"""... or this many times as fast, and J is not linear over the step, ..."""
_MUCH = 0.2
"""... or if J changes by this part of itself."""
_UNITS = 10.0
"""A difference of fewer units in the last place has a relative error of more than 10 %."""
_PRINTED_UNITS = 5.0
"""A warning names printed values that differ by fewer units than this, whatever other coordinates do, unless J is known
from earlier waves (at the end of a search, derivatives are small). With more units, J may have round values that are
printed in full."""
_PART = 1e-2
"""Rounding is ignored if, over a coordinate's scale, it moves J by less than this part of what the most important
coordinate does: a component that is 0 looks the same."""
_SMALL_PART = 1e-6
"""The same limit relative to the most important coordinate of all outputs, for an output that depends on hardly any."""
_LARGER = {False: 1e-3, True: 1e-2}
"""A relative step that is recommended, by whether derivatives are second ones."""
_OUTPUTS, _VALUES = 256, 1000
"""Digits are examined for at most this many outputs, and this many values of each."""
_HELD = 10.0
"""A step should be at least this many spacings of J's own number type at x: J may compute in the type of its answer."""


@dataclass(frozen=True, eq=False)
class Known:
    """What earlier waves of the same J have shown of it.

    It tells a derivative that is near 0 at the end of a search from one that is lost in rounding.

    Attributes
    ----------
    size : (m,) ndarray
        The largest absolute value of each output.
    moves : (m,) ndarray
        The largest rate of change of each output along one coordinate, times max(1, abs(x)) of that coordinate.
    """

    size: Floats
    moves: Floats

    def after(self, wave: Wave) -> Known:
        """The record with one more wave; if the number of J's outputs differs, the old record is dropped."""
        wave = wave.required
        size, moves = np.zeros(wave.values.shape[1]), np.zeros(wave.values.shape[1])
        if len(self.size) == len(size):
            size, moves = self.size, self.moves
        points, baseline = wave.request.points, wave.request.baseline
        good = wave.status == Status.OK
        with np.errstate(all="ignore"):
            values = np.abs(wave.values.real[good])
            size = np.maximum(size, np.max(values, axis=0, initial=0.0, where=np.isfinite(values)))
            single = np.flatnonzero(good & (np.diff(points.indptr) == 1))
            if baseline is not None and good[baseline] and len(single):
                at = points.indptr[single]
                x = points.x[points.indices[at]]
                moved = np.abs(points.values[at].real - x) / np.maximum(1.0, np.abs(x))
                rates = np.abs(wave.values.real[single] - wave.values.real[baseline]) / moved[:, None]
                moves = np.maximum(moves, np.max(rates, axis=0, initial=0.0, where=np.isfinite(rates)))
        return Known(size, moves)


NOTHING_KNOWN = Known(np.zeros(0), np.zeros(0))
"""The record before the first wave."""


@dataclass(frozen=True, eq=False)
class Terms:
    """The entries of a derivative, each with its divisor and its coordinate and output.

    Attributes
    ----------
    value : (e,) ndarray
    weight : (e,) ndarray
        By how much a rounding error of one unit in J changes the entry.
    row, output : (e,) ndarrays of int
        Number of the coordinate (or direction), and of the output.
    reach : (e,) ndarray
        Scale of the coordinate: it makes entries comparable.
    least : (m,) ndarray
        A change of each output over the scale that is known apart from the entries.
    """

    value: Floats
    weight: Floats
    row: NDArray[np.int64]
    output: NDArray[np.int64]
    reach: Floats
    least: Floats


def coarse_steps(site: BasePoint, moved: Floats, given: Given) -> NDArray[np.bool_]:
    """Coordinates, (d,), whose default step is not small relative to x, or to the width of finite bounds.

    Parameters
    ----------
    site : BasePoint
    moved : (d,) ndarray
        How far each coordinate was moved.
    given : Given
    """
    own = own_sizes(site.x, site.lower, site.upper)
    with np.errstate(over="ignore", invalid="ignore"):
        coarse = moved >= _OFF ** (1 / given.order) * own
    return np.asarray(given.open_steps & coarse & (site.lower != site.upper))


def lost_entries(terms: Terms, unit: Floats, printed: Floats | float = 0.0) -> NDArray[np.int64]:
    """Numbers of the entries that are only a few units in the last place of J, and matter.

    An entry that is 0 counts only if no entry of its output is known: otherwise it may be 0 exactly.

    Parameters
    ----------
    unit : (m,) ndarray
        The unit in which each output is rounded.
    printed : (m,) ndarray, optional
        The unit of the last printed digit, where J is read from text and nothing else is known of it; 0 elsewhere.
    """
    if not len(terms.value):
        return np.empty(0, dtype=np.int64)
    with np.errstate(over="ignore", invalid="ignore"):
        bar = terms.weight * unit[terms.output]
        moves, noise = np.abs(terms.value) * terms.reach, bar * terms.reach
        few = np.abs(terms.value) < _UNITS * bar
        known = np.zeros(len(unit), dtype=bool)
        known[terms.output[~few]] = True
        most = terms.least.copy()
        np.fmax.at(most, terms.output, moves)
        in_text = np.broadcast_to(printed, unit.shape)[terms.output] > 0
        coarse = in_text & (terms.value != 0) & (np.abs(terms.value) < _PRINTED_UNITS * bar)
        matters = (noise > _PART * most[terms.output]) & (noise > _SMALL_PART * np.nanmax(most))
    return np.flatnonzero(coarse | (few & matters & ((terms.value != 0) | ~known[terms.output])))


def last_units(values: Floats, bits: int) -> Floats:
    """The spacing of numbers of J's own type at the largest of the values (n, m), for each output, (m,)."""
    if bits == WHOLE:
        return np.ones(values.shape[1])
    with np.errstate(over="ignore"):
        largest = np.max(np.abs(values), axis=0, initial=0.0, where=np.isfinite(values))
        return np.asarray(np.spacing(largest) * 2.0 ** (DOUBLE - bits))


@dataclass(frozen=True, eq=False)
class Given:
    """What the user said about steps, and what is known of J.

    Attributes
    ----------
    kind : str
    default_steps : (d,) ndarray of bool
        Where the scheme's own relative step is used because none was given.
    open_steps : (d,) ndarray of bool
        Where no scale was given either.
    scale : (d,) ndarray
        Typical sizes.
    factor : float
        Rounding of J by one unit changes a component by factor / h (h^2 for second derivatives); 0 where rounding has
        no effect.
    order : int
        The power of the step with which the truncation falls.
    finds_steps : bool
        Whether step="auto" supports this derivative.
    printed : bool
        Whether J's values are read from text.
    known : Known
        The record of earlier waves.
    relative_step : float
        The default relative step.
    direction : (d,) ndarray, optional
        The vector of a Hessian-vector product.
    directions : (p, d) ndarray, optional
        The directions of the derivative, where it is not along coordinates.
    replaced : (d,) ndarray of bool, optional
        Where the given relative step is too small to change x, so that the default one is used.
    """

    kind: str
    default_steps: NDArray[np.bool_]
    open_steps: NDArray[np.bool_]
    scale: Floats
    factor: float
    order: int = 1
    finds_steps: bool = False
    printed: bool = False
    known: Known = NOTHING_KNOWN
    relative_step: float = 0.0
    direction: Floats | None = None
    directions: Floats | None = None
    replaced: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class CheckedSteps:
    """A method whose answer gets warnings where its steps do not suit x or J's precision; see this module.

    Answers with error bars need fewer checks, as the bars cover rounding.
    """

    method: OwnPrecision
    site: BasePoint
    given: Given

    def advance(self, waves: Sequence[Wave]) -> Request | Answer:
        """The method's request, or its answer with warnings about its steps."""
        step = self.method.advance(waves)
        if isinstance(step, Request) or not waves:
            return step
        with np.errstate(all="ignore"):  # overflow is reported where it matters
            own = [wave.required for wave in waves] if self.given.factor else waves
            wild = wild_value_warnings(self.site, waves, outputs=len(step.value), printed=self.given.printed)
            return replace(step, warnings=self._replaced() + step.warnings + wild + self._warnings(step, own))

    def _replaced(self) -> tuple[str, ...]:
        """Warnings about given steps that were not used."""
        if self.given.replaced is None:
            return ()
        rows = self.site.moving[self.given.replaced[self.site.moving]]
        if not len(rows):
            return ()
        text = f"step: the given relative step does not change {listed(self.site.label, rows)} in floating point"
        remedy = f"leave step out, or give one of {self.given.relative_step:.2g} or so"
        return (f"{text}, so the scheme's default step was used there; {remedy}",)

    def _warnings(self, answer: Answer, waves: Sequence[Wave]) -> tuple[str, ...]:
        bits = wave_bits(waves[0])
        texts = self._type(bits, answer)
        second = self.given.kind in ("hessian", "hvp")
        if second and not isinstance(answer.derivative, np.ndarray):
            return texts  # the methods of sparse Hessians give these warnings themselves
        if not self.given.factor and (second or answer.warnings):
            return texts  # the complex step gives these warnings itself
        if answer.warnings and second:
            return texts  # second differences have given their own warnings
        texts += self._coarse(answer, waves)
        if answer.error is not None or not self.given.factor or self.given.kind == "hessian":
            return texts  # second differences check for rounding themselves
        return texts + self._lost(answer, waves, bits) + self._unheld(answer, bits)

    def _type(self, bits: int, answer: Answer) -> tuple[str, ...]:
        """Warnings that J has few digits, and how the steps allow for it."""
        if bits == DOUBLE:
            return ()
        if bits == WHOLE:
            text = "J returned whole numbers alone (int), so what changes it by less than 1 is not seen"
            return (f"{text}: let it return floats, or use a step that changes it by many",)
        if answer.error is not None or not self.given.factor or not self.given.default_steps.any():
            return ()
        digits = f"{-np.log10(unit_roundoff(bits)):.0f}"
        text = f"J's values are {type_name(bits)}, numbers of {digits} digits: the default steps"
        return (f"{text} are those for such numbers, and the derivative has few good digits; J in float64 gives more",)

    def _coarse(self, answer: Answer, waves: Sequence[Wave]) -> tuple[str, ...]:
        """Warnings about default steps that are not small relative to x."""
        given, site = self.given, self.site
        moved = _moves(answer, given)
        coarse = coarse_steps(site, moved, given)
        if not coarse.any():
            return ()
        change, bent = changes_over_steps(
            given.kind,
            answer,
            waves,
            np.where(coarse, moved, 0.0),
            known=given.known.size,
            imaginary=not given.factor,
        )
        # If J has the scale 1 and x happens to be tiny, the change is no more than about the step, and linear.
        far = moved / np.maximum(1.0, np.abs(site.x))
        rows = np.flatnonzero(coarse & ((change > np.minimum(_MOVES * far, _MUCH)) | (bent > _BENT_MOVES * far)))
        if not len(rows):
            return ()
        k = int(rows[0])
        own = own_sizes(site.x, site.lower, site.upper)[k]
        auto = ", or step='auto'" if given.finds_steps else ""
        text = f"the default step is not small against {listed(site.label, rows)}, and J changes much over it"
        remedy = f"say what size is typical (scale), or give a relative step (step={given.relative_step:.2g}){auto}"
        numbers = f"(step {moved[k]:.2g} where x is {site.x[k]:.6g}; a scale of {own:.2g} would suit it)"
        return (f"{text}: {remedy} {numbers}",)

    def _lost(self, answer: Answer, waves: Sequence[Wave], bits: int) -> tuple[str, ...]:
        """Warnings about entries that are only a few units in the last place of J."""
        given, site = self.given, self.site
        if bits == WHOLE:
            return ()
        label = site.label if answer.axis == "coordinate" else lambda k: f"direction {k}"
        values = np.concatenate([wave.values.real for wave in waves])
        unit = last_units(values, bits)
        printed: Floats | float = 0.0
        if bits == DOUBLE:
            printed = printed_unit(waves, values, printed=given.printed)
            unit = np.maximum(unit, printed)
            if len(unit) > 1:
                unit = np.where(single_outputs(waves), np.maximum(unit, last_units(values, SINGLE)), unit)
        terms = _terms(answer, waves, given)
        second = given.kind in ("hessian", "hvp")
        still = np.empty(0, np.int64) if second else _still(terms, len(answer.step))
        texts: tuple[str, ...] = ()
        coarsest = float(np.max(printed, initial=0.0))
        along_coordinates = answer.axis == "coordinate" and isinstance(answer.derivative, np.ndarray)
        # Methods along single coordinates warn of coordinates that do not change J. A structure that was probed shows
        # that J depends on its coordinates, and J may just be flat at this x.
        if not along_coordinates and (answer.structure is None or coarsest > 0):
            texts = no_movement_warnings(label, still, coarsest)
        alone = given.printed and not len(given.known.moves) and not second
        lost = lost_entries(terms, unit, printed if alone else 0.0)
        lost = lost[~np.isin(terms.row[lost], still)]
        if not len(lost):
            return texts
        outputs = np.unique(terms.output[lost])
        of = f" of {listed(lambda j: site.output(j, len(unit)), outputs)}" if len(unit) > 1 else ""
        first = int(lost[0])
        j = int(terms.output[first])
        bar = terms.weight[first] * unit[j]
        larger = f"take a larger step (step={_LARGER[second]:g}, say)"
        auto = "step='auto' finds a step" if given.finds_steps else larger
        text = f"rounding hides the derivative{of} along {listed(label, np.unique(terms.row[lost]))}"
        why = "J changed by a few units of its last digit"
        remedy = f"{auto}, or let J leave out what is constant in it, or give more digits"
        size = f"J = {answer.value[j]:.10g} in units of {unit[j]:.2g}"
        return (*texts, f"{text}, as {why}: {remedy} ({terms.value[first]:.3g} +- {bar:.2g}; {size})")

    def _unheld(self, answer: Answer, bits: int) -> tuple[str, ...]:
        """Warnings about given steps that are too small for x + h in J's own number type."""
        given, site = self.given, self.site
        if bits in (DOUBLE, WHOLE):
            return ()
        moved = _moves(answer, given)
        held = _HELD * np.abs(site.x) * unit_roundoff(bits)
        rows = np.flatnonzero((moved > 0) & (moved < held) & ~given.default_steps)
        if not len(rows):
            return ()
        k = int(rows[0])
        text = (
            f"J's values are {type_name(bits)}, and the step along {listed(site.label, rows)} is below what x + h holds"
        )
        remedy = "leave step out, take a larger one, or let J compute in float64"
        return (f"{text} in that type: {remedy} (step {moved[k]:.2g} where x is {site.x[k]:.6g})",)


def printed_unit(waves: Sequence[Wave], values: Floats, *, printed: bool) -> Floats | float:
    """The unit of J's last printed digit, by output; 0 where the few digits may be chance.

    Parameters
    ----------
    values : (n, m) ndarray
        The values of all waves.
    printed : bool
        Whether J's values are read from text.
    """
    if printed:
        return quantum(values, printed=True, least=2)
    if values.shape[1] > _OUTPUTS:
        return 0.0
    values = values[:_VALUES]
    unit = quantum(values, printed=True)
    if many_digits(waves[0].request.points.values.real):
        return unit
    # Simple arithmetic on numbers of few digits, such as 1 + 0.001, gives few digits too, but each result differs.
    return np.where((values[1:] == values[0]).any(axis=0), unit, 0.0)


def _moves(answer: Answer, given: Given) -> Floats:
    """The largest distance by which each coordinate was moved, (d,)."""
    if given.directions is None:
        return np.abs(answer.step)
    return np.asarray((np.abs(answer.step)[:, None] * np.abs(given.directions)).max(axis=0))


def _still(terms: Terms, n: int) -> NDArray[np.int64]:
    """Rows that have entries, all of them 0."""
    entries = np.bincount(terms.row, minlength=n)
    return np.flatnonzero((entries > 0) & (np.bincount(terms.row[terms.value == 0], minlength=n) == entries))


def _slopes(answer: Answer, waves: Sequence[Wave], given: Given) -> Floats:
    """About how much J changes over one scale by its slopes, (1,), for derivatives of second order."""
    steps = np.abs(answer.step) / given.scale
    least = steps[steps > 0].min(initial=np.inf)
    most = max(float(np.nanmax(np.abs(wave.values[:, 0] - answer.value[0]), initial=0.0)) for wave in waves)
    return np.array([max([most / least, *given.known.moves[:1].tolist()])])


def _terms(answer: Answer, waves: Sequence[Wave], given: Given) -> Terms:
    """The entries of a derivative of any kind, with all that `lost_entries` needs."""
    h, scale, m = np.abs(answer.step), given.scale, len(answer.value)
    derivative: Any = answer.derivative
    before = given.known.moves if len(given.known.moves) == m else np.zeros(m)
    if given.kind == "hessian":
        k, j = np.nonzero((h[:, None] > 0) & (h[None] > 0) & np.isfinite(derivative))
        weight = given.factor / (h[k] * h[j])
        reach, least = scale[k] * scale[j], _slopes(answer, waves, given)
        return Terms(derivative[k, j], weight, k, np.zeros(len(k), np.int64), reach, least)
    if given.kind == "hvp":
        assert given.direction is not None, "a product has its vector"
        size = np.linalg.norm(given.direction / np.where(h > 0, h, np.inf))
        k = np.flatnonzero((h > 0) & np.isfinite(derivative))
        reach, least = scale[k] / np.linalg.norm(given.direction / scale), _slopes(answer, waves, given)
        return Terms(derivative[k], given.factor * size / h[k], k, np.zeros(len(k), np.int64), reach, least)
    if not isinstance(derivative, np.ndarray):
        entries = derivative.tocoo()
        k, j, value = entries.col.astype(np.int64), entries.row.astype(np.int64), np.asarray(entries.data)
        there = h[k] > 0
        return Terms(value[there], given.factor / h[k[there]], k[there], j[there], scale[k[there]], before)
    table = np.atleast_2d(derivative.T if given.kind == "jacobian" else derivative)
    if given.kind in ("gradient", "directional") and derivative.ndim == 1:
        table = derivative[:, None]
    assert table.shape == (len(h), m), "rows are coordinates or directions"
    rows = np.flatnonzero(h > 0)
    k, j = np.repeat(rows, m), np.tile(np.arange(m), len(rows))
    reach = scale[k] if given.directions is None else h[k]
    value = table[rows].ravel()
    good = np.isfinite(value)
    return Terms(value[good], (given.factor / h[k])[good], k[good], j[good], reach[good], before)
