"""A fit's parameters as a table, for terminals, files and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.evaluation.verbosity import plural
from distfd.optimization.scipy_methods import MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from distfd.optimization.fit_statistics import FitStatistics

_ALL, _HEAD, _TAIL = 40, 30, 6
"""A table of at most `_ALL` parameters is printed whole; of a longer one the first and last rows are."""
_CORRELATED = 0.9
"""Two parameters are named if the absolute value of their correlation is at least this."""
_PAIRS = 10
"""Largest number of such pairs that are named."""
_LEVEL = 0.95
_BOUNDS = {-1: "lower", 1: "upper"}


def fit_columns(
    statistics: FitStatistics, names: Sequence[str], active: NDArray[np.int64] | None, level: float = _LEVEL
) -> dict[str, Any]:
    """Columns of equal length: name, estimate, standard_error, lower and upper end of the interval, and bound.

    Parameters
    ----------
    active : (d,) ndarray of int, optional
        -1 or 1 where the lower or upper bound holds a parameter: bound is then "lower" or "upper", else None.
    level : float
        Level of the intervals.
    """
    ends = statistics.confidence_intervals(level)
    held = np.zeros(len(statistics.x), dtype=np.int64) if active is None else np.asarray(active)
    return {
        "name": list(names),
        "estimate": np.array(statistics.x),
        "standard_error": statistics.standard_errors,
        "lower": ends[:, 0],
        "upper": ends[:, 1],
        "bound": [_BOUNDS.get(int(k)) for k in held],
    }


def correlated_pairs(statistics: FitStatistics, least: float = _CORRELATED) -> list[tuple[int, int, float]]:
    """Pairs of parameters whose correlation is at least ``least`` in absolute value, largest first."""
    correlation = np.triu(np.nan_to_num(statistics.correlation), 1)
    rows, columns = np.nonzero(np.abs(correlation) >= least)
    pairs = [(int(k), int(j), float(correlation[k, j])) for k, j in zip(rows, columns, strict=True)]
    return sorted(pairs, key=lambda pair: -abs(pair[2]))


def fit_text(
    statistics: FitStatistics,
    names: Sequence[str],
    active: NDArray[np.int64] | None,
    result: Mapping[str, Any],
) -> str:
    """The printed fit: how it ended, its quality, its parameters, and remarks on them.

    Parameters
    ----------
    result : mapping
        The fields success, message, nit, n_prior, r_squared, n_evaluations, n_reused and derivative are used where
        present.
    """
    ended = "converged" if result.get("success") else "not converged"
    lines = [f"least squares, {ended}: {result.get('message', '')}".rstrip(": "), ""]
    lines += _goodness(statistics, result.get("n_prior") or 0, result.get("r_squared", np.nan))
    lines += ["", *_parameters(fit_columns(statistics, names, active), statistics.fixed)]
    notes = _notes(statistics, names, getattr(result.get("derivative"), "scheme", ""))
    if result.get("n_evaluations") is not None:
        effort = f"{plural(result['n_evaluations'], 'evaluation')}, {result.get('n_reused', 0)} reused"
        notes.append(f"{plural(result['nit'], 'iteration')}, {effort}" if result.get("nit") is not None else effort)
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def fit_notes(statistics: FitStatistics, names: Sequence[str], n_prior: int = 0, scheme: str = "") -> list[str]:
    """Lines on the quality of a fit and remarks on its parameters, printed around the table.

    Parameters
    ----------
    n_prior : int
        Number of residuals that are priors of parameters.
    scheme : str
        That of the Jacobian; "model" where it comes from the regression of the method model.
    """
    fixed = statistics.fixed
    active = np.zeros(len(fixed), dtype=bool) if statistics.active is None else statistics.active
    notes = []
    for why, rows in (("at a bound", active & ~fixed), ("fixed", fixed)):
        held = np.flatnonzero(rows).tolist()
        told = ", ".join(names[k] for k in held[:_PAIRS]) + (" ..." if len(held) > _PAIRS else "")
        notes += [f"{why}, and so without a standard error: {told}"] if held else []
    return [*_goodness(statistics, n_prior), *notes, *_notes(statistics, names, scheme)]


def _goodness(statistics: FitStatistics, n_prior: int, r_squared: float = np.nan) -> list[str]:
    m, fixed = len(statistics.jacobian), int(statistics.fixed.sum())
    held = len(statistics.x) - len(statistics.free) - fixed
    fitted = plural(len(statistics.x), "parameter") + (f", {held} of them at a bound" if held else "")
    fitted += f", {fixed} of them fixed" if fixed else ""
    chi = "chi2" if statistics.linear else "2 cost"
    good = [f"{chi} {statistics.chi_square:.6g}"]
    if np.isfinite(statistics.reduced_chi_square):
        good.append(f"reduced {chi} {statistics.reduced_chi_square:.6g}")
    if np.isfinite(statistics.aic):
        good.append(f"AIC {statistics.aic:.6g}")
    if np.isfinite(r_squared):
        good.append(f"R2 {r_squared:.6g}")
    sigma = "known standard deviations" if statistics.absolute_sigma else "standard deviation estimated from them"
    residuals = plural(m, "residual") + (f", {n_prior} of them prior values of parameters" if n_prior else "")
    free = f"{plural(statistics.degrees_of_freedom, 'degree')} of freedom"
    return [f"{residuals} ({sigma}), {fitted}, {free}", ", ".join(good)]


def _percent(share: float) -> str:
    """Two digits, and no power of ten where a reader need not have one."""
    return f"{share:.0f} %" if 10 <= share < 1e5 else f"{share:.2g} %"


def _parameters(columns: Mapping[str, Any], fixed: NDArray[np.bool_]) -> list[str]:
    """The table, one line for each parameter."""
    d = len(columns["name"])
    shown = list(range(d)) if d <= _ALL else [*range(_HEAD), *range(d - _TAIL, d)]
    rows = [["", "estimate", "std. error", "rel.", f"{100 * _LEVEL:g} % interval", ""]]
    for k in shown:
        estimate, error, bound = columns["estimate"][k], columns["standard_error"][k], columns["bound"][k]
        ends = f"[{columns['lower'][k]:.6g}, {columns['upper'][k]:.6g}]" if np.isfinite(error) else "-"
        relative = _percent(100 * error / abs(estimate)) if np.isfinite(error) and estimate != 0 else "-"
        mark = "fixed" if fixed[k] else "" if bound is None else f"at its {bound} bound"
        rows.append([columns["name"][k], f"{estimate:.8g}", _number(error), relative, ends, mark])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for at, row in enumerate(rows):
        if d > _ALL and at == _HEAD + 1:
            lines.append(f"... {d - len(shown)} more ...")
        cells = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells, row[-1]]).rstrip())
    return lines


def _notes(statistics: FitStatistics, names: Sequence[str], scheme: str) -> list[str]:
    notes = []
    if scheme == MODEL:
        notes.append("standard errors by the method's model of the residuals, as the run stopped before the Jacobian")
    if statistics.degrees_of_freedom <= 0 and not statistics.absolute_sigma:
        notes.append("no standard errors: there are no more residuals than parameters")
    for group in statistics.not_told_apart:
        if len(group) == 1:
            notes.append(f"without influence on the residuals: {names[group[0]]}")
        else:
            notes.append(f"not told apart by the residuals: {', '.join(names[k] for k in group)}")
    pairs = correlated_pairs(statistics)
    if pairs:
        more = f", and {len(pairs) - _PAIRS} more" if len(pairs) > _PAIRS else ""
        told = "; ".join(f"{names[k]}, {names[j]} {value:.4f}" for k, j, value in pairs[:_PAIRS])
        notes.append(f"correlations of {_CORRELATED} and more: {told}{more}")
    return notes


def _number(value: float) -> str:
    return "-" if np.isnan(value) else "undetermined" if np.isinf(value) else f"{value:.4g}"
