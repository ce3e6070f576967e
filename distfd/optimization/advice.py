"""Advice for an optimisation that ended without a minimum; it leaves out what the run does already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from distfd.optimization.scipy_methods import MODEL, OWN

if TYPE_CHECKING:
    from distfd.optimization.seen_point import Seen

_ONE_SIDED = ("forward", "backward")


@dataclass(frozen=True)
class Advice:
    """Advice for a finished run.

    Parameters
    ----------
    best : Seen
        The run's best point. If J is a vector there, it holds residuals, or J and constraints.
    method : str
        The method that the run used.
    scaled : bool
        Whether typical sizes of the variables were given.
    constrained : bool
        Whether there are constraints, which the method for noisy J does not support.
    """

    best: Seen
    method: str = ""
    scaled: bool = False
    constrained: bool = False

    @property
    def noise_method(self) -> str:
        """The method for a noisy fit, or for a noisy J with one output; empty if the run used that method."""
        if self.constrained:
            return ""
        found = MODEL if np.ndim(self.best.result.value) else OWN
        return "" if found == self.method else found

    def against_noise(self) -> str:
        """A remedy against noise."""
        method = self.noise_method
        if self.best.result.error is not None:  # the steps are chosen by the noise, so longer ones do not help
            text = "Have J give more digits, or make it less noisy"
            return f"{text}; method {method} takes noise into account" if method else text
        best = f", best with method {method}, which takes noise into account" if method else ""
        return (
            f'Use step="auto" (derivative.step: auto), which finds the steps by J\'s noise{best}; or use longer steps; '
            "or have J give more digits"
        )

    def within_error_bars(self) -> str:
        """A remedy where the gradient is no larger than its own error bars."""
        method = self.noise_method
        return "Make J less noisy" + (f", or use method {method}, which takes noise into account" if method else "")

    def for_scale(self) -> str:
        """A remedy where the differencing steps are too long for J."""
        sizes = "correct the sizes that scale gives" if self.scaled else "give their typical sizes as scale"
        central = ", or scheme central" if self.best.result.scheme in _ONE_SIDED else ""
        return f"Choose variables whose typical sizes are 1, or {sizes}; or use shorter steps{central}"


def other_methods(method: str, *, fit: bool, constrained: bool = False) -> str:
    """Names of methods that can move away from a bound again, without the method in use."""
    named = ("dogbox", MODEL) if fit else ("SLSQP",) if constrained else ("L-BFGS-B", "SLSQP")
    return " or ".join(name for name in named if name != method)
