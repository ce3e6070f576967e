"""A step sweep as a picture: how far each difference is from the best value, over the step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from distfd.errors import InputError
from distfd.numerics.sweep_table import worst_output

if TYPE_CHECKING:
    from pathlib import Path

    from distfd.numerics.sweep_result import StepSweep

_LEAST = 1e-300


def need_matplotlib() -> None:
    """Say so before anything is evaluated where there is no matplotlib.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        import matplotlib.figure  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise InputError(
            "--plot: needs matplotlib, which is not installed; pip install 'distfd[report]', or leave --plot out"
        ) from error


def plot_sweep(sweep: StepSweep, path: Path) -> None:
    """Write a picture: for each coordinate the error of forward and central differences, and their noise, over h.

    Raises
    ------
    InputError
        If matplotlib is missing, or cannot write that file.
    """
    need_matplotlib()
    from matplotlib.figure import Figure

    a = len(sweep.coordinates)
    figure = Figure(figsize=(6.0, 3.2 * a), layout="constrained")
    axes = figure.subplots(a, 1, squeeze=False)[:, 0]
    for row, axis in enumerate(axes):
        output = worst_output(sweep, row)
        best, bar = sweep.column("derivative", output)[row], sweep.column("error", output)[row]
        for name, colour in (("forward", "tab:blue"), ("central", "tab:orange")):
            apart = np.abs(sweep.column(name, output)[row] - best)
            noise = sweep.column(f"{name}_noise", output)[row]
            axis.loglog(sweep.step[row], np.maximum(apart, _LEAST), "o-", color=colour, label=name)
            axis.loglog(sweep.step[row], np.maximum(noise, _LEAST), ":", color=colour, label=f"noise of {name}")
        if np.isfinite(bar) and bar > 0:
            axis.axhline(bar, color="0.6", linewidth=1, label="error bar")
        shown = [line.get_ydata() for line in axis.lines]
        seen = np.concatenate([np.asarray(part, dtype=float) for part in shown])
        seen = seen[np.isfinite(seen) & (seen > _LEAST)]
        if len(seen):
            axis.set_ylim(seen.min() / 3, seen.max() * 3)
        axis.set(title=f"{sweep.labels[row]}: {best:.6g}", xlabel="step", ylabel="error")
        axis.legend(fontsize="small")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InputError(f"--plot: {path} cannot be written: {error}") from error
