"""A J that gets x in a structure with names, such as a dict: flat numbers are sent, and arranged in the worker."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from distfd.workers.model import Model

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from distfd.core.structure import Structure


class StructuredModel(Model):
    """A running J whose x is arranged in the structure before each evaluation.

    Parameters
    ----------
    model : Model
    structure : Structure
    """

    def __init__(self, model: Model, structure: Structure) -> None:
        self._model = model
        self._structure = structure

    def evaluate(self, x: NDArray[np.float64], *, timeout: float | None) -> Any:
        """J at a flat x (d,)."""
        return self._model.evaluate(self._structure.unflatten(x), timeout=timeout)

    def evaluate_from(
        self, x: NDArray[np.float64], state: Any, *, timeout: float | None, capture: bool
    ) -> tuple[Any, Any]:
        """J at a flat x (d,) from a state."""
        return self._model.evaluate_from(self._structure.unflatten(x), state, timeout=timeout, capture=capture)

    def output_names(self, m: int) -> tuple[str, ...] | None:
        """The names of J's own model."""
        return self._model.output_names(m)

    def close(self) -> None:
        """Closes J."""
        self._model.close()


def arranged(model: Model, structure: Structure | None) -> Model:
    """The model, wrapped so that it gets x in the structure if there is one."""
    return model if structure is None else StructuredModel(model, structure)


def parts_of(structure: Structure | None) -> tuple[Any, ...]:
    """The user's own classes and objects in the structure."""
    return () if structure is None else structure.parts


def key_within(digest: str, structure: Structure | None) -> str:
    """The digest of J, extended by the structure of x if there is one: J of a dict is another than J of an array."""
    if structure is None:
        return digest
    told = json.dumps([digest, structure.key], default=repr)
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()[: len(digest)]
