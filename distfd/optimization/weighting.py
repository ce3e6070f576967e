"""Residuals in units of their standard deviations, with priors of parameters as further residuals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
from distfd.core.validation import is_number, real_array
from distfd.objectives.output_parts import naming_mistakes, part_lengths

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    from distfd.objectives.output_parts import OutputPart
    from distfd.results.derivative_result import DerivativeResult

    Floats = NDArray[np.float64]
    Kept = NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class SigmaByName:
    """One standard deviation for all outputs of J that come from one output, or one data set, of a program or FMU.

    Parameters
    ----------
    given : mapping of str to float
        Standard deviations by the names of outputs or data.
    parts : sequence of OutputPart
        Where J's outputs come from.
    """

    given: Mapping[str, float]
    parts: Sequence[OutputPart]

    def of(self, m: int) -> Floats:
        """Standard deviations, (m,).

        Raises
        ------
        InputError
            If it is unclear which of J's m outputs come from what.
        """
        lengths = part_lengths(self.parts, m)
        if lengths is None:
            texts = ", ".join(part.text for part in self.parts)
            raise InputError(
                f"sigma: J has {m} outputs, and it cannot be told which of them come from which of {texts}: give a "
                "list or a file, with one number for each of them"
            )
        return np.repeat(self._each, lengths)

    @property
    def _each(self) -> Floats:
        names = (next(name for name in self.given if name in part.names) for part in self.parts)
        return np.array([self.given[name] for name in names])

    @property
    def per_noise(self) -> float:
        """As `Weighting.per_noise`, also before J is known; parts of unknown length are assumed to be equally long."""
        lengths = part_lengths(self.parts, None) or (1,) * len(self.parts)
        return float(np.sqrt(np.mean(1 / np.square(np.repeat(self._each, lengths)))))


@dataclass(frozen=True, eq=False)
class Weighting:
    """Turns J's outputs into the residuals of a fit: outputs / sigma, then (x_k - value) / sigma for each prior.

    The residuals of priors are PEST's prior information (Doherty, PEST manual), or Gaussian priors of a likelihood.

    Parameters
    ----------
    sigma : float, (m,) ndarray, SigmaByName or None
        Standard deviations of J's outputs, > 0.
    at : (q,) ndarray of int
        Coordinates that have a prior.
    centre, spread : (q,) ndarrays
        Values and standard deviations of the priors.
    """

    sigma: float | Floats | SigmaByName | None = None
    at: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    centre: Floats = field(default_factory=lambda: np.zeros(0))
    spread: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def plain(self) -> bool:
        """Whether J's outputs are the residuals."""
        return self.sigma is None and not len(self.at)

    @property
    def per_noise(self) -> float:
        """Root mean square of 1 / sigma: the factor by which weighting multiplies noise in J."""
        if isinstance(self.sigma, SigmaByName):
            return self.sigma.per_noise
        return 1.0 if self.sigma is None else float(np.sqrt(np.mean(1 / np.square(self.sigma))))

    def values(self, outputs: Floats, kept: Kept, x: Floats) -> Floats:
        """The residuals at x, (m + q,), from the fit's outputs (m,); ``kept`` selects their sigmas."""
        if self.plain:
            return outputs
        weighted = outputs / self._sigma(kept, len(outputs))
        return np.concatenate((weighted, (np.asarray(x)[self.at] - self.centre) / self.spread))

    def matrix(self, jacobian: Any, kept: Kept) -> Any:
        """Derivatives of the residuals, (m + q, d), from those of outputs, (m, d); sparse if these are."""
        return self._stacked(jacobian, kept, 1.0)

    def bars(self, error: Any, kept: Kept) -> Any:
        """Error bars of the residuals, (m + q, d), from those of outputs, (m, d) or None; priors have none."""
        return None if error is None else self._stacked(error, kept, 0.0)

    def slopes(self, rows: Floats, axes: Floats, kept: Kept) -> Floats:
        """Slopes of the residuals along axes (p, d), (p, m + q), from those of outputs, (p, m)."""
        if self.plain:
            return rows
        return np.concatenate((rows / self._sigma(kept, rows.shape[1]), axes[:, self.at] / self.spread), axis=1)

    def result(self, found: DerivativeResult, kept: Kept) -> DerivativeResult:
        """A Jacobian's result, converted to one of the residuals."""
        if self.plain:
            return found
        value = self.values(np.asarray(found.value), kept, np.asarray(found.x))
        derivative, error = self.matrix(found.derivative, kept), self.bars(found.error, kept)
        return replace(found, value=value, derivative=derivative, error=error)

    def cost_values(self, outputs: Floats, kept: Kept, x: Floats) -> Floats:
        """As `values`, for outputs that include those that are not kept."""
        return self.values(outputs if kept is None else outputs[kept], kept, x)

    def prior_slopes(self, d: int) -> Floats:
        """Derivatives of the residuals of priors, (q, d)."""
        rows = np.zeros((len(self.at), d))
        rows[np.arange(len(self.at)), self.at] = 1.0 / self.spread
        return rows

    def _sigma(self, kept: Kept, m: int) -> float | Floats:
        whole = m if kept is None else len(kept)
        sigma = self.sigma.of(whole) if isinstance(self.sigma, SigmaByName) else self.sigma
        if not isinstance(sigma, np.ndarray):
            return 1.0 if sigma is None else sigma
        if len(sigma) != whole:
            raise InputError(
                f"sigma: must be one number, or {whole} of them, one for each output of J (had {len(sigma)})"
            )
        return sigma if kept is None else sigma[kept]

    def _stacked(self, matrix: Any, kept: Kept, prior: float) -> Any:
        if self.plain:
            return matrix
        m, d = matrix.shape
        sigma = np.broadcast_to(self._sigma(kept, m), (m,))
        rows = prior * self.prior_slopes(d)
        if isinstance(matrix, np.ndarray):
            return np.concatenate((matrix / sigma[:, None], rows))
        from scipy.sparse import csr_array, diags_array, vstack

        return vstack((diags_array(1 / sigma) @ matrix, csr_array(rows))).tocsr()


