"""What distfd calls that for which other packages have another name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distfd.core import errors
from distfd.core.suggestions import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

_GRADIENT = "distfd.gradient(fun, x0) is the gradient at x0"
_JACOBIAN = "distfd.jacobian(fun, x0) is the Jacobian at x0"
_HESSIAN = "distfd.hessian(fun, x0) is the Hessian at x0"
_INSTEAD = {
    **dict.fromkeys(("grad", "Gradient", "Derivative", "derivative", "approx_fprime", "first_derivative"), _GRADIENT),
    **dict.fromkeys(("jac", "Jacobian", "jacfwd", "jacrev"), _JACOBIAN),
    **dict.fromkeys(("hess", "Hessian", "Hessdiag", "second_derivative", "approx_hess"), _HESSIAN),
    **dict.fromkeys(("value_and_grad", "fun_and_grad"), "distfd.value_and_gradient(fun, x0) gives both"),
    **dict.fromkeys(("directionaldiff", "directional_derivative"), "distfd.directional(fun, x0, directions)"),
    "vjp": "distfd.jacobian(fun, x0) gives all that a vjp takes",
    "check_grad": "distfd.check_gradient(fun, grad, x0) is that",
    **dict.fromkeys(("Executor", "Pool", "Client"), "distfd.RayExecutor and distfd.SerialExecutor are those"),
}
_MODULES = ("jax", "torch", "openmdao", "optimagic")
"""Public modules that need another library, and are imported by name."""


def what_to_call(name: str, public: Iterable[str]) -> str:
    """The end of a sentence: what to write in place of a name that the package does not have."""
    if name in _INSTEAD:
        return f"; {_INSTEAD[name]}"
    if isinstance(getattr(errors, name, None), type):
        return f"; it is distfd.errors.{name}"
    return f"; import distfd.{name} first" if name in _MODULES else did_you_mean(name, public)
