"""Nominal steps h_k, before bounds and rounding change them."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping, MappingView
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.structure_kinds import has_names
from distfd.core.validation import real_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from distfd.differentiation.stencils import Stencil


@dataclass(frozen=True, eq=False)
class AbsoluteStep:
    """h itself, for all coordinates, (d,) for each, or by name where x has names; as it is, whatever the sign of x.

    Raises
    ------
    InputError
        If a step is not finite and > 0.
    """

    h: Any

    def __post_init__(self) -> None:
        if isinstance(self.h, Mapping) and not self.h:
            raise InputError("step: must be a number, an array, or by name, and is an empty mapping")
        if not has_names(self.h):  # steps by name are checked once x is known
            positive("step", self.h)


@dataclass(frozen=True, eq=False)
class MixedStep(AbsoluteStep):
    """Absolute steps for some coordinates, relative ones for the others.

    Parameters
    ----------
    h : (d,) array
        The steps; NaN for a coordinate with a relative step.
    relative : None, float or (d,) array
        The relative steps of coordinates whose h is NaN; None, or NaN in an array, means the scheme's own.

    Raises
    ------
    InputError
        If a step is not finite and > 0.
    """

    relative: ArrayLike | None = None

    def __post_init__(self) -> None:
        positive("step", self.h, gaps=True)
        if self.relative is not None:
            positive("step", self.relative, gaps=True)


METHODS = ("probe", "shi", "gill")


@dataclass(frozen=True)
class NoiseStep:
    """Steps from the measured noise of J, which give every component an error bar.

    Parameters
    ----------
    method : str
        "probe": a pair of probes for each coordinate where its noise allows, further ones for those in doubt; 2 d + 19
        evaluations for most J, in 3 to 6 rounds. "shi": bisection on a test ratio (Shi, Xie, Xuan & Nocedal 2022), and
        "gill": a second difference for each coordinate (Gill, Murray, Saunders & Wright 1983), more evaluations and
        rounds. "probe" chooses between central differences of second and fourth order by itself; "shi" takes forward
        differences, or central ones where the scheme says so; "gill" forward ones.
    noise : float, optional
        The standard deviation of the noise, where it is known; it is measured otherwise.

    Raises
    ------
    InputError
        If there is no such method, or the noise is not a finite number > 0.
    """

    method: str = "probe"
    noise: float | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"step: NoiseStep's method must be one of {', '.join(METHODS)} (was {self.method!r})")
        if self.noise is not None and positive("noise", self.noise).ndim:
            raise InputError(f"noise: must be one number (was {self.noise!r})")


def nominal_steps(
    x: NDArray[np.float64],
    stencil: Stencil,
    step: ArrayLike | AbsoluteStep | None = None,
    scale: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Signed steps h_k = r_k s_k sign(x_k), with sign(0) = +1; by default SciPy's steps, bit for bit.

    Parameters
    ----------
    x : (d,) ndarray
    stencil : Stencil
        The stencil; its ``relative_step`` is r where ``step`` gives none.
    step : None, float, (d,) array or AbsoluteStep
        The relative step r; NaN in an array stands for None. An AbsoluteStep is h itself, without the sign of x.
    scale : None, float or (d,) array
        The typical size s of each coordinate. Where None or NaN, s = max(1, abs(x)) for a default r, and abs(x) for a
        given one. If x + h == x in floating point for a given r, the default r is used, as in SciPy (for an imaginary
        step only if h is 0).

    Returns
    -------
    (d,) ndarray
        The steps; infinite where a given r times s overflows.

    Raises
    ------
    InputError
        If a step or scale is not finite and > 0, or has the wrong length.
    """
    if isinstance(step, MixedStep):
        h = _spread("step", positive("step", step.h, gaps=True), x)
        return np.where(np.isnan(h), nominal_steps(x, stencil, step.relative, scale), h)
    if isinstance(step, AbsoluteStep):
        return _spread("step", positive("step", step.h), x)
    sign = np.where(x >= 0, 1.0, -1.0)
    default_size = typical_sizes(x, scale)
    size = np.abs(x) if scale is None else np.where(np.isnan(_scales(x, scale)), np.abs(x), default_size)
    # SciPy multiplies in this order, and another order would differ in the last bit.
    default = stencil.relative_step * sign * default_size
    if step is None:
        return default
    given = _spread("step", positive("step", step, gaps=True), x)
    with np.errstate(over="ignore"):
        asked = given * sign * size
        # An imaginary step is not added to x, so no step is too small.
        unusable = np.isnan(given) | ((asked if stencil.imaginary else (x + asked) - x) == 0)
    return np.where(unusable, default, asked)


