"""Which method makes second derivatives: Hessians, and products of a Hessian with a vector."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.differentiation.complex_hessian import ComplexHessian, ComplexProduct
from distfd.differentiation.direction_stencils import lengths
from distfd.differentiation.hessian import Hessian
from distfd.differentiation.hessian_pattern import full_pattern, masked_pattern
from distfd.differentiation.hessian_vector import FourthOrderProduct, HessianVector
from distfd.differentiation.noisy_hessian import NoisyHessian
from distfd.differentiation.noisy_product import NoisyProduct
from distfd.differentiation.real_differences import DirectionAxes
from distfd.differentiation.second_differences import FOURTH, SECOND, second_order
from distfd.differentiation.stencils import RICHARDSON
from distfd.differentiation.steps import NoiseStep, typical_sizes
from distfd.evaluation.derivative_setting import check_steps, complex_check, displacements, finite_vector, steps_of
from distfd.workers.memory import available_memory

if TYPE_CHECKING:
    from distfd.differentiation.method import Answer, Method
    from distfd.evaluation.derivative_setting import Setting

_POINT_BYTES = 420
"""Bytes that the plan of a Hessian takes for each of its points while it is made; measured at 500 coordinates."""
_FEW_POINTS = 1_000_000
"""So many are never too many."""


def hessian_method(setting: Setting, *, sparsity: Any = None) -> Method[Answer]:
    """The plan of a Hessian; ``sparsity`` is as for `Evaluator.hessian`."""
    site, stencil = setting.site, setting.options.stencil
    size = typical_sizes(site.x, setting.options.scale)
    d = len(site.x)
    if sparsity is None:
        check_memory_for_hessian(len(site.moving), two_distances=stencil.order >= 4)
    pattern = full_pattern(site.moving, d) if sparsity is None else masked_pattern(sparsity, site.moving, d)
    given = _noise_method(setting, "Hessians")
    if stencil.imaginary:
        check = complex_check(setting, vector=False)
        return ComplexHessian(site, pattern, steps_of(setting, stencil), displacements(setting), check)
    if given is not None:
        step = setting.options.step
        fixed = None if isinstance(step, NoiseStep) or step is None else steps_of(setting, SECOND)
        return NoisyHessian(site, pattern, size, stencil, given.noise, fixed)
    h = steps_of(setting, SECOND if stencil.order < 4 else FOURTH)
    if stencil == RICHARDSON:
        return NoisyHessian(site, pattern, size, stencil, None, h)
    return Hessian(site, h, pattern, stencil, size)


def check_memory_for_hessian(moving: int, *, two_distances: bool) -> None:
    """See that the points of a whole Hessian can be held; ``two_distances`` where all pairs have points at h and 2 h.

    Raises
    ------
    InputError
        If they take more memory than is available.
    """
    points = moving * (moving + 1) * (2 if two_distances else 1) + 1
    if points < _FEW_POINTS:
        return
    needed, free = points * _POINT_BYTES, available_memory()
    if needed > free:
        raise InputError(
            f"a Hessian of {moving} coordinates takes {points} evaluations, and to plan them about "
            f"{needed / 2**30:.3g} GiB of memory, of which {free / 2**30:.3g} GiB are available: give sparsity, fix "
            "parameters, or take products with vectors (hvp), of 4 d + 1 evaluations each"
        )


def _noise_method(setting: Setting, what: str) -> NoiseStep | None:
    """How second derivatives are to find their steps and errors; None where they are not.

    Raises
    ------
    InputError
        If it is a search for first derivatives.
    """
    options = setting.options
    step = options.step if isinstance(options.step, NoiseStep) else None
    if step is not None and step.method != "probe":
        raise InputError(
            f"step: NoiseStep({step.method!r}) is only for first derivatives; for {what} use step='auto', which "
            "gives error bars too"
        )
    if step is not None and options.stencil.imaginary:
        raise InputError(
            "step: the complex step does not depend on J's noise, so there is no auto step; leave step out"
        )
    return step or (NoiseStep() if options.accuracy is not None else None)


def product_method(setting: Setting, *, v: Any) -> Method[Answer]:
    """The plan of a Hessian times v."""
    site, stencil = setting.site, setting.options.stencil
    direction, size = finite_vector("v", v, len(site.x)), typical_sizes(site.x, setting.options.scale)
    given = _noise_method(setting, "Hessian-vector products")
    step = setting.options.step
    adapts = given is not None and (isinstance(step, NoiseStep) or step is None)
    if stencil.imaginary:
        check = complex_check(setting, vector=False)
        way = DirectionAxes(site, direction[None], lengths(direction[None], check_steps(setting)))
        t = float(lengths(direction[None], np.abs(displacements(setting)))[0])
        return ComplexProduct(site, direction, steps_of(setting, stencil), t, way, check)
    fourth = stencil.order >= 4
    h = size if adapts else steps_of(setting, FOURTH if fourth and given is None else SECOND)
    t = float(lengths(direction[None], np.abs(h))[0])
    if given is not None or stencil == RICHARDSON:
        noise = None if given is None else given.noise
        return NoisyProduct(site, direction, size, noise, None if adapts else (t, h), second_order(stencil))
    if fourth:
        return FourthOrderProduct(HessianVector(site, direction, 2 * t, 2 * h, size, second_order(stencil)))
    return HessianVector(site, direction, t, h, size, second_order(stencil))
