"""A black box inside a JAX program: ``jax.grad``, ``jax.jacrev`` and ``jit`` work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.evaluation.evaluator import Evaluator
    from distfd.evaluation.keywords import Kind


def differentiable(evaluator: Evaluator, *, outputs: int | None = None) -> Callable[[jax.Array], jax.Array]:
    """J as a function of JAX arrays, with distfd's derivative for reverse mode.

    J and its derivative are computed in one wave where a derivative is asked for, else J alone. Numbers are float64 on
    the way, and come back in the dtype of x: float32 unless ``jax_enable_x64`` is set, so look at that first. There is
    neither forward mode nor a second derivative; ``vmap`` evaluates one x after the other.

    Parameters
    ----------
    evaluator : Evaluator
        Of J; it decides on scheme, step and executor.
    outputs : int, optional
        m, for a J that returns (m,); None for one that returns a number.

    Returns
    -------
    callable
        From an array (d,) to an array () or (m,).

    Raises
    ------
    jax.errors.JaxRuntimeError
        When called, if J fails or a component of the derivative has no value; its text is distfd's error.
    """
    shape = () if outputs is None else (outputs,)
    kind: Kind = "gradient" if outputs is None else "jacobian"

    def kept(x: Any) -> Any:
        """The dtype of results: that of x, or JAX's own float where x has whole numbers, which would cut them."""
        return x.dtype if jax.numpy.issubdtype(x.dtype, jax.numpy.floating) else jax.dtypes.canonicalize_dtype(float)

    def value(x: Any) -> Any:
        return np.asarray(evaluator.value(np.asarray(x, np.float64)), kept(x)).reshape(shape)

    def both(x: Any) -> Any:
        found = evaluator.differentiate(np.asarray(x, np.float64), kind=kind)
        return np.asarray(found.value, kept(x)).reshape(shape), np.asarray(found.derivative, kept(x))

    def function(x: Any) -> Any:
        return _call(value, jax.ShapeDtypeStruct(shape, kept(x)), x)

    def forward(x: Any) -> Any:
        derivative = jax.ShapeDtypeStruct((*shape, x.shape[0]), kept(x))
        return _call(both, (jax.ShapeDtypeStruct(shape, kept(x)), derivative), x)

    def backward(derivative: Any, sensitivity: Any) -> tuple[Any]:
        return (sensitivity * derivative if outputs is None else sensitivity @ derivative,)

    wrapped = jax.custom_vjp(function)
    wrapped.defvjp(forward, backward)
    return wrapped  # type: ignore[no-any-return]  # jax is Any to the type checker


def _call(function: Any, result: Any, x: Any) -> Any:
    return jax.pure_callback(function, result, x, vmap_method="sequential")
