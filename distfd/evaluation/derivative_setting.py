"""What every plan of a derivative is made from: a point and the options, and the steps that follow from both.

These are the steps that are known before anything is evaluated; what finds its own begins with typical sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.records import DOUBLE
from distfd.differentiation.complex_step import ComplexStepCheck
from distfd.differentiation.real_differences import CoordinateAxes
from distfd.differentiation.second_differences import SECOND
from distfd.differentiation.stencils import SCHEMES
from distfd.differentiation.step_limits import NOTHING_KNOWN, Known
from distfd.differentiation.steps import AbsoluteStep, NoiseStep, as_real, nominal_steps
from distfd.differentiation.value_precision import unit_roundoff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.stencils import Stencil
    from distfd.evaluation.options import DerivativeOptions

_REACH = 0.1
"""No default step for a J of few digits goes farther than this part of a coordinate's size."""


@dataclass(frozen=True, eq=False)
class Setting:
    """What every method is made from.

    Attributes
    ----------
    site : Site
    options : DerivativeOptions
    repair : bool
        Whether components whose points have no value are formed from others.
    drifts : bool
        Whether J(x) starts from another state than the points beside it do.
    bits : int
        Of the number type in which J returned its values so far (`distfd.core.records.DOUBLE`).
    printed : bool
        Whether J's values are read from text.
    known : Known
        What earlier waves have shown of J.
    check : bool or None
        Whether the derivative is held against J at points more: always, never, or (None) as its scheme does by default.
        A complex step has real points beside it then (`distfd.differentiation.complex_step`), and has no others;
        the rest has some where a slot would be idle (`distfd.differentiation.directional_check`), if ``rides``.
    rides : bool
        Whether such points may depend on the slots that there are.
    """

    site: BasePoint
    options: DerivativeOptions
    repair: bool = False
    drifts: bool = False
    bits: int = DOUBLE
    printed: bool = False
    known: Known = NOTHING_KNOWN
    check: bool | None = None
    rides: bool = False


def steps_of(setting: Setting, stencil: Stencil) -> NDArray[np.float64]:
    """Signed steps along the coordinates."""
    step, scale = _fixed(setting.options.step), setting.options.scale
    return nominal_steps(setting.site.x, for_precision(stencil, setting.bits), step, scale)


def for_precision(stencil: Stencil, bits: int) -> Stencil:
    """The same stencil, with the default step for a J whose numbers have so many bits."""
    if bits == DOUBLE or stencil.imaginary:
        return stencil
    eps = unit_roundoff(bits)
    if stencil is SECOND:
        return replace(stencil, default_step=min(eps**0.25, _REACH))
    reach = _REACH / float(np.abs(stencil.nodes).max())
    return replace(stencil, default_step=min(stencil.relative_step_at(eps), reach))


def complex_check(setting: Setting, *, vector: bool) -> ComplexStepCheck:
    """What holds complex steps along coordinates against real points."""
    axes = CoordinateAxes(setting.site, check_steps(setting))
    return ComplexStepCheck(axes, vector, active=setting.check is not False)


def check_steps(setting: Setting) -> NDArray[np.float64]:
    """Steps > 0 at which real differences are held against derivatives that have no truncation."""
    return np.abs(nominal_steps(setting.site.x, SCHEMES["forward"], None, setting.options.scale))


def displacements(setting: Setting) -> NDArray[np.float64]:
    """Signed real displacements of complex points, the steps of central differences."""
    return nominal_steps(setting.site.x, SCHEMES["central"], None, setting.options.scale)


def typical_steps(setting: Setting, stencil: Stencil) -> NDArray[np.float64]:
    """Steps > 0 that make coordinates comparable, which one absolute step for all does not."""
    options = setting.options
    step = None if isinstance(options.step, AbsoluteStep) else _fixed(options.step)
    return np.abs(nominal_steps(setting.site.x, for_precision(stencil, setting.bits), step, options.scale))


def _fixed(step: Any) -> Any:
    """A step that is known beforehand."""
    if isinstance(step, NoiseStep):
        raise InputError("step: auto is only for gradients and dense Jacobians; give a step, or leave it out")
    return step


def finite_vector(what: str, v: Any, d: int) -> NDArray[np.float64]:
    """A direction or a vector that the user gives, (d,).

    Raises
    ------
    InputError
        If it is anything else.
    """
    vector = as_real(what, v)
    if vector.shape != (d,):
        raise InputError(f"{what}: must be {d} finite numbers (had shape {vector.shape})")
    if not np.isfinite(vector).all():
        k = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise InputError(f"{what}: must be {d} finite numbers (number {k} was {vector[k]:g})")
    return vector
