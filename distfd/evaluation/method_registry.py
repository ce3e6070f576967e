"""Which method makes which kind of derivative: one function a kind, and one line in the table."""

from __future__ import annotations

import functools
import inspect
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.suggestions import did_you_mean
from distfd.differentiation.accuracy import AccuracyUpgrade
from distfd.differentiation.auto_step import AutoStep
from distfd.differentiation.coloring import make_structure
from distfd.differentiation.complex_step import CheckedComplexStep, ComplexStepCheck
from distfd.differentiation.direction_space import AlongDirections, GroupedJacobian, along, groups
from distfd.differentiation.direction_stencils import lengths
from distfd.differentiation.directional import Directional
from distfd.differentiation.directional_check import DirectionalCheck
from distfd.differentiation.first_derivative import FirstDerivative
from distfd.differentiation.gill_step import GillStep
from distfd.differentiation.present_outputs import PresentOutputs
from distfd.differentiation.probe_refinement import most_evaluations
from distfd.differentiation.real_differences import DirectionAxes
from distfd.differentiation.repair import RepairedMethod
from distfd.differentiation.richardson import Richardson
from distfd.differentiation.scale_search import safe_sizes
from distfd.differentiation.second_differences import SECOND
from distfd.differentiation.shi_step import ShiStep
from distfd.differentiation.sparse_jacobian import ProbedJacobian, ProbedStructure, SparseJacobian
from distfd.differentiation.stencils import RICHARDSON, SCHEMES
from distfd.differentiation.step_limits import CheckedSteps, Given
from distfd.differentiation.steps import AbsoluteStep, NoiseStep, as_real, nominal_steps, replaced_steps, typical_sizes
from distfd.differentiation.value_precision import OwnPrecision
from distfd.evaluation.derivative_setting import check_steps, complex_check, finite_vector, steps_of, typical_steps
from distfd.evaluation.second_derivatives import hessian_method, product_method

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from distfd.differentiation.base_point import BasePoint
    from distfd.differentiation.method import Answer, Method
    from distfd.differentiation.stencils import Stencil
    from distfd.evaluation.derivative_setting import Setting
    from distfd.evaluation.options import DerivativeOptions


_UNREPAIRED = (
    "repair is only for gradients and dense Jacobians, whose components have points of their own; use nan or raise"
)


