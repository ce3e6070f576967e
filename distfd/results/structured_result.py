"""A derivative in the structure that x had: of a dict of parameters, a dict of derivatives."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.results.derivative_result import DerivativeResult

if TYPE_CHECKING:
    from distfd.core.structure import Structure


@dataclass(frozen=True, eq=False, repr=False)
class StructuredResult(DerivativeResult):
    """A derivative in the structure of x.

    ``derivative``, ``error``, ``step`` and ``x`` have that structure: of a part with shape s, a gradient has s, the
    Jacobian of a J with m outputs (m, *s), and a Hessian, which is a structure of structures, (*s, *t). ``names``,
    ``missing`` and the evaluations are by the number of a coordinate, in the order of ``flat``.

    Attributes
    ----------
    flat : DerivativeResult
        The same in arrays.
    """

    derivative: Any
    step: Any
    x: Any = None
    flat: DerivativeResult = None  # type: ignore[assignment]  # always given: fields before it have defaults

    @property
    def plain(self) -> DerivativeResult:
        """The same in arrays, as ``flat``."""
        return self.flat


def structured_result(flat: DerivativeResult, structure: Structure) -> StructuredResult:
    """The result of a flat x, as one of x in its structure."""
    own = {one.name: getattr(flat, one.name) for one in fields(DerivativeResult)}
    for name in ("derivative", "error"):
        if own[name] is not None:
            own[name] = in_structure(own[name], flat.kind, structure)
    for name in ("step", "x"):
        if np.shape(own[name]) == (structure.size,) and not (name == "step" and flat.kind in _ALONG):
            own[name] = structure.arranged(np.asarray(own[name]))
    return StructuredResult(**own, flat=flat)


_ALONG = ("directional", "jvp")
"""Kinds whose numbers are not by coordinate."""


def in_structure(derivative: Any, kind: str, structure: Structure) -> Any:
    """A derivative of this kind by the parts of x."""
    if kind in ("gradient", "hvp"):
        return structure.arranged(derivative)
    if kind == "jacobian":
        return structure.columns(derivative)
    return structure.blocks(derivative) if kind == "hessian" else derivative