def replaced_steps(x: NDArray[np.float64], step: Any, scale: ArrayLike | None = None) -> NDArray[np.bool_]:
    """Where a given relative step is too small to change x, so that `nominal_steps` uses the default one, (d,).

    A coordinate at 0 is not included: a relative step without a scale has no size there.
    """
    if isinstance(step, MixedStep):
        return np.isnan(np.asarray(step.h, dtype=np.float64)) & replaced_steps(x, step.relative, scale)
    if step is None or isinstance(step, (AbsoluteStep, NoiseStep)):
        return np.zeros(len(x), dtype=bool)
    given = _spread("step", positive("step", step, gaps=True), x)
    size = np.abs(x) if scale is None else np.where(np.isnan(_scales(x, scale)), np.abs(x), typical_sizes(x, scale))
    with np.errstate(over="ignore"):
        moved = (x + np.where(x >= 0, 1.0, -1.0) * given * size) - x
    return np.asarray(~np.isnan(given) & (x != 0) & (moved == 0))


def typical_sizes(x: NDArray[np.float64], scale: ArrayLike | None = None) -> NDArray[np.float64]:
    """The typical size of each coordinate, (d,): its ``scale`` where given, else max(1, abs(x))."""
    default = np.maximum(1.0, np.abs(x))
    if scale is None:
        return default
    given = _scales(x, scale)
    return np.where(np.isnan(given), default, given)


def own_sizes(x: NDArray[np.float64], lower: NDArray[np.float64], upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """The smallest size known of each coordinate, (d,): abs(x) where it is not 0, or the width of finite bounds."""
    size = np.where(x == 0, np.inf, np.abs(x))
    with np.errstate(over="ignore"):
        return np.minimum(size, np.where(lower < upper, upper - lower, np.inf))


def as_real(what: str, values: Any) -> NDArray[np.float64]:
    """Converts one number or several to a fresh float64 array.

    Raises
    ------
    InputError
        If they are not real numbers: text, truth values and complex numbers are taken as mistakes.
    """
    why = ""
    if values is not None:
        try:
            return real_array(values)
        except ValueError as error:
            why = f": {error}"
    raise InputError(
        f"{what}: must be a real number or a one-dimensional array of them (was {reprlib.repr(values)}{why})"
        f"{_instead(what, values)}"
    )


def _instead(what: str, given: Any) -> str:
    """The end of a sentence: what to give in place of something that is no array of numbers."""
    if isinstance(given, type):
        return f"; make one of it: {given.__name__}(...)"
    if callable(given):
        return "; J comes first, and x0 after it" if what == "x0" else ""
    if isinstance(given, (AbstractSet, MappingView, Iterator)):
        return "; give a list or an array of them"
    return ""


def positive(what: str, values: ArrayLike, *, gaps: bool = False) -> NDArray[np.float64]:
    """A float64 array of finite numbers > 0; with ``gaps``, an array (not a lone number) may have NaN for "not given".

    Raises
    ------
    InputError
        If they are not finite numbers > 0.
    """
    array = as_real(what, values)
    bad = ~(np.isfinite(array) & (array > 0))
    if gaps and array.ndim:
        bad &= ~np.isnan(array)
    if np.any(bad):
        where = f" at coordinate {np.flatnonzero(bad)[0]}" if array.ndim else ""
        raise InputError(f"{what}: must be finite and > 0 (was {array[bad].flat[0]}{where})")
    return array


def _scales(x: NDArray[np.float64], scale: ArrayLike) -> NDArray[np.float64]:
    return _spread("scale", positive("scale", scale, gaps=True), x)


def _spread(what: str, array: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
    if array.ndim and array.shape != x.shape:
        raise InputError(f"{what}: needs one number or {len(x)}, one for each coordinate (had shape {array.shape})")
    return np.broadcast_to(array, x.shape)