def make_method(kind: str, setting: Setting, **particulars: Any) -> Method[Answer]:
    """The plan of a derivative; nothing is evaluated.

    It follows the precision that J turns out to have, and says where its steps do not suit x or J.

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
    with np.errstate(all="ignore"):
        first = make_plain_method(kind, setting, **particulars)
        given = _given(kind, setting, particulars)

    @functools.cache
    def make(bits: int) -> Method[Answer]:
        if bits == setting.bits:
            return first
        return make_plain_method(kind, replace(setting, bits=bits), **particulars)

    return CheckedSteps(OwnPrecision(make, setting.bits), setting.site, given)


def make_plain_method(kind: str, setting: Setting, **particulars: Any) -> Method[Answer]:
    """The plan for a J of the precision that the setting says, as `make_method` has it, with nothing around it."""
    if kind not in KINDS:
        raise InputError(f"kind: must be one of {', '.join(KINDS)} (was {kind!r}){did_you_mean(kind, KINDS)}")
    sparse = particulars.get("sparsity") is not None
    if setting.repair and (sparse or kind not in ("gradient", "jacobian")):
        raise InputError(f"on_failure: {_UNREPAIRED}")
    _, *takes = inspect.signature(KINDS[kind]).parameters
    for name in particulars:
        if name not in takes:
            raise InputError(f"{kind}: has no argument {name!r}; beside x it takes {', '.join(takes) or 'none'}")
    try:
        inspect.signature(KINDS[kind]).bind(setting, **particulars)
    except TypeError as error:
        raise InputError(f"{kind}: {error}") from None
    method = KINDS[kind](setting, **particulars)
    if setting.options.stencil.imaginary or not (setting.check or (setting.check is None and setting.rides)):
        return method
    return DirectionalCheck(
        method,
        setting.site,
        vector=kind not in ("gradient", "hessian", "hvp"),
        insist=bool(setting.check),
        by_coordinate=kind in ("gradient", "jacobian"),
        finds_steps=not isinstance(particulars.get("sparsity"), (str, ProbedStructure)),
    )


def _given(kind: str, setting: Setting, particulars: Mapping[str, Any]) -> Given:
    """What the user said of steps."""
    site, options = setting.site, setting.options
    second = kind in ("hessian", "hvp")
    stencil = SECOND if second else options.stencil
    step, scale, d = options.step, options.scale, len(site.x)
    finds = isinstance(step, NoiseStep) or options.accuracy is not None
    default = np.full(d, step is None and not finds) | (
        np.isnan(np.asarray(step, dtype=float)) if _is_numbers(step) else False
    )
    unscaled = np.full(d, scale is None) | (False if scale is None else np.isnan(np.asarray(scale, dtype=float)))
    weights = np.array(stencil.weights)
    factor = (np.abs(weights).sum() + abs(weights.sum())) / 2
    if second and not options.stencil.imaginary:
        factor = 2.0 if kind == "hessian" else 0.5
    along = particulars.get("directions") if kind == "directional" else particulars.get("v") if kind == "jvp" else None
    return Given(
        kind=kind,
        default_steps=default,
        open_steps=default & unscaled,
        scale=typical_sizes(site.x, scale),
        factor=0.0 if options.stencil.imaginary else float(factor),
        order=2 if second else stencil.order,
        finds_steps=kind in ("gradient", "jacobian") and particulars.get("sparsity") is None,
        printed=setting.printed,
        known=setting.known,
        relative_step=stencil.relative_step,
        direction=np.asarray(particulars["v"], dtype=float) if kind == "hvp" else None,
        directions=None if along is None else np.atleast_2d(np.asarray(along, dtype=float)),
        replaced=None if options.stencil.imaginary else replaced_steps(site.x, step, scale),
    )


def _is_numbers(step: Any) -> bool:
    return step is not None and not isinstance(step, (AbsoluteStep, NoiseStep))


def _gradient(setting: Setting) -> Method[Answer]:
    return _first_derivative(setting, vector=False)


def _jacobian(setting: Setting, *, sparsity: Any = None) -> Method[Answer]:
    site, stencil = setting.site, setting.options.stencil
    if sparsity is None:
        return _first_derivative(setting, vector=True)
    if _finds_steps(setting.options):
        return _grouped(setting, sparsity)
    check = complex_check(setting, vector=True)
    if isinstance(sparsity, (str, ProbedStructure)):
        if isinstance(sparsity, str) and sparsity != "probe":
            raise InputError(
                f"sparsity: must be a mask, a sparse array, (structure, groups) or 'probe' (was {sparsity!r})"
            )
        size = typical_sizes(site.x, setting.options.scale)
        known = sparsity if isinstance(sparsity, ProbedStructure) else None
        return ProbedJacobian(site, stencil, steps_of(setting, stencil), size, check, known)
    structure = make_structure(sparsity, site.moving, len(site.x))
    plain = SparseJacobian(site, stencil, steps_of(setting, stencil), structure)
    return CheckedComplexStep(plain, check) if stencil.imaginary else plain


def _grouped(setting: Setting, sparsity: Any) -> Method[Answer]:
    """A sparse Jacobian with steps from the noise."""
    site, options = setting.site, setting.options
    if isinstance(sparsity, (str, ProbedStructure)):
        raise InputError(
            "sparsity: 'probe' would mistake noise for entries, so it cannot be used with step='auto' or accuracy; "
            "give a mask, or a fixed step"
        )
    size = _cautious_sizes(setting)
    structure = make_structure(sparsity, site.moving, len(site.x))
    space = groups(site, structure, size)
    h = None
    if not isinstance(options.step, NoiseStep):
        steps = np.abs(steps_of(setting, options.stencil)[space.indices] / space.data)
        h = np.minimum.reduceat(steps, space.indptr[:-1]) if len(steps) else np.zeros(0)
    method = _step_finder(options, space.base_point(lambda g: f"group {g} of columns"), np.ones(len(space)), h)
    return GroupedJacobian(space, method, structure)


def _cautious_sizes(setting: Setting) -> NDArray[np.float64]:
    """Typical sizes for slopes along several coordinates at once, (d,): of a tiny coordinate its own size.

    Which of both sizes J has is looked for along single coordinates alone. Here the smaller one is taken: where J has
    the other, the steps are smaller than need be and the error bars wider; the other way round both would be wrong.
    """
    return safe_sizes(setting.site, typical_sizes(setting.site.x, setting.options.scale))


def _finds_steps(options: DerivativeOptions) -> bool:
    return options.accuracy is not None or isinstance(options.step, NoiseStep)


def _step_finder(
    options: DerivativeOptions, site: BasePoint, size: NDArray[np.float64], h: NDArray[np.float64] | None
) -> Method[Answer]:
    """What finds the steps of a Jacobian at this point; ``h`` are those that are given with an accuracy."""
    step = options.step if isinstance(options.step, NoiseStep) else None
    method: Method[Answer]
    if options.accuracy is not None:
        method = AccuracyUpgrade(site, size, float(options.accuracy), h, True, step.noise if step else None)
    else:
        assert step is not None, "one of both"
        method = _noise_step(step, options.stencil, site, size, vector=True)
    return PresentOutputs(method, site.moving)


def _jvp(setting: Setting, *, v: Any) -> Method[Answer]:
    return _along(setting, finite_vector("v", v, len(setting.site.x))[None], single=True)


def _directional(setting: Setting, *, directions: Any) -> Method[Answer]:
    rows = as_real("directions", directions)
    d = len(setting.site.x)
    if rows.ndim != 2 or rows.shape[1] != d or not len(rows):
        raise InputError(f"directions: must be (p, {d}), one row a direction (had shape {rows.shape}); jvp takes one")
    if not np.isfinite(rows).all():
        raise InputError("directions: must be finite")
    return _along(setting, rows, single=False)


def _along(setting: Setting, directions: NDArray[np.float64], *, single: bool) -> Method[Answer]:
    stencil, options, site = setting.options.stencil, setting.options, setting.site
    if _finds_steps(options):
        space, row, size = along(site, directions, _cautious_sizes(setting))
        h = steps_of(setting, stencil) if not isinstance(options.step, NoiseStep) else None
        t = None if h is None else lengths(directions, np.abs(h))[row] / size
        method = _step_finder(options, space.base_point(lambda k: f"direction {row[k]}"), np.ones(len(row)), t)
        return AlongDirections(space, method, row, size, len(directions), single)
    t = lengths(directions, np.abs(steps_of(setting, stencil)))
    plain = Directional(setting.site, stencil, directions, t, typical_steps(setting, stencil), single)
    if not stencil.imaginary:
        return plain
    axes = DirectionAxes(setting.site, directions, lengths(directions, check_steps(setting)))
    check = ComplexStepCheck(axes, vector=True, by_axis=True, single=single, active=setting.check is not False)
    return CheckedComplexStep(plain, check)


def _first_derivative(setting: Setting, *, vector: bool) -> Method[Answer]:
    method = _along_coordinates(setting, vector=vector)
    if setting.repair:
        method = _repaired(setting, method, vector=vector)
    return method if isinstance(method, FirstDerivative) or not vector else PresentOutputs(method, setting.site.moving)


def _repaired(setting: Setting, method: Method[Answer], *, vector: bool) -> Method[Answer]:
    site, options, stencil = setting.site, setting.options, setting.options.stencil
    drifts = setting.drifts
    if options.accuracy is not None or isinstance(options.step, NoiseStep):
        central, size = SCHEMES["central"], typical_sizes(site.x, options.scale)
        h = nominal_steps(site.x, central, None, options.scale)
        step = options.step if isinstance(options.step, NoiseStep) else None
        repaired = RepairedMethod(method, site, central, h, vector, size, step.noise if step else None, drifts=drifts)
        probes = options.accuracy is None and step is not None and step.method == "probe"
        if probes and isinstance(method, AutoStep):
            method = replace(method, repairs=True)
            repaired = replace(repaired, method=method, most=most_evaluations(len(site.moving)))
        return repaired
    if stencil.imaginary:
        # What fails at complex points may well take real ones, at steps that suit these.
        stencil = SCHEMES["central"]
        h = nominal_steps(site.x, stencil, None, options.scale)
        return RepairedMethod(method, site, stencil, h, vector, drifts=drifts)
    return RepairedMethod(method, site, stencil, steps_of(setting, stencil), vector, drifts=drifts)


def _along_coordinates(setting: Setting, *, vector: bool) -> Method[Answer]:
    """The one place where steps are decided: methods that find them first take FirstDerivative's place here."""
    site, options, stencil = setting.site, setting.options, setting.options.stencil
    size = typical_sizes(site.x, options.scale)
    if options.accuracy is not None:
        given = options.step if isinstance(options.step, NoiseStep) else None
        h = None if given else steps_of(setting, stencil)
        return AccuracyUpgrade(site, size, float(options.accuracy), h, vector, given.noise if given else None)
    if isinstance(options.step, NoiseStep):
        return _noise_step(options.step, stencil, site, size, vector=vector)
    if stencil == RICHARDSON:
        return Richardson(site, stencil, steps_of(setting, stencil), size, vector)
    plain = FirstDerivative(site, stencil, steps_of(setting, stencil), vector)
    if not stencil.imaginary:
        return plain
    check = complex_check(setting, vector=vector)
    return CheckedComplexStep(plain, check)


def _noise_step(
    step: NoiseStep, stencil: Stencil, site: BasePoint, size: NDArray[np.float64], *, vector: bool
) -> Method[Answer]:
    if step.method == "probe":
        if stencil.imaginary:
            raise InputError(
                "step: the complex step does not depend on J's noise, so there is no auto step; leave step out"
            )
        return AutoStep(site, size, vector, step.noise)
    if stencil.name not in ("forward", "central"):
        raise InputError(f"step: NoiseStep({step.method!r}) takes the scheme forward or central (was {stencil.name})")
    if step.method == "shi":
        return ShiStep(site, size, stencil.name == "central", vector, step.noise)
    if stencil.name == "central":
        raise InputError("step: NoiseStep('gill') takes forward differences; use 'shi' or 'probe' for central ones")
    return GillStep(site, size, vector, step.noise)


KINDS: Mapping[str, Callable[..., Method[Answer]]] = {
    "gradient": _gradient,
    "jacobian": _jacobian,
    "hessian": hessian_method,
    "hvp": product_method,
    "jvp": _jvp,
    "directional": _directional,
}
