"""Pictures of results as matplotlib axes, which can then be changed, saved or put beside others.

Needs matplotlib: ``pip install 'distfd[report]'``. ``report.html`` in a run's directory needs none.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.files import write_named
from distfd.differentiation.sweep_result import worst_output
from distfd.reporting.attempt_kinds import CLASSES, WORDS
from distfd.reporting.chart_data import (
    BARS,
    columns_of_iterations,
    falling_sizes,
    is_logarithmic,
    iterations,
    sweep_columns,
)
from distfd.reporting.run_data import read_run
from distfd.reporting.timeline import attempt_bars

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.sweep_result import StepSweep
    from distfd.reporting.timeline import Bars
    from distfd.results.derivative_result import DerivativeResult

_EDGED = 3000
"""Largest number of evaluations whose bars have edges."""
_COLOURS = ("#4a7ea9", "#c99700", "#8a6bb0", "#9aa1a9", "#c0392b")
"""Colours of values, retries, stragglers, duplicates and failures."""


def need_matplotlib(what: str = "distfd.plot") -> None:
    """Say so where there is no matplotlib, before anything is evaluated for a picture.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise InputError(
            f"{what}: needs matplotlib, which is not installed; pip install 'distfd[report]', or do without the picture"
        ) from error


def timeline(result: DerivativeResult | str | os.PathLike[str], ax: Any = None) -> Any:
    """Every evaluation as a bar from its start to its end, one row a slot.

    Parameters
    ----------
    result : DerivativeResult, or path
        A result, or the directory of a run.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If matplotlib is missing, or nothing was evaluated.
    """
    bars = attempt_bars(_rows(result))
    if bars is None:
        raise InputError("timeline: nothing was evaluated: all values were known before, or there are none")
    axes = _axes(ax, (8.0, 1.2 + 0.3 * min(len(bars.slots), 24)))
    for kind, (name, colour) in enumerate(zip(CLASSES, _COLOURS, strict=True)):
        mine = np.flatnonzero(bars.kind == kind)
        if len(mine):
            # Draw one collection for each kind: a hundred thousand separate bars would take minutes.
            _bars(axes, bars, mine, colour, f"{name} ({len(mine)})")
    axes.set(xlabel="seconds", ylabel="slot", xlim=(0, None))
    axes.set_ylim(float(bars.slots[-1]) + 0.6, float(bars.slots[0]) - 0.6)
    axes.yaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize="small", frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(WORDS))
    return axes


def gradient(result: DerivativeResult, ax: Any = None) -> Any:
    """The gradient with its error bars: a bar for each component, or their sizes in falling order where there are many.

    Parameters
    ----------
    result : DerivativeResult
        Of a gradient, or of another derivative with one axis.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    InputError
        If matplotlib is missing, or the derivative is a matrix.
    """
    value = result.derivative
    if not isinstance(value, np.ndarray) or value.ndim != 1:
        raise InputError(f"gradient: needs a derivative with one axis (had shape {value.shape})")
    error = np.full(len(value), np.nan) if result.error is None else np.asarray(result.error)
    if len(value) > BARS:
        return _sizes(value, error, _axes(ax, (7.0, 4.0)))
    axes = _axes(ax, (7.0, 1.0 + 0.27 * len(value)))
    at = np.arange(len(value))
    names = result.names if result.names is not None and len(result.names) == len(value) else [f"x{k}" for k in at]
    axes.barh(at, value, color=np.where(np.nan_to_num(value) >= 0, _COLOURS[0], "#b4763f"), height=0.62)
    known = np.isfinite(error)
    if known.any():
        axes.errorbar(value[known], at[known], xerr=error[known], fmt="none", ecolor="0.15", capsize=3, linewidth=1)
    for k in np.flatnonzero(~np.isfinite(value)):
        axes.annotate("missing", (0, k), xytext=(4, 0), textcoords="offset points", va="center", color=_COLOURS[4])
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.set(xlabel="dJ/dx", ylim=(len(value) - 0.4, -0.6))
    # Escape dollar signs, which would begin a formula.
    axes.set_yticks(at, [name.replace("$", r"\$") for name in names])
    return axes


def convergence(result: Any, ax: Any = None) -> Any:
    """J, or the cost of a fit, and the size of its gradient on a second axis, by iteration of an optimizer.

    Parameters
    ----------
    result : path, or OptimizeResult
        The directory of a run, or what `distfd.minimize` or `distfd.least_squares` returned, where that has a
        ``history``.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
        That of J or the cost.

    Raises
    ------
    InputError
        If matplotlib is missing, or there are no iterations.
    """
    measure, (steps, values, norms) = _history(result)
    if not len(steps):
        raise InputError("convergence: there are no iterations in it")
    axes = _axes(ax, (7.0, 4.0))
    axes.plot(steps, values, "o-", color=_COLOURS[0], markersize=3)
    axes.set(xlabel="iteration", ylabel=measure)
    if is_logarithmic(values):
        axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if (norms > 0).any():
        twin = axes.twinx()
        twin.semilogy(steps, np.where(norms > 0, norms, np.nan), "s--", color="#b4763f", markersize=3, linewidth=1)
        twin.set_ylabel("|g|", color="#8a5a2b")
        axes.yaxis.label.set_color("#2f628c")
    return axes


