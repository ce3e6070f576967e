"""The result of a step sweep: the differences, which of their digits are right, and both as text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from distfd.differentiation.noise import STATUSES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.noise import Noise
    from distfd.differentiation.noise_result import NoiseResult

    Floats = NDArray[np.float64]

TOLERANCE = 0.01
"""The relative error up to which a difference counts as right by default."""

_WIDTH = 15
_ROWS = 40
"""Largest number of coordinates for which a summary has a line each."""


_NONE = np.empty(0)
"""Default of a field: stands for an array of NaN in the shape of the fields beside it."""


@dataclass(frozen=True, eq=False, repr=False)
class StepSweep:
    """Differences along a coordinates, at n steps each; arrays have a last axis (m,) where J has several outputs.

    Attributes
    ----------
    coordinates : (a,) ndarray of int
    labels : tuple of str
        What messages call them.
    x : (a,) ndarray
    value : float or (m,) ndarray
        J(x).
    noise : NoiseResult
        The noise that the bars are made from; of several outputs, that of the noisiest.
    step : (a, n) ndarray
        Realised sizes of steps, in order; NaN, at the end, where a coordinate has fewer.
    forward, central : (a, n) ndarrays
        The differences; near a bound "central" is one-sided, of second order too.
    forward_noise, central_noise : (a, n) ndarrays
        How far noise alone may put them off, with some 97 %.
    derivative, error : (a,) ndarrays
        The derivative as well as the sweep knows it, and half the width of an interval meant to hold it with 95 %; NaN
        where nothing honest can be said.
    best : (a,) ndarray
        The step (of a central difference, or the smaller of two that are extrapolated) that gave it.
    near, far : (a,) ndarrays
        The slopes where differences agree on one over small steps and on another over large ones; NaN elsewhere.
    side : (a,) ndarray
        Where J jumps at x, the side from which it is continuous: 1 above x, -1 below it (``derivative`` and ``forward``
        are of that side), 0 where it is neither; NaN where J does not jump.
    unseen : (a,) ndarray of int
        Steps that floating point, the bounds, or the text that J reads have no room for.
    failed : (a,) ndarray of int
        Steps at which J has no value.
    warnings : tuple of str
        Coordinates along which J does not change, jumps, has a kink, or looks different at two scales.
    n_evaluations, n_reused : int
    outputs : tuple of str
        What messages call the outputs of J.
    """

    coordinates: NDArray[np.int64]
    labels: tuple[str, ...]
    x: Floats
    value: float | Floats
    noise: NoiseResult
    step: Floats
    forward: Floats
    forward_noise: Floats
    central: Floats
    central_noise: Floats
    derivative: Floats
    error: Floats
    best: Floats
    unseen: NDArray[np.int64]
    failed: NDArray[np.int64]
    warnings: tuple[str, ...]
    n_evaluations: int
    n_reused: int
    bars: Noise = field(repr=False)
    near: Floats = field(default_factory=lambda: _NONE, kw_only=True)
    far: Floats = field(default_factory=lambda: _NONE, kw_only=True)
    side: Floats = field(default_factory=lambda: _NONE, kw_only=True)
    outputs: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        for name, like in (("near", self.derivative), ("far", self.derivative), ("side", self.x)):
            if getattr(self, name) is _NONE:
                object.__setattr__(self, name, np.full(np.shape(like), np.nan))

    def output_label(self, output: int) -> str:
        """What messages call an output of J."""
        return self.outputs[output] if self.outputs else f"output {output}"

    def column(self, name: str, output: int = 0) -> Floats:
        """One of the arrays for one output of J: (a, n), or (a,)."""
        array = np.asarray(getattr(self, name))
        plain = self.derivative.ndim == 1
        return array if plain or name in ("step", "best") else array[..., output]

    def off(self, scheme: str, output: int = 0) -> Floats:
        """How wrong each "forward" or "central" difference is, or may be by its noise, (a, n)."""
        apart = np.abs(self.column(scheme, output) - self.column("derivative", output)[:, None])
        bar = np.nan_to_num(self.column("error", output))[:, None]
        return np.asarray(np.maximum(apart + bar, self.column(f"{scheme}_noise", output)))

    def __repr__(self) -> str:
        return sweep_summary(self)

    def __str__(self) -> str:
        return sweep_text(self)


def sweep_text(sweep: StepSweep, tolerance: float = TOLERANCE) -> str:
    """The sweep as text: the noise, and a table for each coordinate."""
    tables = [line for row in range(len(sweep.coordinates)) for line in ["", *coordinate_lines(sweep, row, tolerance)]]
    return "\n".join([noise_line(sweep), *tables, *(f"warning: {text}" for text in sweep.warnings)])


def sweep_summary(sweep: StepSweep) -> str:
    """A summary: for each coordinate a line with its derivative and the step used; ``print`` has all differences."""
    rows = min(len(sweep.coordinates), _ROWS)
    width = max((len(sweep.labels[row]) for row in range(rows)), default=0)
    lines = [noise_line(sweep), "", f"{'':{width}}{'x':>{_WIDTH}}{'dJ/dx':>{_WIDTH}}{'+-':>10}{'best step':>12}"]
    for row in range(rows):
        output = worst_output(sweep, row)
        derivative, error, best = (sweep.column(name, output)[row] for name in ("derivative", "error", "best"))
        best = best if np.ndim(best) == 0 else best[output]
        numbers = f"{sweep.x[row]:>{_WIDTH}.8g}{derivative:>{_WIDTH}.8g}{error:>10.1e}{best:>12.3g}"
        which = f"  {sweep.output_label(output)}" if sweep.derivative.ndim > 1 else ""
        lines.append(f"{sweep.labels[row]:{width}}{numbers}{which}")
    if len(sweep.coordinates) > rows:
        lines.append(f"... and {len(sweep.coordinates) - rows} more")
    lines += [f"warning: {text}" for text in sweep.warnings]
    return "\n".join([*lines, "", f"{sweep.n_evaluations} evaluations; print() shows the differences at every step"])


def noise_line(sweep: StepSweep) -> str:
    """A line with the noise level and how it was found."""
    noise = sweep.noise
    level = f"{noise.level:.3g}" if np.isfinite(noise.level) else "not known"
    unit = f"; J is a multiple of {noise.quantum:.3g}" if noise.quantum > 0 else ""
    return f"noise of J: {level} ({noise.status}: {STATUSES[noise.status]}{unit})"


def coordinate_lines(sweep: StepSweep, row: int, tolerance: float) -> list[str]:
    """Lines for one coordinate: its derivative, and the differences at every step, with their accuracy.

    If J has several outputs, the one with the largest derivative is shown.
    """
    output = worst_output(sweep, row)
    derivative, error = sweep.column("derivative", output)[row], sweep.column("error", output)[row]
    which = f", {sweep.output_label(output)} of J" if sweep.derivative.ndim > 1 else ""
    bar = f"+- {error:.2g}" if np.isfinite(error) else "(no error bar: the noise is not known)"
    lines = [f"{sweep.labels[row]} = {sweep.x[row]:.10g}{which}: derivative {derivative:.8g} {bar}"]
    titles = ("step", "forward", "its noise", "central", "its noise", "right within")
    lines.append("".join(f"{title:>{_WIDTH}}" for title in titles))
    columns = [sweep.column(name, output)[row] for name in ("forward", "forward_noise", "central", "central_noise")]
    off = {name: sweep.off(name, output)[row] for name in ("forward", "central")}
    for i, h in enumerate(sweep.step[row]):
        if not np.isfinite(h):
            break
        values = [column[i] for column in columns]
        formats = (".8g", ".1e", ".8g", ".1e")
        cells = [f"{h:.3g}", *(f"{value:{form}}" for value, form in zip(values, formats, strict=True))]
        marks = [name for name in off if off[name][i] <= tolerance * abs(derivative)]
        cells.append(" and ".join(marks) and f"{tolerance:g}: {'both' if len(marks) > 1 else marks[0]}")
        lines.append("".join(f"{cell:>{_WIDTH}}" for cell in cells).rstrip())
    if sweep.failed[row]:
        lines.append(f"    at {sweep.failed[row]} more step{'s' if sweep.failed[row] != 1 else ''} J has no value")
    if sweep.unseen[row]:
        lines.append(f"    {sweep.unseen[row]} more steps are too small to be held or written, or past the bounds")
    return lines


def worst_output(sweep: StepSweep, row: int) -> int:
    """The output of J with the largest derivative along a coordinate."""
    if sweep.derivative.ndim == 1:
        return 0
    return int(np.argmax(np.abs(np.nan_to_num(sweep.derivative[row]))))
