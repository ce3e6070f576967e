"""Checks that a method takes the options that it is given, by a call of SciPy's own code on a tiny problem."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.validation import is_whole, real_array
from distfd.optimization.checked_options import unknown_option
from distfd.optimization.lbfgs_options import chosen
from distfd.optimization.model_fit_options import chosen_for_model, typical_sizes_of
from distfd.optimization.robust_loss import Loss
from distfd.optimization.scipy_methods import METHODS, MODEL, OWN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Vector = NDArray[np.float64]

FIT_OPTIONS = ("ftol", "xtol", "gtol", "max_nfev", "tr_solver", "tr_options", "verbose")
"""Arguments of scipy.optimize.least_squares that are keys of ``options`` here."""
_INSTEAD = {
    "workers": "the slots evaluate J",
    "eps": "the step is one of the derivative's options",
    "finite_diff_rel_step": "the step is one of the derivative's options",
}
"""SciPy's options for its own finite differences, with what replaces them here."""
_TALK = ("disp", "verbose", "iprint")
_EVALUATIONS = 30
_PARAMETERS = 100


class _Enough(Exception):  # noqa: N818  # nothing is wrong
    """Ends SciPy's method as soon as it has checked all options."""


class _Bowl:
    """A cheap problem: half the squared distance from 0, with no more parameters than the options need."""

    def __init__(self, options: Mapping[str, Any], d: int) -> None:
        # Options that are arrays probably have d elements.
        arrays = any(isinstance(value, (np.ndarray, list, tuple)) for value in options.values())
        self.start = np.ones(d if arrays else min(d, _PARAMETERS))
        self._asked = 0

    def value(self, x: Vector) -> float:
        self._asked += 1
        if self._asked > _EVALUATIONS:
            raise _Enough
        return float(x @ x) / 2

    def gradient(self, x: Vector) -> Vector:
        return x.copy()


def check_options(method: str, options: Mapping[str, Any], d: int, tolerance: float | None = None) -> None:
    """Checks that a method of `distfd.minimize` takes these options.

    Raises
    ------
    InputError
        If the method does not take them.
    """
    from scipy.optimize import minimize

    _check_mapping(options)
    if method == OWN:
        chosen(options, tolerance)
        return
    for name, instead in _INSTEAD.items():
        if name in options:
            raise InputError(f"options: {name} would change nothing; {instead}")
    second: dict[str, Any] = {}
    if METHODS[method].second:
        second = {"hessp": lambda _, v: v} if METHODS[method].second == "hvp" else {"hess": lambda x: np.eye(len(x))}

    def run(options: Mapping[str, Any]) -> None:
        bowl = _Bowl(options, d)
        how = {"method": method, "tol": tolerance, "options": _quiet(options), **second}
        minimize(bowl.value, bowl.start, jac=bowl.gradient, **how)

    _refuse(method, run, options)


def _check_x_scale(given: Any) -> None:
    if given is None or (isinstance(given, str) and given == "jac"):
        return
    try:
        positive = bool((real_array(given) > 0).all())
    except ValueError:
        positive = False
    if not positive:
        raise InputError(f"x_scale: must be 'jac', or a number or an array of numbers > 0 (was {given!r})")


def check_fit_options(
    method: str, d: int, *, options: Mapping[str, Any], tolerance: float | None = None, **arguments: Any
) -> None:
    """Checks that a method of `distfd.least_squares` takes these options.

    Parameters
    ----------
    **arguments
        Arguments of SciPy's function that are not keys of ``options`` here: loss, f_scale, x_scale.

    Raises
    ------
    InputError
        If the method does not take them.
    """
    from scipy.optimize import least_squares

    _check_mapping(options)
    Loss(arguments.get("loss", "linear"), arguments.get("f_scale", 1.0))
    if method == MODEL:
        chosen_for_model(options, tolerance)
        typical_sizes_of(np.ones(d), arguments.get("x_scale", 1.0))
        return
    _check_x_scale(arguments.get("x_scale"))
    for name in options:
        if name not in FIT_OPTIONS:
            raise InputError(unknown_option(f"a fit by {method}", name, FIT_OPTIONS))
    most = options.get("max_nfev")
    if most is not None and not (is_whole(most) and most >= 1):  # SciPy would go on for ever after 2.5
        raise InputError(f"options: max_nfev: must be a whole number >= 1 (was {most!r})")

    def run(options: Mapping[str, Any]) -> None:
        given = {**tolerances(tolerance), **_quiet(options), **arguments}
        bowl = _Bowl(given, d)
        m = len(bowl.start) if method == "lm" else 1  # lm needs at least as many residuals as parameters

        def residuals(x: Vector) -> Vector:
            bowl.value(x)
            return bowl.gradient(x)[:m]

        least_squares(residuals, bowl.start, jac=lambda x: np.eye(m, len(x)), method=method, **given)

    _refuse(method, run, options)


def _check_mapping(options: Any) -> None:
    if not isinstance(options, Mapping) or not all(isinstance(name, str) for name in options):
        raise InputError(f"options: must be values by name (was {options!r})")
    for name, value in options.items():
        if isinstance(value, float) and np.isnan(value):
            raise InputError(f"options: {name}: must be a number (was nan)")


def tolerances(tolerance: float | None) -> dict[str, float]:
    """The tolerances of scipy.optimize.least_squares that a single ``tol`` stands for."""
    return {} if tolerance is None else dict.fromkeys(("ftol", "xtol", "gtol"), tolerance)


def _refuse(method: str, run: Callable[[Mapping[str, Any]], None], options: Mapping[str, Any]) -> None:
    """Run SciPy's method, and name the option that it does not take, if it fails with one of them alone."""
    try:
        with _refusals(method):
            run(options)
    except InputError as first:
        for name, value in options.items():
            try:
                with _refusals(method, f"{name} = {value!r}: "):
                    run({name: value})
            except InputError as error:
                raise error from first
            except Exception:  # noqa: S110  # the first error says what is the matter
                pass
        raise


@contextlib.contextmanager
def _refusals(method: str, culprit: str = "") -> Iterator[None]:
    """A context in which SciPy's errors about options become an InputError."""
    from scipy.optimize import OptimizeWarning

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", "Unknown solver options", OptimizeWarning)
            yield
    except _Enough:
        pass
    except OptimizeWarning as warning:
        first = str(warning).partition(":")[2].split(",")[0].strip()
        raise InputError(unknown_option(method, first, _documented(method))) from None
    except Exception as error:
        # SciPy raises a plain Exception for some.
        if type(error) is not Exception and not isinstance(error, TypeError | ValueError):
            raise
        stray = re.search(r"(?:unexpected|multiple values for) keyword argument '(\w+)'", str(error))
        if stray:
            raise InputError(unknown_option(method, stray[1], _documented(method))) from None
        raise InputError(f"options: {method} does not take them: {culprit}{error}") from error


def _quiet(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options, without those that make SciPy print."""
    return {name: value for name, value in options.items() if name not in _TALK}


def _documented(method: str) -> tuple[str, ...]:
    """The options that SciPy's documentation of a method lists; it omits those that all methods have."""
    from scipy.optimize import show_options

    text = str(show_options("minimize", method.lower(), disp=False)).partition("Options\n")[2].partition("Returns\n")[0]
    listed = re.findall(r"^ *(\w+) *: ", text, re.MULTILINE)
    return tuple(name for name in dict.fromkeys([*listed, "maxiter", "disp"]) if name not in _INSTEAD)
