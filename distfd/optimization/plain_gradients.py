"""Gradients by the scheme and step that were asked for, and central differences once these no longer help."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from distfd.evaluation.method_registry import make_method
from distfd.optimization.lbfgs import Found

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from distfd.differentiation.method import Answer, Method
    from distfd.evaluation.evaluator import Evaluator
    from distfd.evaluation.options import DerivativeOptions

    Floats = NDArray[np.float64]


class PlainGradients:
    """Gradients by the Evaluator's options, and later by central differences if the scheme is forward or backward.

    Parameters
    ----------
    evaluator : Evaluator
    """

    warns = True

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._central = False
        self._options: DerivativeOptions | None = None

    @property
    def scheme(self) -> str | None:
        """The scheme's name after a change to central differences; else None."""
        return "central" if self._central else None

    def plan(self, x: Floats) -> Method[Answer]:
        """The method that computes the gradient at x."""
        setting = self._evaluator.setting(x)
        self._options = setting.options
        if self._central:
            setting = replace(setting, options=replace(setting.options, scheme="central"))
        return make_method("gradient", setting)

    def found(self, x: Floats, answer: Answer) -> Found:
        """The value and gradient in an answer; a gradient that lacks components is left out."""
        whole = not len(answer.missing) and bool(np.isfinite(answer.derivative).all())
        error = None if answer.error is None else np.ravel(answer.error)
        return Found(x, float(np.ravel(answer.value)[0]), answer.derivative if whole else None, error)

    def refine(self) -> bool:
        """Changes to central differences; returns False if the scheme is not a one-sided one of first order."""
        options = self._options
        if options is None or self._central or options.accuracy is not None:
            return False
        if options.stencil.name not in ("forward", "backward"):
            return False
        self._central = True
        return True
