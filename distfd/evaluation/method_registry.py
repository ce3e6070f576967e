"""Which method makes which kind of derivative: one function a kind, and one line in the table."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.differentiation.accuracy import AccuracyUpgrade
from distfd.differentiation.auto_step import AutoStep, most_evaluations
from distfd.differentiation.coloring import make_structure
from distfd.differentiation.direction_stencils import lengths
from distfd.differentiation.directional import Directional
from distfd.differentiation.first_derivative import FirstDerivative
from distfd.differentiation.gill_step import GillStep
from distfd.differentiation.hessian import SECOND, Hessian
from distfd.differentiation.hessian_vector import HessianVector
from distfd.differentiation.repair import RepairedMethod
from distfd.differentiation.richardson import Richardson
from distfd.differentiation.shi_step import ShiStep
from distfd.differentiation.sparse_jacobian import ProbedJacobian, SparseJacobian
from distfd.differentiation.stencils import RICHARDSON, SCHEMES
from distfd.differentiation.steps import AbsoluteStep, NoiseStep, as_real, nominal_steps, typical_sizes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Answer, Method
    from distfd.differentiation.stencils import Stencil
    from distfd.evaluation.options import DerivativeOptions


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
    """

    site: BasePoint
    options: DerivativeOptions
    repair: bool = False
    drifts: bool = False


_UNREPAIRED = "repair is for gradients and dense Jacobians, whose components have points of their own; use nan or raise"


def make_method(kind: str, setting: Setting, **particulars: Any) -> Method[Answer]:
    """The plan of a derivative; nothing is evaluated.

    Parameters
    ----------
    kind : str
        A key of ``KINDS``.
    setting : Setting
    **particulars
        What that kind needs beside it.

    Raises
    ------
    InputError
        If there is no such kind, or an option makes no sense for it.
    """
    if kind not in KINDS:
        raise InputError(f"kind: must be one of {', '.join(KINDS)} (was {kind!r})")
    sparse = particulars.get("sparsity") is not None
    if setting.options.accuracy is not None and (sparse or kind not in ("gradient", "jacobian")):
        raise InputError("accuracy: is for gradients and dense Jacobians; choose scheme and step for other kinds")
    if setting.repair and (sparse or kind not in ("gradient", "jacobian")):
        raise InputError(f"on_failure: {_UNREPAIRED}")
    try:
        inspect.signature(KINDS[kind]).bind(setting, **particulars)
    except TypeError as error:
        raise InputError(f"{kind}: {error}") from error
    return KINDS[kind](setting, **particulars)


def _gradient(setting: Setting) -> Method[Answer]:
    return _first_derivative(setting, vector=False)


def _jacobian(setting: Setting, *, sparsity: Any = None) -> Method[Answer]:
    site, stencil = setting.site, setting.options.stencil
    if sparsity is None:
        return _first_derivative(setting, vector=True)
    if isinstance(sparsity, str):
        if sparsity != "probe":
            raise InputError(
                f"sparsity: must be a mask, a sparse array, (structure, groups) or 'probe' (was {sparsity!r})"
            )
        size = typical_sizes(site.x, setting.options.scale)
        return ProbedJacobian(site, stencil, _steps(setting, stencil), size)
    structure = make_structure(sparsity, site.moving, len(site.x))
    return SparseJacobian(site, stencil, _steps(setting, stencil), structure)


def _hessian(setting: Setting) -> Method[Answer]:
    return Hessian(setting.site, _steps(setting, SECOND))


def _hvp(setting: Setting, *, v: Any) -> Method[Answer]:
    site = setting.site
    direction, h = _vector("v", v, len(site.x)), _steps(setting, SECOND)
    return HessianVector(site, direction, float(lengths(direction[None], np.abs(h))[0]), h)


def _jvp(setting: Setting, *, v: Any) -> Method[Answer]:
    return _along(setting, _vector("v", v, len(setting.site.x))[None], single=True)


def _directional(setting: Setting, *, directions: Any) -> Method[Answer]:
    rows = as_real("directions", directions)
    d = len(setting.site.x)
    if rows.ndim != 2 or rows.shape[1] != d or not len(rows):
        raise InputError(f"directions: must be (p, {d}), one row a direction (had shape {rows.shape}); jvp takes one")
    if not np.isfinite(rows).all():
        raise InputError("directions: must be finite")
    return _along(setting, rows, single=False)


