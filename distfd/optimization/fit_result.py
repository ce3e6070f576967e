"""The result of `distfd.least_squares`: SciPy's result, with statistics of parameters. Imports scipy.optimize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

import numpy as np
from scipy.optimize import OptimizeResult

from distfd.core.errors import InputError
from distfd.optimization.fit_statistics import FitStatistics, total_squares
from distfd.optimization.fit_table import fit_columns, fit_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import ArrayLike, NDArray

    from distfd.optimization.likelihood_profile import LikelihoodProfile, Refits
    from distfd.optimization.limits import Limits

    Vector = NDArray[np.float64]

_MOST = 5e7
"""A sparse Jacobian is made dense if it has at most this many entries (400 MB)."""
_ACCURACY = {"complex-step": 0.0, "central": 1e-9, "central4": 1e-10, "richardson": 1e-10, "forward2": 1e-9}
_ONE_SIDED = 1e-7
"""Assumed relative error of a Jacobian's columns by schemes that are not in `_ORDERS`: some ten times that of a smooth
J."""


_ROUGH = 0.01
"""Upper limit of the assumed relative error of a Jacobian, as no parameters could be told apart above it."""

_ORDERS = {"forward": 1, "backward": 1, "forward2": 2, "backward2": 2, "central": 2, "central4": 4}
"""Truncation of these schemes falls with this power of the step."""
_SMALL = 0.1
"""If a step is at most this part of x, the truncation for a power of x is a good estimate."""


class FitResult(OptimizeResult):  # type: ignore[misc]  # SciPy has no types
    """A fit's result, which prints as a table; standard errors are of first order.

    A parameter that is held by a bound (`active_mask`) has no standard error, and those of the others are for a fit
    without it. Other bounds are ignored. `profile` gives likelihood intervals, which are not limited to first order and
    respect bounds.
    """

    def keep_refits(self, refits: Refits) -> None:
        """Stores what `profile` needs for refits, outside the dictionary: it is no result, and is not pickled."""
        object.__setattr__(self, "_refits", refits)

    def __getstate__(self) -> None:
        """Nothing but the dictionary is pickled."""

    @property
    def statistics(self) -> FitStatistics:
        """Statistics from x, jac and cost.

        Raises
        ------
        InputError
            If the fit has no Jacobian, or a sparse one that is too large to become dense.
        """
        if self.get("jac") is None:
            raise InputError(
                "the fit ended before it had a Jacobian, so there are no standard errors; run it again with "
                "wider limits"
            )
        active, whole = self.get("active_mask"), _dense(self["jac"])
        jacobian, cost = self._without_idle_priors(whole)
        return FitStatistics(
            self["x"],
            jacobian,
            cost,
            absolute_sigma=bool(self.get("absolute_sigma")),
            active=None if active is None else np.asarray(active) != 0,
            slope_variance=self.get("slope_variance"),
            accuracy=self._accuracy(),
            linear=self.get("loss", "linear") == "linear",
        )

    def _without_idle_priors(self, jacobian: Vector) -> tuple[Vector, float]:
        """The Jacobian and cost without priors of parameters held by a bound: these do not affect others."""
        active, n, cost = self.get("active_mask"), self.get("n_prior") or 0, float(self["cost"])
        if active is None or not n or self.get("loss", "linear") != "linear":
            return jacobian, cost
        idle = np.zeros(len(jacobian), dtype=bool)
        idle[-n:] = (jacobian[-n:, np.asarray(active) == 0] == 0).all(axis=1)
        return jacobian[~idle], cost - 0.5 * float(np.sum(np.asarray(self["fun"])[idle] ** 2))

    def _accuracy(self) -> float | Vector:
        """Relative errors of the Jacobian's columns, from its scheme or from its error bars."""
        derivative = self.get("derivative")
        if derivative is None:
            return 0.0
        error = _dense(self.get("jacobian_error"))
        if error is None:
            return self._truncation(_ACCURACY.get(derivative.scheme, _ONE_SIDED), derivative)
        sizes = np.linalg.norm(_dense(self["jacobian"]), axis=0)  # like the error bars, not scaled by the loss
        bars = np.linalg.norm(np.nan_to_num(error, posinf=0.0), axis=0)
        return np.asarray(np.minimum(_ROUGH, np.divide(bars, sizes, out=np.zeros_like(sizes), where=sizes > 0)))

    def _truncation(self, least: float, derivative: Any) -> float | Vector:
        """Relative errors plus the truncation, for powers of x, of steps that are large relative to x.

        ``least`` is the relative error for small steps.
        """
        step, x = np.abs(np.asarray(derivative.step, dtype=np.float64)), np.abs(np.asarray(self["x"]))
        if step.shape != x.shape or derivative.scheme not in _ORDERS:
            return least
        part = np.divide(step, x, out=np.zeros_like(x), where=(x > 0) & (step <= _SMALL * x))
        return np.asarray(np.maximum(least, np.minimum(_ROUGH, part ** _ORDERS[derivative.scheme])))

    @property
    def covariance(self) -> Vector:
        """The covariance matrix, (d, d); see `FitStatistics`."""
        return self.statistics.covariance

    @property
    def standard_errors(self) -> Vector:
        """Standard errors, (d,); infinite where the data do not determine a parameter, NaN where a bound holds it."""
        return self.statistics.standard_errors

    @property
    def correlation(self) -> Vector:
        """The correlation matrix, (d, d)."""
        return self.statistics.correlation

    @property
    def residuals(self) -> Vector:
        """The residuals, (m,), as ``fun``."""
        return self["fun"]  # type: ignore[no-any-return]  # a dictionary of anything

    @property
    def names(self) -> list[str]:
        """The names of the parameters: as given, or x0, x1, ..."""
        derivative = self.get("derivative")
        given = None if derivative is None else derivative.names
        return [f"x{k}" for k in range(len(self["x"]))] if given is None else list(given)

    @property
    def not_told_apart(self) -> list[list[str]]:
        """Groups of names of parameters that the data cannot tell apart."""
        return [[self.names[k] for k in group] for group in self.statistics.not_told_apart]

    def confidence_intervals(self, level: float = 0.95) -> Vector:
        """Confidence intervals, (d, 2), by Student's t with m - d degrees of freedom."""
        return self.statistics.confidence_intervals(level)

    @overload
    def profile(  # type: ignore[overload-overlap]  # a text is also many texts
        self,
        parameters: str | int,
        *,
        level: float = ...,
        points: int = ...,
        reach: float = ...,
        limits: Limits | None = ...,
    ) -> LikelihoodProfile: ...

    @overload
    def profile(
        self,
        parameters: Iterable[str | int] | None = ...,
        *,
        level: float = ...,
        points: int = ...,
        reach: float = ...,
        limits: Limits | None = ...,
    ) -> dict[str, LikelihoodProfile]: ...

    def profile(
        self,
        parameters: str | int | Iterable[str | int] | None = None,
        *,
        level: float = 0.95,
        points: int = 5,
        reach: float = 30.0,
        limits: Limits | None = None,
    ) -> LikelihoodProfile | dict[str, LikelihoodProfile]:
        """Likelihood intervals by refits: a parameter is held at values around its estimate, the others are fitted.

        Starting at the estimate, each side moves outward, and each refit starts from its neighbour's result along the
        profile's tangent. All sides of all parameters run at the same time, each with its residuals and Jacobian in
        every wave, so up to 2 n (d + 1) slots are useful for n parameters; the result does not depend on the slots.
        Refits use Levenberg's and Marquardt's method within the bounds, with the fit's loss, sigma and priors, whatever
        the fit's own method was.

        Parameters
        ----------
        parameters : str, int, or several of them, optional
            Names or numbers; by default all parameters that are not fixed.
        level : float
            Level of the interval: by Student's t with m - d degrees of freedom (its square is F with 1 and m - d), or
            by the normal distribution where sigma is absolute. With a robust loss, the cost replaces half the sum of
            squares.
        points : int
            Approximate number of values of the parameter on each side, up to the end of the interval.
        reach : float
            How far to look for the end of the interval, in standard errors.
        limits : Limits, optional
            ``max_evaluations`` and ``max_wall_time`` of this call, checked after each wave. The profile holds the
            refits until then; an end that was not found is NaN, with a warning.

        Returns
        -------
        LikelihoodProfile, or {name: LikelihoodProfile} where several are asked for
            `distfd.optimization.likelihood_profile.LikelihoodProfile`; it prints as a table.

        Raises
        ------
        InputError
            If an option makes no sense, if the residuals do not depend on the parameter or do not tell it from others,
            if there are too few residuals, or if this result was read from a file, which holds no residuals to
            evaluate.
        """
        from distfd.optimization.likelihood_profile import check_profile, parameter_number, profile_parameters
        from distfd.optimization.profile_chain import Known

        check_profile(level, points, reach, limits)
        refits: Refits | None = self.__dict__.get("_refits")
        if refits is None or self.get("jac") is None:
            raise InputError(
                "profile: needs the residuals of the fit and their Jacobian, and a result that was copied or read from "
                "a file, or of a fit that ended before they were known, has none; fit again, from this x"
            )
        names, one = self.names, isinstance(parameters, str) or not hasattr(parameters, "__iter__")
        if parameters is None:
            at = np.flatnonzero(refits.lower < refits.upper).tolist()
        else:
            at = [parameter_number(given, names) for given in ([parameters] if one else parameters)]  # type: ignore[union-attr]
        start = Known(np.array(self["x"]), np.asarray(self["fun"]), _dense(self["jacobian"]))
        made = profile_parameters(refits, start, self.statistics, names, at, level, points, reach, limits)
        return made[0] if one and parameters is not None else {each.name: each for each in made}

    def r_squared(self, measured: ArrayLike | None = None, sigma: ArrayLike | None = None) -> float:
        """1 - chi2 / sum of squares around the mean, of residuals (model - measured) / sigma; NaN with a robust loss.

        Priors are in neither sum. If the objective has several sets of data, such as a program whose ``value`` has
        several expressions, each set has its own mean.

        Parameters
        ----------
        measured : (m,) array, optional
            The data of the residuals: those of all outputs of J, or of the outputs that were kept; by default the data
            that were given to the fit.
        sigma : number or (m,) array, optional
            Divisor of the residuals; by default the fit's own ``sigma``, or 1.

        Raises
        ------
        InputError
            If the number of data differs from the number of residuals, or there are no data.
        """
        fun, y, spread, sets = self._beside_data(measured, sigma)
        if self.get("loss", "linear") != "linear":
            return np.nan
        if sets is None:
            total = total_squares(y, spread)
        else:
            spread = np.broadcast_to(spread, y.shape)
            total = sum(total_squares(y[sets == k], spread[sets == k]) for k in np.unique(sets))
        return 1 - float(np.sum(fun**2)) / total if total > 0 else np.nan

    def data_and_model(self) -> tuple[Vector, Vector] | None:
        """The data of the outputs that were kept, and what the model says at the solution, (m,) each.

        None where the objective does not say which data its residuals are of, and in which order they are subtracted,
        as a program with ``data`` and an FMU do.
        """
        signs, kept = self.get("data_signs"), self.get("kept")
        if signs is None:
            return None
        fun, y, spread, _ = self._beside_data(None, None)
        signs = signs if kept is None or len(kept) == len(fun) else signs[kept]
        return y, y + signs * spread * fun

    def _beside_data(
        self, measured: ArrayLike | None, sigma: ArrayLike | None
    ) -> tuple[Vector, Vector, Vector, NDArray[np.int64] | None]:
        """Residuals without priors, their data and divisors, and to which set of data each belongs."""
        sets = self.get("data_sets") if measured is None else None
        measured = self.get("measured") if measured is None else measured
        if measured is None:
            raise InputError("measured: R^2 needs the data; give them here, or as measured to the fit")
        fun = np.asarray(self["fun"])[: len(self["fun"]) - (self.get("n_prior") or 0)]
        given = self.get("sigma") if sigma is None else sigma
        y, kept = np.asarray(measured, dtype=np.float64), self.get("kept")
        spread = np.asarray(1.0 if given is None else given, dtype=np.float64)
        if kept is not None and len(kept) != len(fun):
            y = y[kept] if len(y) == len(kept) else y
            sets = None if sets is None else sets[kept]
            spread = spread[kept] if spread.shape == kept.shape else spread
        if y.shape != fun.shape or spread.shape not in ((), y.shape):
            raise InputError(
                f"r_squared: measured must have {len(fun)} numbers, one for each residual, and sigma as many or one "
                f"(had shapes {y.shape} and {spread.shape})"
            )
        return fun, y, spread, sets

    def table(self, level: float = 0.95) -> dict[str, Any]:
        """The printed table as columns: name, estimate, standard_error, lower, upper, and bound.

        ``bound`` is "lower" or "upper" where that bound holds the parameter, else None.
        ``pandas.DataFrame(fit.table())``
        takes the columns.
        """
        return fit_columns(self.statistics, self.names, self.get("active_mask"), level)

    def __repr__(self) -> str:
        if self.get("jac") is None:
            return str(super().__repr__())
        m, d = self["jac"].shape
        if m * d > _MOST and hasattr(self["jac"], "toarray"):
            return str(super().__repr__())
        shown, note = dict(self), ""
        if self.get("measured") is not None:
            try:
                shown["r_squared"] = self.r_squared()
            except InputError as error:
                note = f"\nno R2: {error}"
        return fit_text(self.statistics, self.names, self.get("active_mask"), shown) + note

    __str__ = __repr__


def _dense(jacobian: Any) -> Any:
    """A sparse Jacobian as an array; a dense one, or None, unchanged."""
    if not hasattr(jacobian, "toarray"):
        return jacobian
    m, d = jacobian.shape
    if m * d > _MOST:
        raise InputError(f"standard errors need a dense Jacobian, and {m} x {d} is too large for that")
    return jacobian.toarray()
