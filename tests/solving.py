"""Derivatives in this process: without an executor, or without their warnings."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

import distfd
from distfd.core.errors import DerivativeWarning
from distfd.core.records import Status
from distfd.differentiation.base_point import BasePoint
from distfd.differentiation.first_derivative import FirstDerivative
from distfd.differentiation.method import Answer, Request, Wave
from distfd.differentiation.placement import as_bounds
from distfd.differentiation.stencils import Stencil, resolve_scheme
from distfd.differentiation.steps import nominal_steps
from distfd.evaluation.derivative_setting import Setting
from distfd.evaluation.method_registry import make_method
from distfd.evaluation.options import DerivativeOptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from distfd.differentiation.method import Method

    Floats = NDArray[np.float64]


def method(
    x: Any, scheme: str | Stencil = "forward", *, step: Any = None, bounds: Any = None, vector: bool = False
) -> FirstDerivative:
    x = np.asarray(x, dtype=float)
    stencil = resolve_scheme(scheme)
    h = nominal_steps(x, stencil, step)
    return FirstDerivative(BasePoint(x, *as_bounds(bounds, len(x))), stencil, h, vector)


def ask(plan: FirstDerivative) -> Request:
    request = plan.advance(())
    assert isinstance(request, Request)
    return request


def wave(request: Request, fun: Callable[[Floats], Any]) -> Wave:
    n = len(request.points)
    values = np.array([np.atleast_1d(fun(request.points.dense(k))) for k in range(n)], dtype=float)
    return Wave(request, values, np.full(n, Status.OK, dtype=np.uint8))


def solve(plan: FirstDerivative, fun: Callable[[Floats], Any]) -> Answer:
    answer = plan.advance([wave(ask(plan), fun)])
    assert isinstance(answer, Answer)
    return answer


def drive(plan: Method[Answer], fun: Callable[[Any], Any]) -> tuple[Answer, list[Wave]]:
    """Answer any method, complex points and several requests included."""
    waves: list[Wave] = []
    while isinstance(asked := plan.advance(waves), Request):
        points = asked.points
        values = np.array([np.atleast_1d(fun(points.dense(k))) for k in range(len(points))])
        waves.append(Wave(asked, values, np.full(len(points), Status.OK, dtype=np.uint8)))
    return asked, waves


def plan(
    kind: str,
    x: Any,
    *,
    bounds: Any = None,
    scheme: str | Stencil = "forward",
    step: Any = None,
    **particulars: Any,
) -> Method[Answer]:
    """The method of a kind."""
    x = np.asarray(x, dtype=float)
    setting = Setting(BasePoint(x, *as_bounds(bounds, len(x))), DerivativeOptions(scheme, step))
    return make_method(kind, setting, **particulars)


def quiet(fun: Callable[..., Any], x: Any, **options: Any) -> Any:
    """`distfd.differentiate`, whose warnings are only in its result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DerivativeWarning)
        return distfd.differentiate(fun, x, executor="serial", **options)


def told(result: Any, words: str, name: str = "") -> bool:
    """Whether a warning of the result has these words."""
    return any(words in text and name in text for text in result.warnings)


def bits(values: Floats) -> list[int]:
    numbers: list[int] = np.ascontiguousarray(values).view(np.uint64).ravel().tolist()
    return numbers


def rosenbrock(x: Floats) -> float:
    return float(np.sum(100.0 * (x[1:] - x[:-1] ** 2.0) ** 2.0 + (1 - x[:-1]) ** 2.0))


def trigonometric(x: Floats) -> Floats:
    return np.array([np.sin(x).sum(), np.exp(0.1 * x[0]) * x[-1], 1 / (1 + x @ x)])