def make_weighting(
    sigma: ArrayLike | Mapping[str, float] | None,
    prior: Mapping[str, Any] | None,
    names: Sequence[str],
    fixed: NDArray[np.bool_],
    parts: Sequence[OutputPart] | None = None,
) -> Weighting:
    """Checks sigma and prior as given to `distfd.least_squares`, and makes the weighting of them.

    Parameters
    ----------
    names : sequence of str
        Names of the d coordinates.
    fixed : (d,) ndarray of bool
        Coordinates that cannot move; their priors are left out.
    parts : sequence of OutputPart or None
        Where J's outputs come from, if they have names.

    Raises
    ------
    InputError
        If sigma or prior makes no sense.
    """
    spreads: float | Floats | SigmaByName | None
    if isinstance(sigma, Mapping):
        spreads = _sigma_by_name(sigma, parts)
    else:
        spreads = None if sigma is None else _checked_sigma(sigma)
    if prior is None:
        return Weighting(spreads)
    if not isinstance(prior, Mapping):
        raise InputError(f'prior: must be a mapping {{name: {{"value": v, "sigma": s}}}} (was {prior!r})')
    known = {name: k for k, name in enumerate(names)}
    at, centre, spread = [], [], []
    for name, given in prior.items():
        if name not in known:
            raise InputError(f"prior: there is no parameter {name!r}{did_you_mean(str(name), list(known))}")
        value, width = _checked_prior(name, given)
        if not fixed[known[name]]:
            at.append(known[name])
            centre.append(value)
            spread.append(width)
    return Weighting(
        spreads, np.array(at, dtype=np.int64), np.array(centre, dtype=float), np.array(spread, dtype=float)
    )


def _checked_sigma(sigma: ArrayLike) -> float | Floats:
    try:
        given = real_array(sigma)
    except ValueError as error:
        raise InputError(f"sigma: must be a number or a list of them (was {sigma!r}: {error})") from None
    if given.ndim > 1:
        raise InputError(f"sigma: must be a number or a list of them (its shape was {given.shape})")
    for k in np.flatnonzero(~(np.isfinite(given) & (given > 0)).ravel())[:1].tolist():
        which = f" at index {k}" if given.ndim else ""
        raise InputError(f"sigma: must be finite and > 0 (was {given.ravel()[k]}{which})")
    return given if given.ndim else float(given)


def _sigma_by_name(given: Mapping[str, Any], parts: Sequence[OutputPart] | None) -> SigmaByName:
    if parts is None:
        raise InputError(
            "sigma: J's outputs have no names here; those of a program or an FMU have, if value is no function. Give a "
            "number, or a list with one for each output"
        )
    for name, width in given.items():
        if not is_number(width) or not np.isfinite(width) or width <= 0:
            raise InputError(f"sigma: {name}: must be a finite number > 0 (was {width!r})")
    for where, text in naming_mistakes(given, parts):
        raise InputError(f"sigma: {text}" if where is None else f"sigma: {where}: {text}")
    return SigmaByName({name: float(width) for name, width in given.items()}, parts)


def _checked_prior(name: str, given: Any) -> tuple[float, float]:
    pair = (given.get("value"), given.get("sigma")) if isinstance(given, Mapping) else given
    if isinstance(given, Mapping) and set(given) != {"value", "sigma"}:
        raise InputError(f"prior: {name} must have value and sigma (was {dict(given)!r})")
    if not isinstance(pair, (tuple, list)) or len(pair) != 2 or not all(map(is_number, pair)):
        raise InputError(f"prior: {name} must be a value and a sigma, two numbers (was {given!r})")
    value, width = float(pair[0]), float(pair[1])
    if not np.isfinite(value):
        raise InputError(f"prior: the value of {name} must be finite (was {value})")
    if not (np.isfinite(width) and width > 0):
        raise InputError(f"prior: the sigma of {name} must be finite and > 0 (was {width})")
    return value, width
