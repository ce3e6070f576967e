"""The result of `distfd.minimize`: SciPy's result, which prints as a summary. Imports scipy.optimize."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from distfd.results.derivative_result import euclidean_norm

_SHOWN = 8
"""An x of more coordinates than this is printed by its first and last ones only."""


class MinimizeResult(OptimizeResult):  # type: ignore[misc]  # SciPy has no types
    """A minimisation's result; it prints J, x, the effort and the reason of the end, and its keys have all else."""

    def __repr__(self) -> str:
        ended = "converged" if self.get("success") else "not converged"
        lines = [f"minimisation, {ended}: {self.get('message', '')}".rstrip(": "), ""]
        if self.get("fun") is not None:
            before = f"{float(self['value0']):.10g} before, " if self.get("value0") is not None else ""
            lines.append(f"J = {before}{float(self['fun']):.10g} after")
        if self.get("x") is not None:
            lines.append(f"x = {short(self['x'])}")
        if self.get("x_flat") is None and self.get("jac") is not None:
            lines.append(f"|g| = {euclidean_norm(np.asarray(self['jac'], dtype=np.float64)):.3g}")
        if self.get("violation"):
            lines.append(f"constraints kept to within {float(self['violation']):.3g}")
        effort = f"{self.get('nit')} iteration{'' if self.get('nit') == 1 else 's'}"
        if self.get("n_evaluations") is not None:
            effort += f", {self['n_evaluations']} evaluations, {self.get('n_reused', 0)} reused"
        if self.get("n_failed_trials"):
            effort += f", {self['n_failed_trials']} failed trials"
        if self.get("wall_seconds") is not None:
            effort += f"; {self['wall_seconds']:.3g} s"
        return "\n".join([*lines, effort, f"more: {', '.join(key for key in self if key not in _PRINTED)}"])

    __str__ = __repr__


_PRINTED = frozenset({"message", "success", "fun", "x", "nit", "value0", "n_evaluations", "n_reused", "wall_seconds"})


def short(x: Any) -> str:
    """The point x in one line: first and last numbers of an array, or a structure's repr, cut if it is long."""
    if not isinstance(x, np.ndarray):
        text = repr(x)
        return text if len(text) <= 100 else f"{text[:97]}..."  # a line
    numbers = [f"{value:.8g}" for value in (x if x.size <= _SHOWN else np.r_[x[: _SHOWN // 2], x[-_SHOWN // 2 :]])]
    if x.size <= _SHOWN:
        return f"[{', '.join(numbers)}]"
    half = _SHOWN // 2
    return f"[{', '.join(numbers[:half])}, ..., {', '.join(numbers[half:])}] ({x.size} numbers)"
