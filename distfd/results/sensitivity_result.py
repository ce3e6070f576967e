"""How uncertain outputs are because parameters are: first-order propagation, and how people see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.results.csv_export import data_frame, write_csv

if TYPE_CHECKING:
    import os

    from numpy.typing import NDArray

    from distfd.results.derivative_result import DerivativeResult

    Floats = NDArray[np.float64]

_OUTPUTS, _PARAMETERS = 4, 12
"""Outputs, and parameters of each, that are shown; of more the parameters with the largest shares are."""
_BLOCK = 2**22
"""Entries of the Jacobian that are multiplied by a covariance at once."""


@dataclass(frozen=True, eq=False, repr=False)
class SensitivityResult:
    """First-order uncertainty of J's outputs.

    JCGM 100:2008 (GUM), equations 10 and 13: the variance of output i is the sum over k, l of J_ik J_il C_kl, with the
    Jacobian J and the covariance C of the parameters. A function that curves over a parameter's standard deviation has
    terms of higher order beside it (GUM 5.1.2), which are not in here.

    Attributes
    ----------
    x : (d,) ndarray
    value : (m,) ndarray
        J(x); m is 1 for a J that is one number, and so below.
    jacobian : (m, d) ndarray
    sigma_x : (d,) ndarray
        Standard deviations of the parameters.
    covariance_x : (d, d) ndarray or None
        Of the parameters; None where they are independent.
    sigma : (m,) ndarray
        Standard uncertainties of the outputs, in their units; NaN where a derivative is missing.
    shares : (m, d) ndarray or None
        Of each parameter in the variance of each output, between 0 and 1; NaN where that is 0. None where parameters
        are correlated, as no part of the variance is then one parameter's own.
    normalised : (m, d) ndarray
        x_k / J_i times dJ_i / dx_k: by how many percent an output changes for one percent of a parameter; NaN where
        J_i is 0.
    sigma_error, shares_error, normalised_error : ndarrays of the same shapes, or None
        How far these can be off while each derivative stays within its error bar; None where there are no bars, NaN
        where one is unknown.
    derivative : DerivativeResult
        The Jacobian with all that is known of it.
    """

    x: Floats
    value: Floats
    jacobian: Floats
    sigma_x: Floats
    covariance_x: Floats | None
    sigma: Floats
    shares: Floats | None
    normalised: Floats
    sigma_error: Floats | None
    shares_error: Floats | None
    normalised_error: Floats | None
    derivative: DerivativeResult

    @property
    def covariance(self) -> Floats:
        """(m, m): covariance of the outputs, J C J^T."""
        counting = np.where(self.sigma_x == 0, 0.0, self.jacobian)
        inner = counting * self.sigma_x**2 if self.covariance_x is None else counting @ self.covariance_x
        return np.asarray(inner @ counting.T)

    @property
    def names(self) -> list[str]:
        """Of the parameters: as they were given, or x0, x1, ..."""
        given = self.derivative.names
        return [f"x{k}" for k in range(len(self.x))] if given is None else list(given)

    def __repr__(self) -> str:
        return _text(self)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write one line for each output and parameter; NaN is an empty cell.

        Raises
        ------
        InputError
            If the file cannot be written.
        """
        write_csv(path, _columns(self))

    def to_dataframe(self) -> Any:
        """The same as a pandas.DataFrame.

        Raises
        ------
        InputError
            If pandas is not installed.
        """
        return data_frame(_columns(self))


def propagate(
    derivative: DerivativeResult,
    jacobian: Floats,
    error: Floats | None,
    sigma_x: Floats,
    covariance_x: Floats | None,
) -> SensitivityResult:
    """First-order uncertainty from a Jacobian (m, d), its error bars (m, d) or None, and what is known of x.

    Parameters
    ----------
    sigma_x : (d,) ndarray
    covariance_x : (d, d) ndarray or None
        Symmetric and not negative definite; None for independent parameters.
    """
    x, value = np.asarray(derivative.x), np.atleast_1d(np.asarray(derivative.value, dtype=np.float64))
    # A parameter without uncertainty contributes nothing, whether its derivative is known or not.
    counting = np.where(sigma_x == 0, 0.0, jacobian)
    sigma, sigma_error = _uncertainty(counting, error, sigma_x, covariance_x)
    shares, shares_error = (None, None) if covariance_x is not None else _shares(counting, error, sigma_x)
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(value[:, None] == 0, np.nan, x / value[:, None])
    return SensitivityResult(
        x=x,
        value=value,
        jacobian=jacobian,
        sigma_x=sigma_x,
        covariance_x=covariance_x,
        sigma=sigma,
        shares=shares,
        normalised=factor * jacobian,
        sigma_error=sigma_error,
        shares_error=shares_error,
        normalised_error=None if error is None else np.abs(factor) * error,
        derivative=derivative,
    )