def step_sweep(sweep: StepSweep, axes: Any = None) -> NDArray[Any]:
    """How far forward and central differences are from the best value, and their noise, over the step.

    Parameters
    ----------
    sweep : StepSweep
        Of `distfd.step_sweep`.
    axes : sequence of matplotlib.axes.Axes, optional
        One for each coordinate of the sweep.

    Returns
    -------
    (a,) ndarray of matplotlib.axes.Axes

    Raises
    ------
    InputError
        If matplotlib is missing.
    """
    if axes is None:
        need_matplotlib()
        import matplotlib.pyplot as plt

        a = len(sweep.coordinates)
        axes = plt.subplots(a, 1, squeeze=False, figsize=(6.0, 3.2 * a), layout="constrained")[1][:, 0]
    found = np.atleast_1d(np.asarray(axes, dtype=object))
    for row, axis in enumerate(found):
        _sweep(sweep, row, axis)
    return found


def plot_sweep(sweep: StepSweep, path: Path) -> None:
    """Write a step sweep as a picture.

    Raises
    ------
    InputError
        If matplotlib is missing, or cannot write that file.
    """
    need_matplotlib("--plot")
    from matplotlib.figure import Figure

    a = len(sweep.coordinates)
    figure = Figure(figsize=(6.0, 3.2 * a), layout="constrained")
    step_sweep(sweep, figure.subplots(a, 1, squeeze=False)[:, 0])
    try:
        wanted = path.suffix.lstrip(".").lower() or None
        write_named(path, lambda file: figure.savefig(file, format=wanted))
    except (OSError, ValueError) as error:
        raise InputError(f"--plot: {path} cannot be written: {error}") from error


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    need_matplotlib()
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]


def _rows(result: DerivativeResult | str | os.PathLike[str]) -> NDArray[Any]:
    if isinstance(result, (str, os.PathLike)):
        return read_run(Path(result)).attempts.rows
    return result.evaluations.array


def _bars(axes: Any, bars: Bars, mine: NDArray[np.int64], colour: str, name: str) -> None:
    from matplotlib.collections import PolyCollection

    x1, x2, y = bars.begin[mine], bars.end[mine], bars.slots[bars.lane[mine]].astype(float)
    corners = np.stack(
        [np.stack(pair, axis=1) for pair in ((x1, y - 0.4), (x2, y - 0.4), (x2, y + 0.4), (x1, y + 0.4))]
    )
    # Edges separate neighbours; where there are very many bars, edges would cover them.
    edge, width = ("white", 0.4) if len(mine) < _EDGED else ("none", 0.0)
    shapes = list(corners.swapaxes(0, 1))
    axes.add_collection(PolyCollection(shapes, facecolor=colour, edgecolor=edge, linewidth=width, label=name))
    axes.autoscale_view()


def _sizes(value: NDArray[np.float64], error: NDArray[np.float64], axes: Any) -> Any:
    sizes, bars = falling_sizes(value, error)
    axes.semilogy(sizes, ".", color=_COLOURS[0], markersize=3, label="size")
    if np.isfinite(bars).any():
        axes.semilogy(np.where(bars > 0, bars, np.nan), ".", color="#b4763f", markersize=2, label="error bar")
        axes.legend(fontsize="small", frameon=False)
    axes.set(xlabel="components, the largest first", ylabel="|dJ/dx|")
    return axes


def _history(result: Any) -> tuple[str, tuple[NDArray[np.float64], ...]]:
    """What was minimised, and the columns of the iterations."""
    if isinstance(result, (str, os.PathLike)):
        run = read_run(Path(result))
        return run.measure, iterations(run) or columns_of_iterations(())
    way = getattr(result, "history", None)
    if way is None:
        raise InputError("convergence: that has no history; give the directory of a run, or what minimize returned")
    # Only a fit has a cost, beside its residuals.
    return "J" if getattr(result, "cost", None) is None else "cost", columns_of_iterations(way)


def _sweep(sweep: StepSweep, row: int, axis: Any) -> None:
    """One coordinate."""
    output = worst_output(sweep, row)
    names = ("derivative", "error", "forward", "forward_noise", "central", "central_noise")
    one = sweep_columns({"step": sweep.step[row], **{name: sweep.column(name, output)[row] for name in names}})
    assert one is not None, "columns of one sweep fit together"
    best, bar = one["derivative"], one["error"]
    for name, colour in (("forward", _COLOURS[0]), ("central", "#b4763f")):
        axis.loglog(one["step"], one[name], "o-", color=colour, label=name)
        axis.loglog(one["step"], one[f"{name}_noise"], ":", color=colour, label=f"noise of {name}")
    if np.isfinite(bar) and bar > 0:
        axis.axhline(bar, color="0.6", linewidth=1, label="error bar")
    shown = [line.get_ydata() for line in axis.lines]
    seen = np.concatenate([np.asarray(part, dtype=float) for part in shown])
    seen = seen[np.isfinite(seen)]
    if len(seen):
        axis.set_ylim(seen.min() / 3, seen.max() * 3)
    axis.set(title=f"{sweep.labels[row]}: dJ/dx = {best:.6g}".replace("$", r"\$"), xlabel="step", ylabel="error")
    axis.legend(fontsize="small", frameon=False)
