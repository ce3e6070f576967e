"""Structures with names for x: converts a structure to flat numbers, and flat numbers to the same structure.

Dictionaries, lists, tuples, named tuples, dataclasses and pandas.Series are supported directly. JAX or optree split
other classes, such as modules of Equinox, if the library has been imported and the class is registered with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from distfd.core.errors import InputError
from distfd.core.structure_kinds import is_series, is_structured
from distfd.core.structure_maker import take_apart
from distfd.core.structure_parts import ROOT, Leaf, Part, first_repeated, numbers_of, told

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Structure:
    """The arrangement of an x's numbers.

    Attributes
    ----------
    root : object
        The top part of the structure.
    size : int
        d, the number of coordinates.
    labels : tuple of str
        The name of each coordinate: ``k``, ``layer.w[0, 1]``.
    """

    root: Part
    size: int
    labels: tuple[str, ...]

    def flatten(self, x: Any, what: str = ROOT) -> NDArray[np.float64]:
        """The numbers of an x with this structure, (d,).

        Raises
        ------
        InputError
            If x has another structure: other keys, or another shape.
        """
        out = np.empty(self.size)
        self.root.read(x, out, what)
        return out

    def unflatten(self, vector: NDArray[Any]) -> Any:
        """The structure that J gets for a flat x, (d,)."""
        return self.root.build(lambda leaf: leaf.value(vector), for_j=True)

    def arranged(self, array: Any) -> Any:
        """Results whose last axis has length d, as this structure; each leaf has the shape (..., *shape)."""
        return self.root.build(lambda leaf: leaf.shaped(array[..., leaf.place]), for_j=False)

    def columns(self, matrix: Any) -> Any:
        """A Jacobian (m, d) as this structure; each leaf has (m, *shape), or columns if the Jacobian is sparse."""
        return self.root.build(lambda leaf: leaf.shaped(matrix[:, leaf.place]), for_j=False)

    def blocks(self, matrix: Any) -> Any:
        """A Hessian (d, d) as a structure of structures; each pair of leaves has the shape (*shape, *shape)."""

        def row(leaf: Leaf) -> Any:
            rows = matrix[leaf.place]
            return self.root.build(lambda across: leaf.block(across, rows[:, across.place]), for_j=False)

        return self.root.build(row, for_j=False)

    def spread(self, what: str, given: Any) -> NDArray[np.float64]:
        """One number for each coordinate, (d,), from a structure like this; NaN where it gives none.

        A part may be missing or None, and a single number applies to all of a part.
        """
        out = np.full(self.size, np.nan)

        def put(leaf: Leaf, value: Any) -> None:
            out[leaf.place] = _fitted(leaf, value, what)

        self.root.visit(given, put, what)
        return out

    def bounds(self, given: Any) -> list[tuple[float, float]]:
        """The d pairs from a structure of pairs (lower, upper), or from a pair of structures.

        A part may be missing or None. The bounds of an array are a pair; each of the two is a number or an array of its
        shape.
        """
        lower, upper = np.full(self.size, -np.inf), np.full(self.size, np.inf)

        def put(leaf: Leaf, value: Any) -> None:
            if leaf.kind == "series" and (isinstance(value, Mapping) or is_series(value)):
                value = _limits_of_rows(leaf, value)
            if leaf.shape == (2,) and isinstance(value, (tuple, list)) and all(map(_is_pair, value)):
                raise InputError(
                    f"bounds: {leaf.path or ROOT} has two numbers, and {told(value)} may be read as (lower, upper) "
                    "and as a pair for each: give (lower, upper) with arrays, np.array([...])"
                )
            if not isinstance(value, (tuple, list)) or len(value) != 2:
                raise InputError(f"bounds: {leaf.path or ROOT} must be a pair (lower, upper) (was {told(value)})")
            for out, limit in zip((lower, upper), value, strict=True):
                if limit is not None:
                    out[leaf.place] = _fitted(leaf, limit, "bounds")

        if isinstance(given, (tuple, list)) and len(given) == 2 and any(map(self._is_one, given)):
            for out, limits in zip((lower, upper), given, strict=True):
                found = self.spread("bounds", limits)
                out[~np.isnan(found)] = found[~np.isnan(found)]
        else:
            self.root.visit(given, put, "bounds", pairs=True)
        return list(zip(lower.tolist(), upper.tolist(), strict=True))

    def _is_one(self, given: Any) -> bool:
        """Whether an element of a pair is a structure like this, so that the pair is lower and upper bounds."""
        return not self.root.numbered and is_structured(given)

    @cached_property
    def parts(self) -> tuple[Any, ...]:
        """The user's own classes and objects in the structure, which affect J's value."""
        return self.root.parts

    @property
    def key(self) -> Any:
        """Plain data that identifies the structure, the same in every process."""
        return self.root.key


def make_structure(x: Any, what: str = ROOT) -> Structure:
    """The structure of an x.

    Raises
    ------
    InputError
        If x contains anything but real numbers and arrays of them, or nothing at all.
    """
    for dotted in (True, False):
        counter = [0]
        root = take_apart(x, what, counter, dotted=dotted)
        labels = tuple(label for leaf in root.leaves() for label in leaf.labels)
        if len(set(labels)) == len(labels):
            break
    else:
        raise InputError(f"{what}: two of its numbers have the same name, {first_repeated(labels)!r}; rename one")
    if not labels:
        raise InputError(f"{what}: has no numbers in it (was {told(x)})")
    structure = Structure(root, counter[0], labels)
    flat = structure.flatten(x, what)
    try:
        again = structure.flatten(structure.unflatten(flat), what)
    except Exception as error:
        raise InputError(
            f"{what}: a {type(x).__name__} cannot be made again from its numbers "
            f"({type(error).__name__}: {error}); give a dict"
        ) from error
    for k in np.flatnonzero(~((again == flat) | np.isnan(flat)))[:1].tolist():
        raise InputError(
            f"{what}: a {type(x).__name__} that is made with {labels[k]} = {flat[k]!s} has {again[k]!s} there, so "
            "J would be computed at another x; give a dict"
        )
    return structure


def _fitted(leaf: Leaf, value: Any, what: str) -> NDArray[np.float64]:
    """The numbers for a leaf, from a single number or from as many as it has."""
    where = f"{what}: {leaf.path or ROOT}"
    if leaf.kind == "series" and (isinstance(value, Mapping) or is_series(value)):
        value = leaf.gaps_filled(value, what, None)
    array = numbers_of(value, where)
    if array.shape not in ((), leaf.shape):
        raise InputError(f"{where} must be a number or have shape {leaf.shape} (had {array.shape})")
    return np.broadcast_to(array, leaf.shape).ravel()


def _limits_of_rows(leaf: Leaf, given: Any) -> tuple[Any, ...]:
    """Lower and upper bounds from pairs by the names of a Series."""
    rows = leaf.gaps_filled(given, "bounds", (None, None))
    for key, row in zip(leaf.index, rows, strict=True):
        if not _is_pair(row):
            raise InputError(f"bounds: {key} must be a pair (lower, upper) (was {told(row)})")
    pairs = [(-np.inf if low is None else low, np.inf if high is None else high) for low, high in rows]
    return tuple(map(np.array, zip(*pairs, strict=True)))


def _is_pair(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2