def _uncertainty(
    jacobian: Floats, error: Floats | None, sigma_x: Floats, covariance_x: Floats | None
) -> tuple[Floats, Floats | None]:
    """(m,): the square roots of J_i C J_i, and how far off they can be.

    With J_i + e in the place of J_i the variance is J_i C J_i + 2 e C J_i + e C e, the second term no further from 0
    than 2 |e| |C J_i|, the third between 0 and |e| |C| |e|; and the root moves by no more than that of the third.
    """
    m, d = jacobian.shape
    variance, spread = np.empty(m), np.zeros(m)
    cross = np.zeros(m)
    step = max(1, _BLOCK // d)
    for start in range(0, m, step):
        rows = slice(start, start + step)
        part, bars = jacobian[rows], None if error is None else error[rows]
        with_c = part * sigma_x**2 if covariance_x is None else part @ covariance_x
        variance[rows] = np.maximum(np.sum(with_c * part, axis=1), 0.0)
        if bars is not None:
            # What a parameter without uncertainty has for a derivative does not matter, known or not.
            bars = np.where(sigma_x == 0, 0.0, bars)
            by_bars = bars * sigma_x**2 if covariance_x is None else bars @ np.abs(covariance_x)
            spread[rows] = np.sum(by_bars * bars, axis=1)
            cross[rows] = 2 * np.sum(np.abs(with_c) * bars, axis=1)
    sigma = np.sqrt(variance)
    if error is None:
        return sigma, None
    above = np.sqrt(variance + cross + spread) - sigma
    below = sigma - np.sqrt(np.maximum(variance - cross, 0.0))
    return sigma, np.minimum(np.maximum(above, below), np.sqrt(spread))


def _shares(jacobian: Floats, error: Floats | None, sigma_x: Floats) -> tuple[Floats, Floats | None]:
    """(m, d): parts of the variance, and how far off they can be: each is largest where all others are smallest."""
    parts = (jacobian * sigma_x) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = parts / parts.sum(axis=1, keepdims=True)
        if error is None:
            return shares, None
        bars = np.where(sigma_x == 0, 0.0, error)
        most = ((np.abs(jacobian) + bars) * sigma_x) ** 2
        least = (np.maximum(np.abs(jacobian) - bars, 0.0) * sigma_x) ** 2
        others_most = np.maximum(most.sum(axis=1, keepdims=True) - most, 0.0)
        others_least = np.maximum(least.sum(axis=1, keepdims=True) - least, 0.0)
        # 0 / 0: where nothing is left of any part, a share can be anything.
        highest = np.where(most + others_least > 0, most / (most + others_least), 1.0)
        lowest = np.where(least + others_most > 0, least / (least + others_most), 0.0)
        off = np.maximum(np.maximum(highest - shares, shares - lowest), 0.0)
        return shares, np.where(np.isnan(bars.sum(axis=1, keepdims=True)), np.nan, off)


def _columns(result: SensitivityResult) -> dict[str, Any]:
    """One row an output and parameter."""
    m, d = result.jacobian.shape
    named = result.derivative.outputs
    columns: dict[str, Any] = {
        "output": np.repeat(np.arange(m) if named is None else np.array(named), d),
        "value": np.repeat(result.value, d),
        "sigma": np.repeat(result.sigma, d),
        "name": result.names * m,
        "x": np.tile(result.x, m),
        "sigma_x": np.tile(result.sigma_x, m),
        "derivative": result.jacobian.ravel(),
        "normalised": result.normalised.ravel(),
    }
    if result.shares is not None:
        columns["share"] = result.shares.ravel()
    if result.sigma_error is not None and result.normalised_error is not None:
        columns["sigma_error"] = np.repeat(result.sigma_error, d)
        columns["normalised_error"] = result.normalised_error.ravel()
    if result.shares_error is not None:
        columns["share_error"] = result.shares_error.ravel()
    return columns


def _text(result: SensitivityResult) -> str:
    """Each output with its uncertainty, and under it the parameters that it comes from."""
    m, d = result.jacobian.shape
    source = "correlated" if result.covariance_x is not None else "independent"
    of = f"{m} output{'s' if m > 1 else ''} from {d} {source} parameter{'s' if d > 1 else ''}"
    lines = [f"first-order uncertainty of {of}, by {result.derivative.scheme}"]
    for i in range(min(m, _OUTPUTS)):
        lines += ["", _output_line(result, i), *_parameter_lines(result, i)]
    if m > _OUTPUTS:
        lines += ["", f"and {m - _OUTPUTS} more output{'s' if m > _OUTPUTS + 1 else ''}: see sigma, shares, or to_csv"]
    return "\n".join([*lines, *(f"warning: {text}" for text in result.derivative.warnings)])


def _output_line(result: SensitivityResult, i: int) -> str:
    value, sigma = result.value[i], result.sigma[i]
    named = result.derivative.outputs
    what = named[i] if named is not None else f"J{i if len(result.value) > 1 else ''}"
    line = f"{what} = {value:.8g}, sigma {_number(sigma)}"
    if value != 0 and np.isfinite(sigma):
        line += f" ({100 * sigma / abs(value):.2g} %)"
    if result.sigma_error is not None:
        line += f", known to {_number(result.sigma_error[i])}"
    return line


def _parameter_lines(result: SensitivityResult, i: int) -> list[str]:
    d = len(result.x)
    shown = list(range(d))
    weight = np.abs(result.jacobian[i]) * result.sigma_x
    if d > _PARAMETERS:
        shown = np.argsort(-np.nan_to_num(weight), kind="stable")[:_PARAMETERS].tolist()
    titles = ["", "x", "sigma_x", "dJ/dx", "normalised"] + (["share"] if result.shares is not None else [])
    rows = [titles]
    for k in shown:
        row = [result.names[k], f"{result.x[k]:.6g}", _number(result.sigma_x[k]), _number(result.jacobian[i, k])]
        row.append("-" if result.value[i] == 0 else _number(result.normalised[i, k]))
        if result.shares is not None:
            share = result.shares[i, k]
            row.append("-" if np.isnan(share) else f"{100 * share:.1f} %")
        rows.append(row)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  " + "  ".join(_aligned(row, widths)).rstrip() for row in rows]
    return [*lines, *([f"  and {d - len(shown)} more, which weigh no more"] if len(shown) < d else [])]


def _aligned(row: list[str], widths: list[int]) -> list[str]:
    return [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]


def _number(value: float) -> str:
    return "unknown" if np.isnan(value) else f"{value:.4g}"
