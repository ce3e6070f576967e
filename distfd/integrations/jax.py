"""A black box inside a JAX program: ``jax.grad``, ``jax.jvp``, ``jax.jacfwd``, ``jit`` work on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from distfd.core.errors import InputError
from distfd.integrations.arguments import as_outputs, check_evaluator, check_outputs

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.evaluation.evaluator import Evaluator
    from distfd.evaluation.keywords import Kind


def differentiable(evaluator: Evaluator, *, outputs: int | None = None) -> Callable[[Any], jax.Array]:
    """J as a function of JAX arrays, or of a pytree of them, with distfd's derivative for forward and reverse mode.

    J and its derivative are computed in one wave where a derivative is asked for, else J alone; a product with one
    tangent takes the evaluations of the whole derivative. Numbers are float64 on the way, and come back in the dtype of
    x: float32 unless ``jax_enable_x64`` is set, so look at that first. There is no second derivative; ``vmap``
    evaluates one x after the other.

    Parameters
    ----------
    evaluator : Evaluator
        Of J; it decides on scheme, step and executor.
    outputs : int, optional
        m, for a J that returns (m,); None for one that returns a number.

    Returns
    -------
    callable
        From an array (d,), or a pytree of arrays, which J is then given, to an array () or (m,).

    Raises
    ------
    InputError
        If it is given no Evaluator, or the callable a complex x.
    NotImplementedError
        When JAX asks for a second derivative.
    jax.errors.JaxRuntimeError
        When called, if J fails or a component of the derivative has no value; its text is distfd's error.
    """
    check_evaluator(evaluator, "distfd.jax.differentiable")
    check_outputs(outputs)
    shape = () if outputs is None else (outputs,)
    kind: Kind = "gradient" if outputs is None else "jacobian"
    tree = jax.tree_util

    def kept(x: Any) -> Any:
        """The dtype of results: that of x, or JAX's own float where x has whole numbers, which would cut them."""
        dtype = jax.numpy.result_type(*tree.tree_leaves(x))
        return dtype if jax.numpy.issubdtype(dtype, jax.numpy.floating) else jax.dtypes.canonicalize_dtype(float)

    def point(x: Any) -> Any:
        return tree.tree_map(lambda leaf: np.asarray(leaf, np.float64), x)

    def value(x: Any) -> Any:
        return as_outputs(evaluator.value(point(x)), outputs).astype(kept(x))

    def both(x: Any) -> Any:
        found = evaluator.differentiate(point(x), kind=kind)
        blocks = found.derivative
        if isinstance(blocks, np.ndarray) and not hasattr(x, "ndim"):  # a list of numbers was an array to the Evaluator
            blocks = tree.tree_unflatten(tree.tree_structure(x), list(np.moveaxis(blocks, -1, 0)))
        value = as_outputs(found.value, outputs).astype(kept(x))
        # A lone number was an array (1,) to the Evaluator.
        return value, tree.tree_map(
            lambda block, at: np.asarray(block, kept(x)).reshape((*shape, *at.shape)), blocks, x
        )

    def function(x: Any) -> Any:
        return _call(value, jax.ShapeDtypeStruct(shape, kept(x)), x)

    def forward(primals: Any, tangents: Any) -> Any:
        # Linear in the tangents, so that JAX transposes it for reverse mode.
        (x,), (tangent,) = primals, tangents
        dtype = kept(x)
        blocks = tree.tree_map(lambda leaf: jax.ShapeDtypeStruct((*shape, *leaf.shape), dtype), x)
        result, derivative = _once(both, (jax.ShapeDtypeStruct(shape, dtype), blocks))(x)
        pairs = zip(tree.tree_leaves(derivative), tree.tree_leaves(tangent), strict=True)
        # The tangent of a whole number is of a type without numbers.
        products = [jax.numpy.tensordot(block, t, t.ndim) for block, t in pairs if t.dtype != jax.dtypes.float0]
        return result, sum(products, jax.numpy.zeros(shape, dtype))

    wrapped = jax.custom_jvp(function)
    wrapped.defjvp(forward)

    def checked(x: Any) -> Any:
        arrays = tree.tree_map(jax.numpy.asarray, x)  # numbers of Python's in a pytree have no shape
        if any(jax.numpy.issubdtype(leaf.dtype, jax.numpy.complexfloating) for leaf in tree.tree_leaves(arrays)):
            raise InputError("x: is complex, and J takes real numbers")
        return wrapped(arrays)

    return checked


def _once(function: Any, result: Any) -> Any:
    """The call of a derivative; its own derivative is an error that says what there is instead."""
    once = jax.custom_jvp(lambda x: _call(function, result, x))

    def twice(primals: Any, tangents: Any) -> Any:
        raise NotImplementedError(
            "distfd.jax has first derivatives alone; distfd.hessian and distfd.hvp compute second ones by differences"
        )

    once.defjvp(twice)
    return once


def _call(function: Any, result: Any, x: Any) -> Any:
    return jax.pure_callback(function, result, x, vmap_method="sequential")