def _along(setting: Setting, directions: NDArray[np.float64], *, single: bool) -> Method[Answer]:
    stencil = setting.options.stencil
    t = lengths(directions, np.abs(_steps(setting, stencil)))
    return Directional(setting.site, stencil, directions, t, _typical_steps(setting, stencil), single)


def _first_derivative(setting: Setting, *, vector: bool) -> Method[Answer]:
    method = _along_coordinates(setting, vector=vector)
    if not setting.repair:
        return method
    site, options, stencil = setting.site, setting.options, setting.options.stencil
    finds_steps = options.accuracy is not None or isinstance(options.step, NoiseStep)
    if finds_steps or stencil.imaginary:
        # What fails at complex points may well take real ones, at steps that suit these.
        central, size = SCHEMES["central"], typical_sizes(site.x, options.scale) if finds_steps else None
        h = nominal_steps(site.x, central, None, options.scale)
        most = most_evaluations(len(site.moving)) if isinstance(method, AutoStep) else None
        return RepairedMethod(method, site, central, h, vector, size, setting.drifts, most)
    return RepairedMethod(method, site, stencil, _steps(setting, stencil), vector, drifts=setting.drifts)


def _along_coordinates(setting: Setting, *, vector: bool) -> Method[Answer]:
    """The one place where steps are decided: methods that find them first take FirstDerivative's place here."""
    site, options, stencil = setting.site, setting.options, setting.options.stencil
    size = typical_sizes(site.x, options.scale)
    if options.accuracy is not None:
        given = options.step if isinstance(options.step, NoiseStep) else None
        h = None if given else _steps(setting, stencil)
        return AccuracyUpgrade(site, size, float(options.accuracy), h, vector, given.noise if given else None)
    if isinstance(options.step, NoiseStep):
        return _noise_step(options.step, stencil, site, size, vector=vector)
    if stencil == RICHARDSON:
        return Richardson(site, stencil, _steps(setting, stencil), size, vector)
    return FirstDerivative(site, stencil, _steps(setting, stencil), vector)


def _noise_step(
    step: NoiseStep, stencil: Stencil, site: BasePoint, size: NDArray[np.float64], *, vector: bool
) -> Method[Answer]:
    if step.method == "probe":
        if stencil.imaginary:
            raise InputError("step: the complex step has no noise to choose its size by; leave step out")
        return AutoStep(site, size, vector, step.noise)
    if stencil.name not in ("forward", "central"):
        raise InputError(f"step: NoiseStep({step.method!r}) takes the scheme forward or central (was {stencil.name})")
    if step.method == "shi":
        return ShiStep(site, size, stencil.name == "central", vector, step.noise)
    if stencil.name == "central":
        raise InputError("step: NoiseStep('gill') takes forward differences; use 'shi' or 'probe' for central ones")
    return GillStep(site, size, vector, step.noise)


def _steps(setting: Setting, stencil: Stencil) -> NDArray[np.float64]:
    """Signed steps along the coordinates."""
    return nominal_steps(setting.site.x, stencil, _fixed(setting.options.step), setting.options.scale)


def _typical_steps(setting: Setting, stencil: Stencil) -> NDArray[np.float64]:
    """Steps > 0 that make coordinates comparable, which one absolute step for all does not."""
    options = setting.options
    step = None if isinstance(options.step, AbsoluteStep) else _fixed(options.step)
    return np.abs(nominal_steps(setting.site.x, stencil, step, options.scale))


def _fixed(step: Any) -> Any:
    """A step that is known beforehand."""
    if isinstance(step, NoiseStep):
        raise InputError("step: auto finds the steps of gradients and dense Jacobians; give numbers, or leave it out")
    return step


def _vector(what: str, v: Any, d: int) -> NDArray[np.float64]:
    vector = as_real(what, v)
    if vector.shape != (d,) or not np.isfinite(vector).all():
        raise InputError(f"{what}: must be {d} finite numbers (had shape {vector.shape})")
    return vector


KINDS: Mapping[str, Callable[..., Method[Answer]]] = {
    "gradient": _gradient,
    "jacobian": _jacobian,
    "hessian": _hessian,
    "hvp": _hvp,
    "jvp": _jvp,
    "directional": _directional,
}
