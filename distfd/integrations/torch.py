"""A black box inside a PyTorch program: autograd gets distfd's derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from distfd.integrations.arguments import check_evaluator

if TYPE_CHECKING:
    from collections.abc import Callable

    from distfd.evaluation.evaluator import Evaluator
    from distfd.evaluation.keywords import Kind


def differentiable(evaluator: Evaluator, *, kind: Kind = "gradient") -> Callable[[torch.Tensor], torch.Tensor]:
    """J as a function of tensors that ``backward`` goes through.

    Where x needs a gradient, J and its derivative are computed in one wave when J is called; else J alone. Numbers are
    float64 on the way, and come back in the dtype and on the device of x. There is no second derivative.

    Parameters
    ----------
    evaluator : Evaluator
        Of J; it decides on scheme, step and executor.
    kind : str
        "gradient" for a J that returns a number, "jacobian" for one that returns (m,).

    Returns
    -------
    callable
        From a tensor (d,) to a tensor () or (m,).

    Raises
    ------
    EvaluationError
        When called, if J fails or a component of the derivative has no value (on_failure="raise").
    """
    check_evaluator(evaluator, "distfd.torch.differentiable")

    def function(x: torch.Tensor) -> torch.Tensor:
        return _BlackBox.apply(x, evaluator, kind)

    return function


class _BlackBox(torch.autograd.Function):  # type: ignore[misc]  # torch is Any to the type checker
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, evaluator: Evaluator, kind: Kind) -> torch.Tensor:
        at = x.detach().cpu().numpy().astype(np.float64)
        # Whole numbers would cut what comes back.
        dtype = x.dtype if x.dtype.is_floating_point else torch.get_default_dtype()
        if not ctx.needs_input_grad[0]:
            return x.new_tensor(evaluator.value(at), dtype=dtype)
        found = evaluator.differentiate(at, kind=kind)
        ctx.save_for_backward(x.new_tensor(found.derivative))
        return x.new_tensor(found.value)

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]  # the same
    def backward(ctx: Any, sensitivity: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (derivative,) = ctx.saved_tensors
        return (sensitivity * derivative if derivative.ndim == 1 else sensitivity @ derivative), None, None
